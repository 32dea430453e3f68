"""The candidate: which requests it answers, and that it costs none; over fakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from told_transport import ToldTransport
from waiting import wait_until

from bgem3_client.errors import InternalServerError, UnavailableError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.encoding.canary import place_of
from bgem3_server.gateway.gateway import OtherTransports
from bgem3_server.gateway.operations import readiness as readiness_module
from bgem3_server.gateway.settings import GatewaySettings

HEADER = "X-Bgem3-Served-By"
ALWAYS = {"X-Bgem3-Canary": "always"}
NEVER = {"X-Bgem3-Canary": "never"}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(readiness_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(readiness_module, "_NOT_READY_INTERVAL_SECONDS", 0.01)


class Bench(TestClient):
    """A service over two fakes."""

    def __init__(self, canary: ToldTransport, **settings: Any):
        self.primary = ToldTransport()
        self.canary = canary
        configured = GatewaySettings(
            **{"canary_triton": "candidate:8001", "ready_interval_seconds": 0.02} | settings
        )
        others = OtherTransports(canary=canary)
        super().__init__(create_app(configured, self.primary, None, others))

    def embed(self, text: str, headers: dict[str, str] | None = None) -> tuple[int, str | None]:
        """The status, and who answered."""
        answer = self.post("/embed", json={"texts": [text]}, headers=headers)
        return answer.status_code, answer.headers.get(HEADER)

    @property
    def health(self) -> dict[str, object]:
        """Of the canary."""
        health: dict[str, object] = self.get("/health").json()["canary"]
        return health


@contextmanager
def running(canary: ToldTransport | None = None, **settings: Any) -> Iterator[Bench]:
    """The service, ready, with a canary that was looked at."""
    with Bench(canary or ToldTransport(version="2"), **settings) as bench:
        wait_until(lambda: bench.get("/health/ready").status_code == 200)
        wait_until(lambda: bool(bench.health["up"]))
        yield bench


def usable(bench: Bench) -> Bench:
    """The bench, once the canary may be asked."""
    wait_until(lambda: bench.health["reason"] is None)
    return bench


def test_places_are_the_same_each_time_and_evenly_spread():
    """By the texts alone, so a cache in front, and whoever sends again, sees one model."""
    places = [place_of([f"text {number}"]) for number in range(2000)]

    assert places == [place_of([f"text {number}"]) for number in range(2000)]
    assert 60 < sum(place < 0.05 for place in places) < 140
    assert all(0 <= place < 1 for place in places)
    assert place_of(["ab", "c"]) != place_of(["a", "bc"])


def test_its_share_is_answered_by_the_canary():
    """The others by the primary; each answer says so, and the same texts get the same."""
    with running(canary_share=0.3) as bench:
        usable(bench)
        texts = [f"text {number}" for number in range(30)]
        expected = [(200, "canary" if place_of([t]) < 0.3 else "primary") for t in texts]
        first = [bench.embed(text) for text in texts]
        second = [bench.embed(text) for text in texts]
        metrics = bench.get("/metrics").text

    assert expected == first == second
    assert len(set(expected)) == 2
    served = 2 * sum(by == "canary" for _, by in expected)
    assert f'bgem3_served_seconds_count{{by="canary"}} {float(served)}' in metrics


@pytest.mark.parametrize(("share", "headers", "by"), [(0, ALWAYS, "canary"), (1, NEVER, "primary")])
def test_callers_can_decide(share, headers, by):
    """Whoever fills a collection must."""
    with running(canary_share=share) as bench:
        answer = usable(bench).embed("a text", headers)

    assert (200, by) == answer


def test_another_word_is_refused(fake_service):
    """With those that there are."""
    answer = fake_service.post(
        "/embed", json={"texts": ["a"]}, headers={"X-Bgem3-Canary": "sometimes"}
    )

    assert 422 == answer.status_code
    assert "send 'always' or 'never'" in answer.text


def test_scores_are_never_the_canarys():
    """A reranking takes several steps, and all of them are one model's."""
    with running(canary_share=1) as bench:
        answer = usable(bench).post(
            "/rerank", json={"query": "a", "texts": ["b", "c"]}, headers=ALWAYS
        )

    assert (200, "primary") == (answer.status_code, answer.headers[HEADER])


def test_collections_hold_the_primarys_vectors(tmp_path: Path):
    """Whatever the share, and whatever the caller asks for."""
    with running(canary_share=1, store=str(tmp_path)) as bench:
        usable(bench)
        documents = [{"source": "cats", "text": "The cat sat on the mat."}]
        indexed = bench.post(
            "/index", json={"collection": "notes", "documents": documents}, headers=ALWAYS
        )
        found = bench.post("/search", json={"collection": "notes", "query": "cat"}, headers=ALWAYS)

        assert [(200, "primary")] * 2 == [
            (answer.status_code, answer.headers.get(HEADER)) for answer in (indexed, found)
        ]
        assert [] == bench.canary.texts


@pytest.mark.parametrize("error", [UnavailableError("refused"), InternalServerError("broken")])
def test_what_the_canary_fails_at_is_answered_by_the_primary(error):
    """And counted; after three in a row it is left alone until a probe is answered."""
    with running(canary_share=1, ready_interval_seconds=3600) as bench:
        usable(bench)
        bench.canary.error = error
        with capture_logs():
            answers = [bench.embed(f"text {number}") for number in range(6)]
        metrics = bench.get("/metrics").text

    assert [(200, "primary")] * 6 == answers
    kind = "not_ready" if isinstance(error, UnavailableError) else "internal_error"
    assert f'bgem3_canary_failures_total{{kind="{kind}"}} 3.0' in metrics
    assert "bgem3_canary_up 0.0" in metrics


def test_canary_that_hangs_leaves_the_primary_half_of_the_time():
    """No request fails for it."""
    with running(canary_share=1, ready_interval_seconds=3600) as bench:
        usable(bench)
        bench.canary.silent = True
        answer = bench.embed("a text", {"X-Timeout-Seconds": "4"})
        bench.canary.come_back()

    assert (200, "primary") == answer


def test_canary_whose_vectors_have_another_size_is_not_used():
    """Said in health, log and metrics."""
    with capture_logs() as lines, running(ToldTransport(hidden_size=32), canary_share=1) as bench:
        wait_until(lambda: "dimensions" in str(bench.health["reason"]))
        answer = bench.embed("a text", ALWAYS)
        metrics = bench.get("/metrics").text
        texts = bench.canary.texts

    assert ((200, "primary"), []) == (answer, texts)
    assert "bgem3_canary_up 0.0" in metrics
    assert any(line["event"] == "the canary is not used" for line in lines)


def test_nothing_of_the_canary_is_kept_or_shared():
    """What is cached is the primary's, with its version."""
    with running(canary_share=0, cache_bytes=1_000_000) as bench:
        usable(bench)
        answers = [bench.embed("a text", headers) for headers in (ALWAYS, None, None, ALWAYS)]

    assert [(200, "canary"), (200, "primary"), (200, None), (200, "canary")] == answers


def test_canary_by_version_is_asked_of_the_same_triton():
    """For that version, and no other address is needed."""
    settings = {"canary_triton": "", "canary_model_version": "2"}
    with running(canary_share=1, **settings) as bench:
        usable(bench).embed("a text")
        versions = {request.model for request in bench.canary.requests}
        own = {request.model for request in bench.primary.requests}
        address = bench.health["address"]

    assert ({"bge_m3_v2"}, {"bge_m3"}, "127.0.0.1:8001") == (versions, own, address)
