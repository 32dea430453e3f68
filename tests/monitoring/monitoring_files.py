"""The dashboard and the rules, read for tests."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "docker" / "grafana" / "dashboards" / "bgem3.json"
PROMETHEUS: Final = ROOT / "docker" / "prometheus" / "prometheus.yml"
RULES: Final = sorted((ROOT / "docker" / "prometheus" / "rules").glob("*.yml"))
ALERT_TESTS: Final = sorted((Path(__file__).parent / "alerts").glob("*.yml"))
DOCUMENT: Final = ROOT / "docs" / "monitoring.md"

_METRIC: Final = re.compile(r"(?<![\w:\"])((?:bgem3|nv|process)_\w+)(?:\{([^}]*)\})?")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def promtool() -> str:
    """The path of promtool; skips where there is none."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


def rules() -> list[dict[str, Any]]:
    """Every rule, recorded ones and alerts."""
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    model: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return model


def panels() -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    """The queries of the dashboard, Grafana's own variables replaced."""
    model = dashboard()
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    queries += [note["expr"] for note in model["annotations"]["list"] if "expr" in note]
    return [re.sub(r"\$__\w+", "5m", query) for query in queries]


def all_queries() -> list[str]:
    """Those of the dashboard and of the rules."""
    return dashboard_queries() + [rule["expr"] for rule in rules()]


def metrics_of(query: str) -> set[tuple[str, frozenset[str]]]:
    """The metrics that a query reads, each with the labels that select its series."""
    return {(name, frozenset(_LABEL.findall(labels))) for name, labels in _METRIC.findall(query)}
