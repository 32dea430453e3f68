"""docs/http-operations.md says what there is to know for operation."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.operations.readiness import State
from bgem3_server.gateway.operations.tracing import triton_trace_options
from bgem3_server.gateway.settings import GatewaySettings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "http-operations.md").read_text(encoding="utf-8")


def test_every_metric_is_documented_with_its_labels():
    """And none that is not there."""
    metrics = vars(Metrics(CollectorRegistry())).values()
    expected = {
        (f"{family.name}_total" if family.type == "counter" else family.name, metric._labelnames)
        for metric in metrics
        if isinstance(metric, Counter | Gauge | Histogram)
        for family in metric.describe()
    }
    rows = re.findall(r"^\| `(bgem3_\w+)` \| ([^|]*)\|", DOCUMENT, re.MULTILINE)

    assert expected == {(name, tuple(re.findall(r"\w+", labels))) for name, labels in rows}


def test_every_state_is_documented():
    """With what it means."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+\|$", DOCUMENT, re.MULTILINE)

    assert ["status", *(state.value for state in State)] == rows


def test_options_that_are_named_exist():
    """Those of Triton are the ones that the code makes."""
    ours = set(re.findall(r"--[a-z][a-z-]+", DOCUMENT)) - {"--trace-config", "--rm"}
    settings = {"--" + name.replace("_", "-") for name in GatewaySettings.model_fields}

    assert ours <= settings
    assert set(triton_trace_options("http://127.0.0.1:4318")) == set(
        re.findall(r"--trace-config=[^\s\\`]+", DOCUMENT)
    )
