"""What Prometheus is told to record and to warn of."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from monitoring_files import (
    ALERT_TESTS,
    DOCUMENT,
    PROMETHEUS,
    RULES,
    all_queries,
    promtool,
    rules,
)

ALERTS = [rule for rule in rules() if "alert" in rule]


def run(*arguments: str | Path) -> None:
    """Run promtool; what it prints is the failure."""
    result = subprocess.run(
        [promtool(), *map(str, arguments)], capture_output=True, text=True, check=False
    )

    assert 0 == result.returncode, result.stdout + result.stderr


def test_prometheus_takes_the_configuration_and_the_rules():
    """As they are mounted: the rules beside the configuration."""
    run("check", "config", PROMETHEUS)
    run("check", "rules", *RULES)


@pytest.mark.parametrize("path", ALERT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_before(path):
    """Against series that promtool plays."""
    run("test", "rules", path)


def test_every_alert_is_played_both_ways():
    """One expectation in which it fires, and one in which it does not."""
    fires: set[str] = set()
    silent: set[str] = set()
    for path in ALERT_TESTS:
        for played in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for expected in played["promql_expr_test"]:
                if not expected["expr"].startswith("ALERTS"):
                    continue
                pattern = re.search(r'alertname=~?"([^"]+)"', expected["expr"])
                assert pattern
                labels = " ".join(sample["labels"] for sample in expected["exp_samples"])
                firing = set(re.findall(r'alertname="(\w+)"', labels))
                asked = {a["alert"] for a in ALERTS if re.fullmatch(pattern[1], a["alert"])}
                fires |= firing
                silent |= asked - firing
    names = {alert["alert"] for alert in ALERTS}

    assert names == fires
    assert names == silent


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_says_how_bad_it_is_and_where_to_read_on(alert):
    """The link leads to a section of the document, which names the alert."""
    headings = re.findall(r"^### (\w+)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    name = alert["alert"]

    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert 40 < len(alert["annotations"]["summary"]) < 300
    assert f"docs/monitoring.md#{name.lower()}" == alert["annotations"]["runbook_url"]
    assert name in headings


def test_document_has_no_alert_that_is_gone():
    """And says of each how bad it is, as the rules do."""
    sections = re.findall(
        r"^### (BGEM3\w+)\n\n\*\*(\w+)\*\*", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )

    assert {a["alert"]: a["labels"]["severity"] for a in ALERTS} == dict(sections)


def test_what_is_recorded_is_read_and_what_is_read_is_recorded():
    """By an alert or by the dashboard."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = {name for query in all_queries() for name in re.findall(r"bgem3:\w+:\w+", query)}

    assert recorded == read
