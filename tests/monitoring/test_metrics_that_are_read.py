"""The dashboard and the alerts read what a live server says, by names that it has."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from live_service import live_service
from monitoring_files import all_queries, metrics_of

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

ON_A_GPU = {
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_limit",
    "nv_gpu_power_usage",
    "nv_gpu_utilization",
}
"""What Triton says where there is a GPU; its release notes and documents name them."""

GIVEN_BY_PROMETHEUS = {"instance", "job"}


@pytest.fixture(scope="module")
def labels_of_metrics(triton: Addresses, demo_repository: Path) -> dict[str, set[str]]:
    """The labels of every metric of a live Triton and of a service that has seen some requests."""
    settings = GatewaySettings(
        triton=triton.grpc, tokenizer=demo_repository, ready_interval_seconds=0, max_texts=2
    )
    with live_service(settings) as url, httpx.Client(timeout=60) as client:
        good = client.post(f"{url}/embed", json={"texts": ["one"]})
        refused = client.post(f"{url}/embed", json={"texts": ["a", "b", "c"]})
        texts = [client.get(address).text for address in (triton.metrics, f"{url}/metrics")]
    assert [200, 413] == [good.status_code, refused.status_code]
    found: dict[str, set[str]] = {}
    for text in texts:
        # As Prometheus reads it: a parser for OpenMetrics would rename Triton's counters. One that
        # has no sample yet is there by its name.
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
            endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            found |= {f"{name}{ending}": found.get(name, set()) for ending in endings}
        for name, labels in re.findall(r"^(\w+)\{([^}]*)\} \S+$", text, re.MULTILINE):
            found[name] |= set(re.findall(r'(\w+)="', labels))
    return found


@pytest.mark.live
@pytest.mark.parametrize("query", sorted(set(all_queries())))
def test_metrics_of_a_query_are_there(query, labels_of_metrics):
    """With the labels that select and group their series; those of GPUs are named above."""
    metrics = {(name, labels) for name, labels in metrics_of(query) if name not in ON_A_GPU}
    grouped = {
        label
        for labels in re.findall(r"\b(?:by|on) \(([^)]+)\)", query)
        for label in re.findall(r"\w+", labels)
    }
    known = set(GIVEN_BY_PROMETHEUS)
    for name, labels in metrics:
        assert name in labels_of_metrics
        its_labels = labels_of_metrics[name]
        # A counter whose labels have no values yet shows none.
        assert not its_labels or labels <= its_labels | GIVEN_BY_PROMETHEUS
        known |= its_labels
    if metrics and all(labels_of_metrics[name] for name, _ in metrics):
        assert grouped <= known


def test_metrics_of_gpus_are_read():
    """The list of those that cannot be looked up here holds no other."""
    read = {name for query in all_queries() for name, _ in metrics_of(query)}

    assert ON_A_GPU <= read


def test_no_query_is_overlooked():
    """What reads no metric of ours or of Triton reads what is recorded, or Prometheus' own."""
    others = [query for query in all_queries() if not metrics_of(query)]

    assert [q for q in others if not re.search(r"bgem3:\w|\bup\{|\bALERTS\{", q)] == []
