"""What is said of a running Triton."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest
import tritonclient.grpc
from demo_manifest import demo_manifest
from doctor_run import finding, seen
from live_server import live_triton
from live_service import live_app
from starlette.applications import Starlette
from tiny_model import write_tiny_model
from waiting import wait_until

from bgem3_client.address import Address
from bgem3_client.triton_key import key_file, key_headers
from bgem3_server.doctor.checks import triton as checks
from bgem3_server.doctor.checks.triton import _states
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Outcome
from bgem3_server.doctor.processes import listening_process
from bgem3_server.doctor.subject import Subject
from bgem3_server.doctor.triton_questions import ModelState
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses

WELL = [(Outcome.OK, None)]
NOTHING = [(Outcome.NOT_APPLICABLE, None)]
CHECKS = ("answers", "models", "contract", "request")


@pytest.mark.live
@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_triton_that_is_well(check, protocol, triton, demo_repository):
    """Over both protocols, with the repository that it serves."""
    subject = Subject(repository=demo_repository, url=getattr(triton, protocol))

    assert WELL == seen(f"triton.{check}", subject)


@pytest.mark.live
def test_the_ports_of_a_real_triton(triton):
    """Taken, and by what should have them; also where its processes are another user's."""
    ports = (triton.grpc_port, triton.http_port, triton.metrics_port)
    settings = dict(zip(("grpc_port", "http_port", "metrics_port"), ports, strict=True))

    assert WELL * 3 == seen("ports.free", Subject(settings=ServeSettings(**settings)))[:3]


@pytest.mark.live
def test_a_proxy_in_the_way(triton, monkeypatch):
    """The questions go past it, the request of a user does not, and both is said."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    subject = Subject(url=triton.grpc)

    assert WELL == seen("triton.answers", subject)
    assert [(Outcome.WARNING, Code.PROXY_CATCHES_SERVER)] == seen("network.proxies", subject)
    found = finding("triton.request", subject)
    assert (Outcome.PROBLEM, Code.REQUEST_FAILED) == (found.outcome, found.code)
    assert "proxy" in found.advice


@pytest.mark.live
def test_another_version_than_the_repository_has(triton, repository):
    """As when Triton was not restarted, or serves another folder."""
    manifest = demo_manifest()
    newer = manifest.model_copy(update={"versions": {"7": manifest.versions["1"]}})
    newer.write(repository)

    found = finding("triton.contract", Subject(repository=repository, url=triton.grpc))

    assert (Outcome.WARNING, Code.MODEL_OF_OTHER_VERSION) == (found.outcome, found.code)
    assert "7" == found.details["repository"]


@pytest.fixture(scope="module")
def tiny_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A Triton with a model that is not of this project's contract."""
    repository = tmp_path_factory.mktemp("tiny") / "repository"
    write_tiny_model(repository)
    with live_triton(repository) as addresses:
        yield addresses


@pytest.mark.live
def test_a_model_of_another_contract(tiny_triton):
    """Named `bge_m3`, loaded, and without the outputs; a request fails too."""
    subject = Subject(url=tiny_triton.grpc)

    found = finding("triton.contract", subject)

    assert (Outcome.PROBLEM, Code.MODEL_OF_OTHER_CONTRACT) == (found.outcome, found.code)
    assert "dense" in found.details["lacking"]
    assert "token_lengths" not in found.details["lacking"]
    assert [(Outcome.PROBLEM, Code.REQUEST_FAILED)] == seen("triton.request", subject)


@pytest.mark.live
def test_a_model_that_is_not_loaded(tiny_triton, tmp_path, monkeypatch):
    """With Triton's reason where the key is known, and a hint where it is not."""
    subject = Subject(url=tiny_triton.grpc)
    before = seen("triton.models", subject)
    headers = key_headers(Address.parse(tiny_triton.grpc))
    assert headers, key_file(tiny_triton.grpc_port)
    with tritonclient.grpc.InferenceServerClient(tiny_triton.grpc) as client:
        client.unload_model("bge_m3", headers=headers)
        wait_until(lambda: "unloaded" in finding("triton.models", subject).message)
        with_key = finding("triton.models", subject)
        contract = seen("triton.contract", subject)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        without_key = finding("triton.models", subject)
        client.load_model("bge_m3", headers=headers)

    assert WELL == before
    assert (Outcome.PROBLEM, Code.MODEL_NOT_LOADED) == (with_key.outcome, with_key.code)
    assert (Outcome.PROBLEM, Code.MODEL_NOT_LOADED) == (without_key.outcome, without_key.code)
    assert "BGEM3_TRITON_KEY" in without_key.advice
    assert NOTHING == contract


@pytest.mark.live
def test_a_model_process_that_was_killed(tiny_triton):
    """Triton goes on saying that it is ready; only a request shows it."""
    subject = Subject(url=tiny_triton.grpc)
    server = listening_process(tiny_triton.grpc_port)
    assert server is not None
    (stub,) = [
        child
        for child in psutil.Process(server.pid).children()
        if child.name().startswith("triton_python")
    ]
    os.kill(stub.pid, signal.SIGKILL)
    wait_until(lambda: not stub.is_running() or stub.status() == psutil.STATUS_ZOMBIE)

    assert WELL == seen("triton.answers", subject)
    found = finding("triton.request", subject)
    assert (Outcome.PROBLEM, Code.REQUEST_FAILED) == (found.outcome, found.code)
    assert "may have died" in found.advice


def test_the_reasons_of_models_that_did_not_load():
    """Each is told; models of others, and of other profiles, are not missed."""
    found = list(
        _states(
            [
                ModelState("bge_m3", "", "", ""),
                ModelState("bge_m3_trunk", "1", "UNAVAILABLE", "no such file model.onnx"),
                ModelState("bge_m3_tokenizer", "1", "UNAVAILABLE", "unloaded"),
                ModelState("bge_m3_tokenizer", "2", "READY", ""),
                ModelState("resnet", "1", "UNAVAILABLE", "somebody else's"),
            ]
        )
    )

    assert ["bge_m3_trunk"] == [item.details["model"] for item in found]
    assert "no such file model.onnx" in found[0].message


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_triton_that_does_not_run(scheme):
    """A problem where the user named it, and said once; nothing to check otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    named = Subject(url=f"{scheme}127.0.0.1:{port}")
    unnamed = Subject(settings=ServeSettings(grpc_port=port))

    assert [[(Outcome.PROBLEM, Code.TRITON_UNREACHABLE)], NOTHING, NOTHING, NOTHING] == [
        seen(f"triton.{check}", named) for check in CHECKS
    ]
    assert [NOTHING] * 4 == [seen(f"triton.{check}", unnamed) for check in CHECKS]


def test_somebody_else_answers_at_the_port():
    """Triton's gRPC is not spoken there, or not Triton's HTTP."""
    with live_app(Starlette()) as url:
        for address in (url, url.removeprefix("http://")):
            assert [(Outcome.PROBLEM, Code.TRITON_UNREACHABLE)] == seen(
                "triton.answers", Subject(url=address)
            )


def test_an_address_that_is_none():
    """Said once; and nobody is asked."""
    subject = Subject(url="http//:wrong")

    assert [(Outcome.PROBLEM, Code.SERVER_ADDRESS_INVALID)] == seen("triton.answers", subject)
    assert NOTHING == seen("triton.models", subject)


class Loading:
    """A Triton whose models are still loading."""

    def __init__(self, version: str, *, ready: bool) -> None:
        self._version, self._ready = version, ready

    def version(self) -> str:
        return self._version

    def is_ready(self) -> bool:
        return self._ready


@pytest.mark.parametrize(
    ("version", "ready", "expected"),
    [
        ("2.68.0", False, (Outcome.PROBLEM, Code.TRITON_NOT_READY)),
        ("2.68.0", True, (Outcome.OK, None)),
        ("2.60.0", True, (Outcome.WARNING, Code.TRITON_OLD)),
    ],
)
def test_tritons_of_other_releases(version, ready, expected, monkeypatch):
    """What only a Triton of another release, or at another moment, would say."""

    class Questions:
        @staticmethod
        def to(address):
            from contextlib import nullcontext

            return nullcontext(Loading(version, ready=ready))

    subject = Subject(url="127.0.0.1:8001")
    subject.__dict__["triton_silence"] = None
    monkeypatch.setattr(checks, "TritonQuestions", Questions)

    assert [expected] == seen("triton.answers", subject)
