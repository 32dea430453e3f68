"""The service's log: one form for all lines, one line for each request, and no secrets in it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"

# Logging is set up for a whole process.
PROGRAM = f"""
import logging, sys
import structlog
from starlette.testclient import TestClient
from bgem3_client import FakeTransport, InternalServerError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.operations.logs import set_up_logs
from bgem3_server.gateway.settings import GatewaySettings

log_format, level = sys.argv[1:]
settings = GatewaySettings(
    log_format=log_format, service_log_level=level, ready_interval_seconds=0, api_keys="secret-key"
)
set_up_logs(settings)
transport = FakeTransport(script=[None, None, InternalServerError("the trunk broke")])
with TestClient(create_app(settings, transport)) as client:
    headers = {{
        "Authorization": "Bearer secret-key",
        "X-Request-Id": "good-1",
        "traceparent": "00-{TRACE_ID}-{SPAN_ID}-01",
    }}
    body = {{"texts": ["private text"], "mode": ["dense", "sparse"]}}
    assert client.post("/embed", json=body, headers=headers).status_code == 200
    headers["X-Request-Id"] = "broken-1"
    assert client.post("/embed", json=body, headers=headers).status_code == 500
    headers["Authorization"] = "Bearer wrong-key"
    assert client.post("/embed", json=body, headers=headers).status_code == 401
    client.get("/health/live")
logging.getLogger("uvicorn.error").info("from uvicorn")
logging.getLogger("uvicorn.access").info("never")
logging.getLogger("some.library").info("chatter")
logging.getLogger("some.library").warning("a %s", "warning")
"""


def log_of(log_format: str, level: str = "info") -> str:
    """What the program writes to standard error."""
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format, level], capture_output=True, text=True
    )
    assert 0 == process.returncode, process.stderr
    assert "" == process.stdout
    return process.stderr


@pytest.fixture(scope="module")
def json_log() -> str:
    return log_of("auto")  # no terminal here


@pytest.fixture(scope="module")
def lines(json_log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in json_log.splitlines()]


def test_request_is_one_line_with_its_figures_and_trace(lines):
    """Enough to find it again, from an error message or from a trace."""
    (line,) = [
        line for line in lines if line.get("request_id") == "good-1" and line["event"] == "request"
    ]

    assert ["timestamp", "level", "event"] == list(line)[:3]
    assert {
        "level": "info",
        "method": "POST",
        "route": "/embed",
        "status": 200,
        "modes": "dense+sparse",
        "texts": 1,
        "tokens": 4,
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
    }.items() <= line.items()
    assert line["milliseconds"] > 0
    assert "error" not in line


def test_failure_of_the_service_is_told_with_its_traceback(lines):
    """Under the id that the caller was given; a caller's mistake is only its request's line."""
    told = [line for line in lines if line["level"] == "error"]

    assert ["broken-1"] == [line["request_id"] for line in told]
    assert "Traceback (most recent call last)" in told[0]["exception"]
    assert "InternalServerError: the trunk broke" in told[0]["exception"]
    assert ["internal_error", "unauthorized"] == [
        line["error"] for line in lines if "error" in line
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_text_and_no_key_is_in_the_log(log_format):
    """Not even in tracebacks, at the finest level."""
    log = log_of(log_format, "debug")

    assert "the trunk broke" in log
    assert "/health/live" in log
    assert [] == [secret for secret in ("private", "secret-key", "wrong-key") if secret in log]


def test_libraries_write_in_the_same_form(lines):
    """What they say below warnings is for their developers; uvicorn's line of a request is ours."""
    told = {line["event"]: line for line in lines}

    assert {"from uvicorn", "a warning"} <= set(told)
    assert not {"never", "chatter"} & set(told)
    assert ("warning", "some.library") == (told["a warning"]["level"], told["a warning"]["logger"])


def test_health_checks_are_told_at_the_finest_level_alone(json_log):
    """Every few seconds a line that says nothing would bury the others."""
    assert "/health/live" not in json_log


def test_level_decides_which_lines_are_written():
    """Failures remain."""
    lines = [json.loads(line) for line in log_of("json", "error").splitlines()]

    assert {"error"} == {line["level"] for line in lines}
    assert 1 == len(lines)
