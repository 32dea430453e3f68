"""The whole way for one collection: encode, rank, judge, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Protocol

from bgem3_bench.errors import FAILURE_WORDS, WorkerError
from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.dataset import Dataset
from bgem3_retrieval.evaluation.encoder import Encoder
from bgem3_retrieval.evaluation.measures import (
    FIRST,
    FIRST_FIVE,
    MEASURES,
    MRR,
    NDCG,
    RECALL,
    Quality,
    judge,
)
from bgem3_retrieval.evaluation.ranking import ScoredDataset, score_dataset
from bgem3_retrieval.evaluation.results import (
    OURS,
    RUN_FILE,
    BuyerRow,
    CollectionResult,
    SystemResult,
)
from bgem3_retrieval.evaluation.runs import Run
from bgem3_retrieval.evaluation.significance import Test, compare
from bgem3_retrieval.evaluation.speed import Speed, long_texts_of, measure_speed, sample
from bgem3_retrieval.evaluation.systems import System
from bgem3_retrieval.evaluation.weights import FEWEST_QUERIES, WeightSearch, search_weights

LEXICAL_KIND: Final = "lexical"
"""Queries of this kind ask for a word, a number or a name itself."""

_SPEED_DOCUMENTS: Final = 32
_DENSE: Final[frozenset[Output]] = frozenset({"dense"})


class Observer(Protocol):
    """Is told what happens."""

    def step(self, words: str) -> None:
        """Something begins."""

    def progress(self, what: str, done: int, total: int) -> None:
        """So much of it is done."""


@dataclass(frozen=True)
class Contender:
    """Whose vectors are judged.

    Attributes:
        name: In tables.
        encoder: Gives the vectors.
        peak_bytes: Returns the most memory that it took since it was made; None: not known.
    """

    name: str
    encoder: Encoder
    peak_bytes: Callable[[], int | None]


@dataclass(frozen=True)
class EvaluationOptions:
    """How collections are evaluated.

    Attributes:
        systems: Ways to rank; a contender is ranked by those that it has the outputs for.
        candidates: See :func:`score_dataset`.
        test: Of significance.
        seed: Of halves and tests.
        quick: Quality alone: no speed, and no search for weights.
    """

    systems: tuple[System, ...]
    candidates: int
    test: Test
    seed: int
    quick: bool

    def systems_of(self, outputs: frozenset[Output]) -> list[System]:
        """Return the systems that these outputs are enough for."""
        return [system for system in self.systems if system.outputs <= outputs]


@dataclass(frozen=True)
class Evaluated:
    """A collection's results, and the runs that they are of by the name of the system."""

    result: CollectionResult
    runs: Mapping[str, Run]


@dataclass(frozen=True)
class _Row:
    """One system of one contender."""

    name: str
    origin: str
    system: System | None
    run: Run
    speed: Speed | None = None
    bytes_per_document: float | None = None


@dataclass(frozen=True)
class _Measured:
    """What came of a contender."""

    rows: list[_Row]
    scored: ScoredDataset
    outputs: frozenset[Output]
    long_speeds: list[Speed]
    peak_bytes: int | None


def evaluate(
    dataset: Dataset,
    contenders: Mapping[str, AbstractContextManager[Contender]],
    run_files: Mapping[str, Run],
    options: EvaluationOptions,
    observer: Observer,
) -> Evaluated:
    """Evaluate contenders and runs on a collection.

    Args:
        dataset: The collection.
        contenders: By name, ours first; each runs while it is measured, one after the other. What
            a peer fails of (`WorkerError`) becomes a row of the report.
        run_files: What others found, by the names that they are to have.
        options: How.
        observer: Is told what happens.

    Raises:
        BgeM3Error: Texts cannot be read, or our server failed.
    """
    long_texts, long_words = long_texts_of(dataset.corpus)
    rows: list[_Row] = []
    buyer: dict[str, _Measured | str] = {}
    ours: ScoredDataset | None = None
    for name, contender in contenders.items():
        try:
            with contender as opened:
                measured = _measure(dataset, opened, long_texts, options, observer)
        except WorkerError as error:
            buyer[name] = f"{FAILURE_WORDS[error.kind]} ({error})"
            continue
        rows += measured.rows
        buyer[name] = measured
        if name == OURS:
            ours = measured.scored
    rows += [_Row(name, RUN_FILE, None, run) for name, run in run_files.items()]
    observer.step("judging")
    queries = [query.id for query in dataset.queries]
    qualities = {row.name: judge(row.run, dataset.judgements, queries) for row in rows}
    groups = dataset.groups()
    keyword_measure, keyword = _keyword_measure(groups)
    comparisons = compare(
        {name: quality.values[NDCG] for name, quality in qualities.items()},
        options.test,
        options.seed,
        _pairs(rows),
    )
    result = CollectionResult(
        name=dataset.name,
        documents=len(dataset.corpus.ids),
        long_documents=len(dataset.long_rows()),
        truncated_documents=None if ours is None else ours.truncated,
        tokens=None if ours is None else ours.tokens,
        queries=len(queries),
        group_sizes={
            field: {value: len(members) for value, members in values.items()}
            for field, values in groups.items()
        },
        complete=len(dataset.corpus.ids) <= options.candidates,
        candidates=options.candidates,
        systems=tuple(_system_result(row, qualities[row.name], groups) for row in rows),
        comparisons=tuple(comparisons),
        weight_searches=tuple(_weight_searches(dataset, ours, options, observer)),
        buyer=tuple(
            _buyer_row(name, outcome, qualities, keyword) for name, outcome in buyer.items()
        ),
        keyword_measure=keyword_measure,
        long_texts=long_words,
        notes=dataset.notes,
    )
    return Evaluated(result, {row.name: row.run for row in rows})


def _measure(
    dataset: Dataset,
    contender: Contender,
    long_texts: list[str],
    options: EvaluationOptions,
    observer: Observer,
) -> _Measured:
    encoder = contender.encoder
    systems = options.systems_of(encoder.outputs)
    outputs = frozenset[Output]().union(*(system.outputs for system in systems))
    observer.step(f"{contender.name}: encoding {dataset.name}")
    scored = score_dataset(dataset, encoder, outputs, options.candidates, observer.progress)
    speeds: list[Speed] = []
    long_speeds: list[Speed] = []
    if not options.quick:
        observer.step(f"{contender.name}: measuring speed")
        asked = list(dict.fromkeys(system.outputs for system in systems))
        texts = sample(dataset.corpus, _SPEED_DOCUMENTS)
        speeds = measure_speed(encoder, texts, asked)
        observer.step(f"{contender.name}: measuring speed with long documents")
        long_speeds = measure_speed(
            encoder, long_texts, list(dict.fromkeys([_DENSE, encoder.outputs]))
        )
    speed_of = {speed.outputs: speed for speed in speeds}
    rows = [
        _Row(
            system.name if contender.name == OURS else f"{contender.name}: {system.name}",
            contender.name,
            system,
            system.run(dataset, scored),
            speed_of.get(system.outputs),
            sum(scored.bytes_per_document[output] for output in system.outputs),
        )
        for system in systems
    ]
    return _Measured(rows, scored, encoder.outputs, long_speeds, contender.peak_bytes())


def _pairs(rows: Sequence[_Row]) -> list[tuple[str, str]]:
    """Return which systems are compared: the more they are, the less is significant.

    Those of one origin with each other, the same system of two origins, and run files with all.
    """
    return [
        (first.name, second.name)
        for first, second in combinations(rows, 2)
        if first.origin == second.origin
        or RUN_FILE in (first.origin, second.origin)
        or first.system == second.system
    ]


def _system_result(
    row: _Row, quality: Quality, groups: Mapping[str, Mapping[str, Sequence[str]]]
) -> SystemResult:
    return SystemResult(
        name=row.name,
        origin=row.origin,
        measures={measure: quality.mean(measure) for measure in MEASURES},
        groups={
            field: {
                value: {measure: quality.mean(measure, members) for measure in MEASURES}
                for value, members in values.items()
            }
            for field, values in groups.items()
        },
        documents_per_second=None if row.speed is None else row.speed.documents_per_second,
        tokens_per_second=None if row.speed is None else row.speed.tokens_per_second,
        bytes_per_document=row.bytes_per_document,
    )


def _weight_searches(
    dataset: Dataset, ours: ScoredDataset | None, options: EvaluationOptions, observer: Observer
) -> Iterator[WeightSearch]:
    if ours is None or options.quick or len(dataset.queries) < FEWEST_QUERIES:
        return
    for system in options.systems:
        if system.is_hybrid and system.fusion == "weighted":
            observer.step(f"weights of {system.name}")
            yield search_weights(dataset, ours, system, options.seed)


def _keyword_measure(
    groups: Mapping[str, Mapping[str, Sequence[str]]],
) -> tuple[str, Callable[[Quality], float]]:
    """Return what keyword precision is for these queries, in words and as a function."""
    lexical = groups.get("kind", {}).get(LEXICAL_KIND)
    if lexical is None:
        return f"{FIRST_FIVE} over all queries", lambda quality: quality.mean(FIRST_FIVE)
    return (
        f"{FIRST} over the {len(lexical)} queries of kind {LEXICAL_KIND!r}",
        lambda quality: quality.mean(FIRST, lexical),
    )


def _buyer_row(
    name: str,
    outcome: _Measured | str,
    qualities: Mapping[str, Quality],
    keyword: Callable[[Quality], float],
) -> BuyerRow:
    if isinstance(outcome, str):
        return BuyerRow(name, failure=outcome)
    quality_of = {
        row.system.name: qualities[row.name] for row in outcome.rows if row.system is not None
    }
    hybrids = [
        row.system
        for row in outcome.rows
        if row.system is not None and row.system.is_hybrid and row.system.fusion == "weighted"
    ]
    # Of most representations.
    hybrid = max(hybrids, key=lambda system: len(system.outputs), default=None)
    speeds = {speed.outputs: speed.documents_per_second for speed in outcome.long_speeds}
    every = max(speeds, key=len, default=_DENSE)
    dense, sparse = quality_of.get("dense"), quality_of.get("sparse")
    return BuyerRow(
        name,
        outcome.outputs,
        dense_recall=None if dense is None else dense.mean(RECALL),
        keyword_precision=None if sparse is None else keyword(sparse),
        hybrid_mrr=None if hybrid is None else quality_of[hybrid.name].mean(MRR),
        long_dense_per_second=speeds.get(_DENSE),
        long_all_per_second=speeds.get(every) if every != _DENSE else None,
        peak_bytes=outcome.peak_bytes,
    )
