"""A caller's trace goes on through the service into Triton; the service exports its own spans."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from span_collector import SeenSpan, SpanCollector, span_collector
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_server.errors import InstallationError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.operations.tracing import triton_trace_options
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.installation import find_installation
from bgem3_server.triton.supervisor import Supervisor

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
EXPORT_SOON = "--trace-config=opentelemetry,bsp_schedule_delay=100"
QUIET = ServeSettings(grpc_port=0, http_port=0, metrics_port=0, probe_interval_seconds=0)


def sent_to_triton(headers: dict[str, str]) -> dict[str, str]:
    """What Triton is told of the trace of a request with these headers; nothing is exported."""
    transport = FakeTransport()
    settings = GatewaySettings(ready_interval_seconds=0)
    with TestClient(create_app(settings, transport)) as client:
        client.post("/embed", json={"texts": ["a"]}, headers=headers).raise_for_status()
    told = [dict(request.headers) for request in transport.requests]

    assert len(told) == 2  # one of them counts tokens
    assert told[0] == told[1]
    return told[0]


def test_callers_trace_is_passed_on_unchanged():
    """The service makes no spans of its own then, so Triton's hang below the caller's."""
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "vendor=1"}

    assert headers == sent_to_triton(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": "not one"},
        {"traceparent": f"00-{'0' * 32}-{SPAN_ID}-01"},
        {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"},
    ],
)
def test_triton_is_told_of_no_trace_that_is_none(headers):
    """Nor of one that is not sampled, of which Triton would record its part all the same."""
    assert {} == sent_to_triton(headers)


SERVICE = """
import socket, sys
from pathlib import Path
from bgem3_server.gateway.process.service import run_service
from bgem3_server.gateway.settings import GatewaySettings

settings = GatewaySettings(triton=sys.argv[1], tokenizer=Path(sys.argv[2]), stop_timeout_seconds=5)
run_service(settings, socket.socket(fileno=int(sys.argv[3])), lambda state: None)
"""


@contextmanager
def running_service(triton: str, repository: Path, collector: SpanCollector) -> Iterator[str]:
    """The service in a process of its own, since OpenTelemetry's exporter is one for a process."""
    environment = os.environ | {
        "BGEM3_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, triton, repository, str(listener.fileno())],
            env=environment,
            pass_fds=[listener.fileno()],
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            assert 0 == process.wait(20)


@pytest.fixture(scope="module")
def collector():
    """Where service and Triton send their spans."""
    with span_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced_service(collector: SpanCollector, demo_repository: Path):
    """The URL of a service that exports spans, in front of a Triton that does."""
    try:
        find_installation(QUIET.tritonserver)
    except InstallationError as error:
        pytest.skip(f"no Triton can run here: {error}")
    supervisor = Supervisor(
        demo_repository,
        QUIET,
        lambda event: None,
        lambda line: None,
        (*triton_trace_options(collector.url), EXPORT_SOON),
    )
    supervisor.start()
    try:
        with running_service(
            supervisor.ready.result().addresses.grpc, demo_repository, collector
        ) as url:
            yield url
    finally:
        supervisor.stop()
        wait([supervisor.ended])


def by_name(spans: list[SeenSpan]) -> dict[str, SeenSpan]:
    return {span.name: span for span in spans if span.name != "compute"}


@pytest.mark.live
def test_one_trace_shows_all_stages(traced_service, collector):
    """From the caller's span over the service's into Triton's, each within its parent's time."""
    body = {"texts": ["一个句子", "a text"], "mode": ["dense", "sparse", "colbert"]}
    answer = httpx.post(
        f"{traced_service}/embed",
        json=body,
        headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "X-Request-Id": "traced-1"},
        timeout=60,
    )
    assert 200 == answer.status_code, answer.text
    spans = by_name(
        collector.wait_for(
            TRACE_ID, lambda seen: {"POST /embed", "InferRequest"} <= set(by_name(seen))
        )
    )
    parents = {
        "tokenize": "POST /embed",
        "queue": "POST /embed",
        "triton": "POST /embed",
        "serialize": "POST /embed",
        "InferRequest": "triton",
        "bge_m3": "InferRequest",
        "bge_m3_tokenizer": "bge_m3",
        "bge_m3_trunk": "bge_m3",
        "bge_m3_sparse": "bge_m3",
        "bge_m3_colbert": "bge_m3",
    }

    assert {"POST /embed", *parents} == set(spans)
    assert SPAN_ID == spans["POST /embed"].parent_id
    for child, parent in parents.items():
        assert spans[parent].span_id == spans[child].parent_id, child
        assert spans[parent].begin <= spans[child].begin, child
        assert spans[child].end <= spans[parent].end, child
    assert {"bgem3-gateway", "bgem3-triton"} == {span.service for span in spans.values()}
    attributes = spans["POST /embed"].attributes
    assert ("POST", "/embed", 200) == (
        attributes["http.request.method"],
        attributes["http.route"],
        attributes["http.response.status_code"],
    )
    assert ("traced-1", "dense+sparse+colbert", 2) == (
        attributes["bgem3.request_id"],
        attributes["bgem3.modes"],
        attributes["bgem3.texts"],
    )


@pytest.mark.live
def test_refused_request_is_a_span_with_its_reason(traced_service, collector):
    """It never reaches Triton; it is the caller's mistake, not an error of the service."""
    trace_id = "1" * 32
    httpx.post(
        f"{traced_service}/embed",
        json={"texts": []},
        headers={"traceparent": f"00-{trace_id}-{SPAN_ID}-01"},
    )
    (span,) = collector.wait_for(trace_id, lambda seen: bool(seen))

    assert ("POST /embed", 422, "empty_input", False) == (
        span.name,
        span.attributes["http.response.status_code"],
        span.attributes["error.type"],
        span.is_error,
    )


@pytest.mark.live
def test_health_checks_and_probes_are_no_traces(traced_service, collector):
    """They would bury everything else."""
    for path in ("/health", "/health/live", "/metrics"):
        httpx.get(f"{traced_service}{path}")
    httpx.get(f"{traced_service}/nothing", headers={"traceparent": f"00-{'2' * 32}-{SPAN_ID}-01"})
    collector.wait_for("2" * 32, lambda seen: bool(seen))

    roots = {span.name for span in collector.all() if not span.parent_id}

    assert set() == roots
