"""What a running Triton says of its trunk, from its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class TrunkMetrics:
    """The CPU trunk's own counts; None where the trunk is Triton's own backend.

    Attributes:
        engine: What runs it.
        computed_tokens: Since Triton began.
        attention_tokens: The same with the padding inside attention.
    """

    engine: str | None
    computed_tokens: int | None
    attention_tokens: int | None


def read_trunk_metrics(url: str) -> TrunkMetrics:
    """Ask Triton for its metrics.

    Raises:
        OSError: It cannot be reached.
    """
    with urlopen(url, timeout=10) as response:  # our own page  # nosec B310
        text = response.read().decode()
    samples = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def count(name: str) -> int | None:
        return int(samples[name].value) if name in samples else None

    engine = samples.get("bgem3_trunk_engine_info")
    return TrunkMetrics(
        engine.labels["engine"] if engine else None,
        count("bgem3_trunk_tokens_total"),
        count("bgem3_trunk_padded_tokens_total"),
    )
