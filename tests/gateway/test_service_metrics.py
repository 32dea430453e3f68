"""What /metrics says, by itself and for several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings


@pytest.fixture
def service():
    """A service without probes, whose texts would count."""
    settings = GatewaySettings(
        ready_interval_seconds=0, max_texts=2, max_load_tokens=9000, cache_bytes=5_000_000
    )
    with TestClient(create_app(settings, FakeTransport())) as client:
        yield client


def samples(text: str) -> dict[tuple[str, ...], float]:
    """The values by name and the values of the labels, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_texts_and_refusals_are_counted(service):
    """By route and mode, by status, and by the reason of a refusal."""
    good = {"texts": ["one two three", "four"], "mode": ["dense", "sparse"], "max_length": 4}
    assert 200 == service.post("/embed", json=good).status_code
    assert 413 == service.post("/embed", json={"texts": ["a", "b", "c"]}).status_code
    values = samples(service.get("/metrics").text)

    assert 1 == values["bgem3_http_requests_total", "native", "/embed", "200"]
    assert 1 == values["bgem3_http_requests_total", "native", "/embed", "413"]
    assert 1 == values["bgem3_http_request_seconds_count", "dense+sparse", "/embed"]
    assert 2 == values["bgem3_texts_total",]
    assert 7 == values["bgem3_tokens_total",]
    assert 1 == values["bgem3_truncated_texts_total",]
    assert 1 == values["bgem3_queue_seconds_count", "interactive"]
    assert 1 == values["bgem3_rejections_total", "too_large"]
    assert 1 == values["bgem3_triton_up",]
    assert 0 == values["bgem3_in_flight_tokens",]
    assert 0 == values["bgem3_waiting_tokens",]
    assert {"bge-m3"} == {key[2] for key in values if key[0] == "bgem3_build_info"}
    assert 0 < values["process_resident_memory_bytes",]


def test_limits_stand_beside_what_they_limit(service):
    """A dashboard can say how much of a budget is spent, without knowing the settings."""
    values = samples(service.get("/metrics").text)

    assert 9000 == values["bgem3_max_load_tokens",]
    assert GatewaySettings().max_in_flight_tokens == values["bgem3_max_in_flight_tokens",]
    assert GatewaySettings().max_result_bytes == values["bgem3_max_result_bytes",]
    assert 5_000_000 == values["bgem3_max_cache_bytes",]


def test_number_of_series_is_bounded(service):
    """Nobody can fill a Prometheus by asking for many paths or by many methods."""
    for number in range(5):
        service.get(f"/nothing/{number}")
        service.request(f"METHOD{number}", "/embed")
    values = samples(service.get("/metrics").text)

    assert {"unmatched", "/embed"} == {
        key[2] for key in values if key[0] == "bgem3_http_requests_total"
    }
    assert 5 == values["bgem3_http_requests_total", "native", "unmatched", "404"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ("text/plain; version=x", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_format_is_the_one_that_is_asked_for(accept, content_type, service):
    """Prometheus' own, or OpenMetrics; a version that is none is not a server error."""
    response = service.get("/metrics", headers={"Accept": accept} if accept else {})
    parse = open_metrics if "openmetrics" in content_type else text_string_to_metric_families

    assert 200 == response.status_code
    assert response.headers["content-type"].startswith(content_type)
    assert "bgem3_triton_up" in {family.name for family in parse(response.text)}


WORKER = """
import sys
from starlette.testclient import TestClient
from bgem3_client import FakeTransport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

app = create_app(GatewaySettings(ready_interval_seconds=0), FakeTransport())
with TestClient(app) as client:
    app.state.gateway.scheduler.waiting_tokens += int(sys.argv[1])
    for _ in range(int(sys.argv[1])):
        client.post("/embed", json={"texts": ["one"]}).raise_for_status()
    print(client.get("/metrics").text)
    print(client.get("/metrics", headers={"Accept": "application/openmetrics-text"}).status_code)
"""


def test_processes_answer_for_all_of_them(tmp_path: Path):
    """Each sums the figures of those that share the folder, whichever is asked."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", WORKER, requests],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for requests in ("3", "2")
    ]
    text = "\n".join(line for line in outputs[-1].splitlines() if line.startswith("bgem3_"))
    values = samples(text + "\n")

    assert 5 == values["bgem3_http_requests_total", "native", "/embed", "200"]
    assert 5 == values["bgem3_http_request_seconds_count", "dense", "/embed"]
    assert 5 == values["bgem3_waiting_tokens",]
    assert 1 == values["bgem3_triton_up",]
    assert 2 * GatewaySettings().max_load_tokens == values["bgem3_max_load_tokens",]
    assert outputs[-1].endswith("\n200\n")
