"""What an evaluation came to, as values that go into a report and into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from bgem3_bench.machine import Machine
from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.significance import Comparison
from bgem3_retrieval.evaluation.weights import WeightSearch

OURS = "bgem3"
RUN_FILE = "run file"


@dataclass(frozen=True)
class SystemResult:
    """One row of the tables.

    Attributes:
        name: In tables: the system's, with the peer's before it where it is not ours.
        origin: Whose it is: "bgem3", a peer's name, or "run file".
        measures: Mean over all queries, by measure.
        groups: The same for the groups of queries: by field, value and measure.
        documents_per_second: Encoding what it needs; None where that was not measured.
        tokens_per_second: The same.
        bytes_per_document: What it needs stored, on average; None of run files.
    """

    name: str
    origin: str
    measures: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]
    documents_per_second: float | None = None
    tokens_per_second: float | None = None
    bytes_per_document: float | None = None


@dataclass(frozen=True)
class BuyerRow:
    """What one would ask before buying; None where something was not measured or is not offered.

    Attributes:
        name: "bgem3", or a peer's.
        outputs: What it offers.
        dense_recall: recall@10 of dense vectors.
        keyword_precision: Of sparse weights; see :attr:`CollectionResult.keyword_measure`.
        hybrid_mrr: MRR@10 of the hybrid of most representations.
        long_dense_per_second: Long documents a second, dense vectors alone.
        long_all_per_second: The same, all that the system has in one pass.
        peak_bytes: The most memory that the server, or the peer's process, took.
        failure: Why there are no figures.
    """

    name: str
    outputs: frozenset[Output] = frozenset()
    dense_recall: float | None = None
    keyword_precision: float | None = None
    hybrid_mrr: float | None = None
    long_dense_per_second: float | None = None
    long_all_per_second: float | None = None
    peak_bytes: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class CollectionResult:
    """All about one collection.

    Attributes:
        name: The collection's.
        documents: How many there are.
        long_documents: How many of them are long.
        truncated_documents: How many the server cut; None where that is not known.
        tokens: Of all documents; None where that is not known.
        queries: How many are judged.
        group_sizes: Queries by field and value.
        complete: Whether every document was scored for every query.
        candidates: Best documents by dense and by sparse that were, otherwise.
        systems: In the order of a table.
        comparisons: Of two of them, by nDCG@10.
        weight_searches: Of the hybrids.
        buyer: A row for us and for each peer.
        keyword_measure: What keyword precision is here, in words.
        long_texts: What speed over long documents was measured with, in words.
        notes: What else a reader should know.
    """

    name: str
    documents: int
    long_documents: int
    truncated_documents: int | None
    tokens: int | None
    queries: int
    group_sizes: Mapping[str, Mapping[str, int]]
    complete: bool
    candidates: int
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    weight_searches: tuple[WeightSearch, ...]
    buyer: tuple[BuyerRow, ...]
    keyword_measure: str
    long_texts: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Attributes:
        version: Of this package.
        machine: That this command ran on.
        url: The server's address; None where none was asked.
        model: What it serves: name, version and sizes; None where none was asked.
        max_length: Tokens that texts were cut to.
        weights: Of dense, sparse and ColBERT in the hybrids.
        test: Of significance.
        seed: Of halves and tests.
        collections: One at least.
    """

    version: str
    machine: Machine
    url: str | None
    model: str | None
    max_length: int
    weights: tuple[float, float, float]
    test: str
    seed: int
    collections: tuple[CollectionResult, ...]


def as_json(value: Any) -> Any:  # noqa: ANN401 - any value of a result
    """Return results as what JSON knows."""
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value
