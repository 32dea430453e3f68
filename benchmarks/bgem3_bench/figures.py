"""The figures of a report, worked out from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from bgem3_bench.results import (
    Accuracy,
    Failure,
    Latency,
    MixDescription,
    OutputSet,
    Precision,
    Results,
    SystemDescription,
    Throughput,
)
from bgem3_bench.spread import Percentiles, Spread


@dataclass(frozen=True)
class ThroughputFigures:
    """One system on one mix, over all rounds; None where there is nothing to say.

    Attributes:
        ratio: Of its speed to the baseline's, the median of the rounds' ratios.
        padding_efficiency: Real tokens by computed tokens.
        attention_efficiency: The same of attention, where it pads and the linear layers do not.
        share_of_limit: Of what the matrix multiplications alone would allow in its precision.
        missing_tokens: How many tokens of the mix it did not compute, having cut the texts.
    """

    system: SystemDescription
    mix: str
    outputs: OutputSet
    batch_size: int | None
    tokens_per_second: Spread | None
    texts_per_second: Spread | None
    ratio: float | None
    peak_bytes: int | None
    cpu_seconds_per_million_tokens: float | None
    padding_efficiency: float | None
    attention_efficiency: float | None
    share_of_limit: Spread | None
    missing_tokens: int
    accuracy: Accuracy | None
    failure: Failure | None


@dataclass(frozen=True)
class LatencyFigures:
    """One system under one number of callers; percentiles of all rounds' requests together.

    Attributes:
        p50_spread: Of the rounds' medians.
    """

    system: SystemDescription
    mix: str
    outputs: OutputSet
    concurrency: int
    requests: int
    percentiles: Percentiles | None
    p50_spread: Spread | None
    requests_per_second: Spread | None
    failure: Failure | None


@dataclass(frozen=True)
class LimitFigures:
    """The matrix-multiply limit in one precision."""

    precision: Precision
    kernel: str
    flop_per_second: Spread


class Figures:
    """All figures of a run."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.systems = {system.name: system for system in results.systems}
        self.mixes = {mix.name: mix for mix in results.mixes}
        self._cells = {(cell.system, cell.mix, cell.outputs): cell for cell in results.throughput}
        self.baseline = self._baseline()
        self._limits: dict[Precision | None, float] = {
            # The best of all: what else the machine does only ever takes from it.
            limit.precision: limit.flop_per_second.highest
            for limit in self.limits()
        }

    @property
    def output_sets(self) -> list[OutputSet]:
        """Those that were measured, in order."""
        return list(dict.fromkeys(cell.outputs for cell in self.results.throughput))

    def throughput(self, outputs: OutputSet, mix: str) -> list[ThroughputFigures]:
        """Return the figures of all systems, in order."""
        return [
            self._throughput(cell)
            for cell in self.results.throughput
            if (cell.outputs, cell.mix) == (outputs, mix)
        ]

    def latency(self, mix: str) -> list[LatencyFigures]:
        """Return the figures of all systems and numbers of callers, in order."""
        return [self._latency(cell) for cell in self.results.latency if cell.mix == mix]

    @property
    def latency_mixes(self) -> list[str]:
        """Those whose latency was measured, in order."""
        return list(dict.fromkeys(cell.mix for cell in self.results.latency))

    def limits(self) -> list[LimitFigures]:
        """Return the limit in each precision that was measured."""
        measured: dict[tuple[Precision, str], list[float]] = {}
        for limit in self.results.limits:
            key = (limit.precision, limit.kernel)
            measured.setdefault(key, []).append(limit.flop_per_second)
        return [
            LimitFigures(precision, kernel, Spread.of(values))
            for (precision, kernel), values in measured.items()
        ]

    def _baseline(self) -> str:
        """Return what ratios are to: the first peer that has figures, else the reference."""
        for cell in self.results.throughput:
            if cell.passes and not self.systems[cell.system].ours:
                return cell.system
        return self.results.run.reference

    def _throughput(self, cell: Throughput) -> ThroughputFigures:
        mix = self.mixes[cell.mix]
        speeds = _tokens_per_second(cell, mix)
        seconds = [one.seconds for one in cell.passes]
        tokens = min([sum(mix.lengths), *(one.tokens for one in cell.passes if one.tokens)])
        cpu = [one.cpu_seconds for one in cell.passes if one.cpu_seconds is not None]
        # In the first round the vectors are saved, which takes memory of its own.
        later = [one for one in cell.passes if one.round > 0] or cell.passes
        peaks = [one.peak_bytes for one in later if one.peak_bytes is not None]
        return ThroughputFigures(
            system=self.systems[cell.system],
            mix=cell.mix,
            outputs=cell.outputs,
            batch_size=cell.batch_size,
            tokens_per_second=_spread(list(speeds.values())),
            texts_per_second=_spread([len(mix.lengths) / taken for taken in seconds]),
            ratio=self._ratio(cell, speeds),
            peak_bytes=max(peaks, default=None),
            cpu_seconds_per_million_tokens=(statistics.median(cpu) / tokens * 1e6 if cpu else None),
            padding_efficiency=_share(tokens, [one.computed_tokens for one in cell.passes]),
            attention_efficiency=_share(tokens, [one.attention_tokens for one in cell.passes]),
            share_of_limit=self._share_of_limit(cell, speeds),
            missing_tokens=sum(mix.lengths) - tokens,
            accuracy=cell.accuracy,
            failure=cell.failure or self.systems[cell.system].failure,
        )

    def _ratio(self, cell: Throughput, speeds: dict[int, float]) -> float | None:
        baseline = self._cells.get((self.baseline, cell.mix, cell.outputs))
        if baseline is None:
            return None
        base = _tokens_per_second(baseline, self.mixes[cell.mix])
        ratios = [speeds[number] / base[number] for number in speeds.keys() & base.keys()]
        return statistics.median(ratios) if ratios else None

    def _share_of_limit(self, cell: Throughput, speeds: dict[int, float]) -> Spread | None:
        limit = self._limits.get(self.systems[cell.system].precision)
        if limit is None:
            return None
        flop = self.results.model.linear_flop_per_token
        return _spread([speed * flop / limit for speed in speeds.values()])

    def _latency(self, cell: Latency) -> LatencyFigures:
        latencies = list(chain.from_iterable(one.latencies_seconds for one in cell.rounds))
        medians = [Percentiles.of(one.latencies_seconds).p50 for one in cell.rounds]
        rates = [len(one.latencies_seconds) / one.seconds for one in cell.rounds]
        return LatencyFigures(
            system=self.systems[cell.system],
            mix=cell.mix,
            outputs=cell.outputs,
            concurrency=cell.concurrency,
            requests=len(latencies),
            percentiles=Percentiles.of(latencies) if latencies else None,
            p50_spread=_spread(medians),
            requests_per_second=_spread(rates),
            failure=cell.failure or self.systems[cell.system].failure,
        )


def _share(tokens: int, computed: Sequence[int | None]) -> float | None:
    known = [count for count in computed if count]
    return tokens / statistics.median(known) if known else None


def _tokens_per_second(cell: Throughput, mix: MixDescription) -> dict[int, float]:
    """Return the speed in each round; tokens that a system has cut off do not count."""
    whole = sum(mix.lengths)
    return {one.round: min(one.tokens or whole, whole) / one.seconds for one in cell.passes}


def _spread(figures: Sequence[float]) -> Spread | None:
    return Spread.of(figures) if figures else None
