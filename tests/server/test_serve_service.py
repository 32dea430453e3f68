"""`bgem3 serve` with the HTTP service in front of a real Triton."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from serve_command import Serve, family, still_running
from span_collector import SpanCollector, span_collector
from waiting import wait_until

pytestmark = pytest.mark.live

StartServe = Callable[..., Serve]


def embed(url: str, text: str = "hello") -> httpx.Response:
    """Ask for the dense vector of a text, on a connection of its own, computed for it alone."""
    body = {"model": "bge_m3", "input": [text]}
    headers = {"cache-control": "no-store"}
    return httpx.post(f"{url}/v1/embeddings", json=body, headers=headers, timeout=60, verify=False)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def collector() -> Iterator[SpanCollector]:
    """Where spans are sent."""
    with span_collector() as collector:
        yield collector


def test_one_command_serves_and_stops_in_order(
    start_serve: StartServe,
    demo_repository: Path,
    requests_in_flight: ThreadPoolExecutor,
    collector: SpanCollector,
) -> None:
    """From "loading" to vectors; at a stop requests in flight are answered, and nothing is left.

    The service listens before the models are loaded, the last line printed is its address, and it
    stops before Triton. Both export their spans.
    """
    port = free_port()
    serve = start_serve(
        demo_repository,
        *("--port", str(port)),
        *("--otlp-endpoint", collector.url),
        gateway=True,
    )
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url))
    loading = httpx.get(f"{url}/health/ready")

    addresses = serve.wait_ready()
    processes = family(psutil.Process(serve.process.pid))
    wait_until(lambda: serve.printed.endswith(f"\n{url}\n"))
    printed = serve.printed.splitlines()

    assert 503 == loading.status_code
    assert url == addresses["service"]
    assert printed[0].startswith("model: bge_m3")
    assert printed[1].startswith("ready: gRPC ")
    assert [f"page {url}/  API {url}/docs", url] == printed[2:]

    loaded = embed(url).json()

    assert 384 == len(loaded["data"][0]["embedding"])
    _await_trace(url, collector)

    held = family(serve.triton())
    for process in held:
        process.suspend()
    tokens = loaded["usage"]["prompt_tokens"]
    answers = [requests_in_flight.submit(embed, url) for _ in range(10)]
    wait_until(lambda: f"bgem3_in_flight_tokens {10 * tokens:.1f}" in _metrics(url))
    serve.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in serve.complained)
    for process in held:
        process.resume()

    assert [200] * 10 == [answer.result().status_code for answer in answers]
    assert 0 == serve.wait_exit(30)
    assert [] == still_running(processes)
    assert not serve.ready_file.exists()
    assert ["stopping: waiting for requests in flight", "stopped"] == [
        line for line in serve.complained.splitlines() if line.startswith("stop")
    ]


def test_what_fails_is_replaced(start_serve: StartServe, demo_repository: Path) -> None:
    """A service that hangs, one that is killed, and a Triton that is killed come back."""
    quick = ("--hang-timeout-seconds", "1.5", "--restart-delay-seconds", "0.1")
    serve = start_serve(demo_repository, *quick, gateway=True)
    url = serve.wait_ready()["service"]

    serve.worker().suspend()
    wait_until(lambda: serve.complained.count("answers again") == 1)
    after_hang = embed(url).status_code
    serve.worker().kill()
    wait_until(lambda: serve.complained.count("answers again") == 2)
    after_kill = embed(url).status_code
    serve.triton().kill()
    wait_until(lambda: serve.printed.count("ready: gRPC") == 2)
    wait_until(lambda: embed(url).status_code == 200)

    assert (200, 200) == (after_hang, after_kill)
    assert "the HTTP service has done nothing for" in serve.complained
    assert "the HTTP service was killed by SIGKILL" in serve.complained
    assert "Triton was killed by SIGKILL" in serve.complained

    # The second signal stops at once.
    processes = family(psutil.Process(serve.process.pid))
    serve.process.send_signal(signal.SIGINT)
    serve.process.send_signal(signal.SIGTERM)

    assert serve.wait_exit(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert [] == still_running(processes)


def test_the_port_of_the_service_is_tried_first(
    start_serve: StartServe, make_repository: Callable[..., Path]
) -> None:
    """A port in use is told before Triton loads anything."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serve = start_serve(make_repository(), "--port", str(port), gateway=True)

        assert 1 == serve.wait_exit()
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in serve.complained
    assert "with --port" in serve.complained
    assert "starting Triton" not in serve.complained


def test_a_model_that_does_not_load_ends_the_service_too(
    start_serve: StartServe, make_repository: Callable[..., Path]
) -> None:
    """The message is Triton's, and no process is left behind."""
    repository = make_repository(initialize='raise ValueError("no weights")')
    serve = start_serve(repository, gateway=True)
    processes = family(psutil.Process(serve.process.pid))

    assert 1 == serve.wait_exit()
    assert "bge_m3: ValueError: no weights" in serve.complained
    assert [] == still_running(processes)


def _await_trace(url: str, collector: SpanCollector) -> None:
    """Return once a trace has spans of the service and of Triton.

    A request is sent for each of a few tries: exporters drop a batch that they cannot send.
    """
    names = {"POST /v1/embeddings", "InferRequest"}
    seen: list[set[str]] = []
    for _ in range(4):
        embed(url)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            traces = {span.trace_id for span in collector.all()}
            seen = [{span.name for span in collector.of(trace)} for trace in traces]
            if any(names <= of_trace for of_trace in seen):
                return
            time.sleep(0.1)
    pytest.fail(f"no trace has {names}: {seen}")


def _metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics").text


def _answers(url: str) -> bool:
    try:
        httpx.get(f"{url}/health/live")
    except httpx.TransportError:
        return False
    return True
