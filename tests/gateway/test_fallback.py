"""The second Triton: when it answers, and how that is told; over transports that do as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from told_transport import ToldTransport
from waiting import wait_until

from bgem3_client.errors import InternalServerError, InvalidInputError, UnavailableError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.gateway import OtherTransports
from bgem3_server.gateway.operations import readiness as readiness_module
from bgem3_server.gateway.settings import GatewaySettings

HEADER = "X-Bgem3-Served-By"
REFUSED = UnavailableError("connection refused")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(readiness_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(readiness_module, "_NOT_READY_INTERVAL_SECONDS", 0.01)


class Bench(TestClient):
    """A service over two fakes."""

    def __init__(self, primary: ToldTransport, fallback: ToldTransport, **settings: object):
        self.primary = primary
        self.fallback = fallback
        configured = GatewaySettings(
            **{
                "fallback_triton": "fallback:8001",
                "ready_interval_seconds": 0.02,
                "answer_timeout_seconds": 1,
                "fallback_return_seconds": 0.1,
            }
            | settings
        )
        super().__init__(create_app(configured, primary, None, OtherTransports(fallback)))

    def embed(self, *texts: str, **headers: str) -> tuple[int, str | None]:
        """The status, and who answered."""
        answer = self.post("/embed", json={"texts": texts or ["a text"]}, headers=headers)
        return answer.status_code, answer.headers.get(HEADER)

    def figure(self, name: str, **labels: str) -> float | None:
        """What a metric says."""
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def until(self, **expected: object) -> None:
        """Wait until the health of the fallback is so."""
        wait_until(lambda: expected.items() <= self.get("/health").json()["fallback"].items())


@contextmanager
def running(
    primary: ToldTransport | None = None, fallback: ToldTransport | None = None, **settings: object
) -> Iterator[Bench]:
    """The service, ready, with a fallback that was looked at."""
    bench = Bench(primary or ToldTransport(), fallback or ToldTransport(), **settings)
    with bench:
        wait_until(lambda: bench.get("/health/ready").status_code == 200)
        bench.until(up=True)
        yield bench


def test_primary_answers_while_it_can():
    """And the answer says so; the fallback is only probed."""
    with running() as bench:
        bench.until(usable=True)
        answer = bench.embed("a text")

        assert (200, "primary") == answer
        assert [] == bench.fallback.texts
        assert 1 == bench.figure("bgem3_fallback_up")
        assert 0 == bench.figure("bgem3_fallback_active")


def test_no_header_without_other_tritons(fake_service):
    """Nobody has to tell them apart."""
    answer = fake_service.post("/embed", json={"texts": ["a"]})

    assert HEADER not in answer.headers


def test_request_that_does_not_reach_the_primary_is_answered_by_the_fallback():
    """At once, before any probe has noticed; and the same vectors come."""
    with running(ready_interval_seconds=3600) as bench:
        bench.until(usable=True)
        expected = bench.post("/embed", json={"texts": ["a text"]}).json()
        bench.primary.leave(REFUSED)
        answer = bench.post("/embed", json={"texts": ["a text"]})

        assert "fallback" == answer.headers[HEADER]
        assert expected["embeddings"] == answer.json()["embeddings"]
        # The texts were counted there, then encoded.
        assert 2 == bench.figure("bgem3_fallback_requests_total", reason="failed")
        assert 0 == bench.figure("bgem3_fallback_active")
        bench.embed()
        assert 1 == bench.figure("bgem3_fallback_active")
        sent = len(bench.primary.texts)
        assert (200, "fallback") == bench.embed()
        assert sent == len(bench.primary.texts)
        assert 3 == bench.figure("bgem3_fallback_requests_total", reason="active")


def test_takes_over_when_probes_fail_and_gives_back():
    """The service stays ready all the time; the log tells both changes."""
    with running() as bench:
        bench.until(usable=True)
        with capture_logs() as lines:
            bench.primary.leave(REFUSED)
            bench.until(serving=True)
            health = bench.get("/health").json()
            ready = bench.get("/health/ready").status_code
            answer = bench.embed()
            bench.primary.come_back()
            bench.until(serving=False)
            back = bench.embed()

    assert ("ready", True, False) == (
        health["status"],
        health["model_loaded"],
        health["triton"]["up"],
    )
    assert (200, (200, "fallback"), (200, "primary")) == (ready, answer, back)
    changes = [line["event"] for line in lines if "answers" in line["event"]]
    assert ["the fallback answers now", "the primary answers again"] == changes


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInputError("wrong", index=0), 422),
        (InternalServerError("the model failed"), 500),
        (UnavailableError("Exceeds maximum queue size"), 503),
    ],
)
def test_refusal_of_a_primary_that_is_there_is_passed_on(error, status):
    """A mistake stays one, and a text that models fail at is sent to no other one."""
    with running(ready_interval_seconds=3600) as bench:
        bench.until(usable=True)
        bench.primary.error = error
        with capture_logs():  # a traceback takes long to be made beautiful
            answers = [bench.embed()[0] for _ in range(4)]

        assert [status] * 4 == answers
        assert [] == bench.fallback.texts


def test_full_service_is_full():
    """429, and no way around it."""
    with running(ready_interval_seconds=3600, max_load_tokens=8192) as bench:
        bench.until(usable=True)
        bench.app.state.gateway.scheduler.admit(8192)
        answer = bench.embed()

        assert (429, None) == answer
        assert [] == bench.fallback.texts


def test_what_waits_for_a_hung_primary_is_moved():
    """When its probes find it out; the request is answered."""
    with running() as bench:
        bench.until(usable=True)
        bench.primary.silent = True
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(bench.embed("held up")))
        waiting.start()
        wait_until(lambda: "held up" in bench.primary.texts)
        waiting.join(timeout=30)

        assert [(200, "fallback")] == answers
        assert 1 == bench.figure("bgem3_fallback_requests_total", reason="moved")
        bench.primary.come_back()


def test_both_down_is_as_without_a_fallback():
    """503 with the reason, and ready again with the first that is."""
    with running() as bench:
        bench.until(usable=True)
        bench.primary.leave(REFUSED)
        bench.fallback.leave(REFUSED)
        bench.until(up=False, serving=False)
        wait_until(lambda: bench.get("/health/ready").status_code == 503)

        assert (503, None) == bench.embed()
        assert "connection refused" in bench.get("/health").json()["fallback"]["reason"]

        bench.fallback.come_back()
        bench.until(serving=True)

        assert (200, "fallback") == bench.embed()


@pytest.mark.parametrize("hidden_size", [32, 16])
def test_another_model_is_never_used(hidden_size, monkeypatch):
    """Other sizes, or the same with other vectors; said in health, log and metrics."""
    other = ToldTransport(hidden_size=hidden_size)
    if hidden_size == 16:
        infer = other.infer

        async def turned(request):
            response = await infer(request)
            for name, tensor in response.tensors.items():
                if name == "dense":
                    tensor[:] = tensor[..., ::-1].copy()
            return response

        monkeypatch.setattr(other, "infer", turned)
    with capture_logs() as lines, running(fallback=other) as bench:
        wait_until(lambda: bench.get("/health").json()["fallback"]["reason"])
        fallback = bench.get("/health").json()["fallback"]
        bench.primary.leave(REFUSED)
        wait_until(lambda: bench.get("/health/ready").status_code == 503)

        assert (503, None) == bench.embed()
        assert [] == other.texts
        assert 0 == bench.figure("bgem3_fallback_up")
    assert (True, False) == (fallback["up"], fallback["usable"])
    assert "it serves another model" in fallback["reason"]
    assert any(line["event"] == "the fallback is not used" for line in lines)


def test_fallback_that_cannot_be_compared_is_not_used():
    """A service that starts while the primary is down knows nothing of its model."""
    primary, fallback = ToldTransport(), ToldTransport()
    primary.leave(REFUSED)
    with Bench(primary, fallback) as bench:
        bench.until(up=True)

        assert 503 == bench.get("/health/ready").status_code
        assert (
            "the primary has not answered yet" in bench.get("/health").json()["fallback"]["reason"]
        )

        primary.come_back()
        bench.until(usable=True)


def test_answers_name_the_primarys_version():
    """It is that model, whatever number it has there; so parts of one request go together."""
    with running(fallback=ToldTransport(version="7"), cache_bytes=1_000_000) as bench:
        bench.until(usable=True)
        bench.embed("known")
        bench.primary.leave(REFUSED)
        bench.until(serving=True)

        assert (200, "fallback") == bench.embed("known", "new")
        assert "7" == bench.get("/health").json()["fallback"]["model_version"]


def test_nothing_of_the_fallback_is_kept():
    """Or it would come without a mark later; what the primary had computed still comes."""
    with running(cache_bytes=1_000_000) as bench:
        bench.until(usable=True)
        bench.embed("known")
        bench.primary.leave(REFUSED)
        bench.until(serving=True)
        known, new = bench.embed("known"), bench.embed("new")
        mixed = bench.embed("known", "newer")
        bench.primary.come_back()
        bench.until(serving=False)
        again = bench.embed("new")

    assert [(200, None), (200, "fallback"), (200, "fallback")] == [known, new, mixed]
    assert (200, "primary") == again


def test_each_has_its_own_pace():
    """Advice to wait, and the sizes of parts, would else be the other's."""
    with running() as bench:
        bench.until(usable=True)
        gateway = bench.app.state.gateway
        tritons, scheduler = gateway.tritons, gateway.scheduler

        assert scheduler.pace is tritons.primary.pace
        bench.primary.leave(REFUSED)
        bench.until(serving=True)
        assert scheduler.pace is tritons.fallback.pace
        bench.primary.come_back()
        bench.until(serving=False)
        assert scheduler.pace is tritons.primary.pace


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "bge-m3", "input": "a text"}),
        ("/embed", {"inputs": "a text"}),
        ("/rerank", {"query": "a", "texts": ["a text", "b"]}),
        ("/count_tokens", {"texts": ["a text"]}),
    ],
)
def test_every_dialect(path, body):
    """Encoding goes one way for all; counting by Triton's tokenizer too."""
    with running() as bench:
        bench.until(usable=True)
        bench.primary.leave(REFUSED)
        bench.until(serving=True)
        answer = bench.post(path, json=body)

        assert 200 == answer.status_code, answer.text
        if "count" not in path:
            assert "fallback" == answer.headers[HEADER]


def test_probes_are_needed():
    """Without them nobody would know what the fallback serves."""
    with pytest.raises(InvalidInputError, match="ready-interval-seconds is 0"):
        create_app(
            GatewaySettings(fallback_triton="fallback:8001", ready_interval_seconds=0),
            ToldTransport(),
        )
