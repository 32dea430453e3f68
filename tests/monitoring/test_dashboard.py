"""The dashboard, as far as that can be told without Grafana."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations

import yaml
from monitoring_files import (
    DASHBOARD,
    ROOT,
    dashboard,
    dashboard_queries,
    panels,
    promtool,
)

PROVISIONING = ROOT / "docker" / "grafana" / "provisioning"


def test_every_query_is_one(tmp_path):
    """Prometheus' own parser takes them."""
    queries = [re.sub(r"\$\w+", ".*", query) for query in dashboard_queries()]
    rules = [{"record": f"panel:{i}", "expr": query} for i, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run(
        [promtool(), "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert 0 == result.returncode, result.stdout + result.stderr


def test_every_panel_says_what_it_shows():
    """A title of its own, a description, a unit, names for its series, and a source to choose."""
    titles = [panel["title"] for panel in panels()]

    assert len(titles) == len(set(titles))
    for panel in panels():
        assert panel["description"], panel["title"]
        assert "unit" in panel["fieldConfig"]["defaults"] or panel["type"] == "state-timeline"
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_legends_name_labels_that_the_query_leaves():
    """Another would be shown as nothing."""
    for target in (target for panel in panels() for target in panel["targets"]):
        left = re.findall(r"\bby \(([^)]+)\)", target["expr"])
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))

        assert not left or named <= {label for labels in left for label in labels.split(", ")}
        assert left or named <= {"instance", "gpu_uuid"}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    """Grafana would draw one over the other."""
    everything = dashboard()["panels"]

    def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
        return (
            a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        )

    assert len(everything) == len({panel["id"] for panel in everything})
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in everything)
    assert [
        (a["title"], b["title"])
        for a, b in combinations(everything, 2)
        if overlap(a["gridPos"], b["gridPos"])
    ] == []


def test_variables_that_are_used_are_there():
    """Beside those that Grafana has itself."""
    model = dashboard()
    defined = {variable["name"] for variable in model["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(model["panels"])))

    assert defined == {name for name in used if not name.startswith("__")}


def test_grafana_finds_the_dashboard_and_its_source():
    """The folders of the provisioning are the ones that compose mounts."""
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "bgem3.yaml").read_text())
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())
    compose = (ROOT / "docker" / "compose.yaml").read_text()
    folder = provider["providers"][0]["options"]["path"]

    assert f"./grafana/dashboards:{folder}:ro" in compose
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in compose
    assert DASHBOARD.parent == ROOT / "docker" / "grafana" / "dashboards"
    assert ["http://prometheus:9090"] == [item["url"] for item in source["datasources"]]
