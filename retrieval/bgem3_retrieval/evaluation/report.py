"""``report.md``: the tables of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bgem3_bench.reports import markdown_table
from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.dataset import LONG_CHARACTERS
from bgem3_retrieval.evaluation.measures import MEASURES, NDCG
from bgem3_retrieval.evaluation.results import (
    BuyerRow,
    CollectionResult,
    Results,
    SystemResult,
)
from bgem3_retrieval.evaluation.significance import LEVEL, Comparison
from bgem3_retrieval.evaluation.weights import WeightPoint, WeightSearch

NOTHING: Final = "–"
_FIELDS: Final = {"kind": "kind of query", "language": "language", "answer": "length of the answer"}
_ANSWERS: Final = {
    "long": f"over {LONG_CHARACTERS:,} characters",
    "short": "all others",
}


def report(results: Results, plots: Mapping[str, Sequence[Path]] | None = None) -> str:
    """Return the report as Markdown.

    Args:
        results: Of the evaluation.
        plots: By collection: pictures to show, as paths relative to the report.
    """
    parts = ["# Retrieval quality", _head(results)]
    for collection in results.collections:
        pictures = (plots or {}).get(collection.name, ())
        parts += _collection(collection, pictures)
    return "\n\n".join([*parts, _HOW_TO_READ.format(level=LEVEL)]) + "\n"


def overview(results: Results) -> str:
    """Return what one looks at first, as Markdown: quality, groups, and the buyer's table."""
    parts = [_head(results)]
    for collection in results.collections:
        parts += [f"## {collection.name}", _collection_head(collection)]
        parts.append(_quality(collection.systems))
        parts += _groups(collection)
        parts += _weights(collection)
        parts += _buyer(collection)
    return "\n\n".join(parts)


def _head(results: Results) -> str:
    lines = []
    if results.model is not None:
        dense, sparse, colbert = results.weights
        lines += [
            f"- Model: {results.model}, at {results.url}",
            f"- Texts are cut to {results.max_length:,} tokens. Weights of the hybrids: dense "
            f"{dense:g}, sparse {sparse:g}, ColBERT {colbert:g}",
        ]
    lines.append(f"- Measured on: {results.machine}; version {results.version}")
    return "\n".join(lines)


def _collection(collection: CollectionResult, pictures: Sequence[Path]) -> list[str]:
    parts = [
        f"## {collection.name}",
        _collection_head(collection),
        "### What one would ask before buying",
        *_buyer(collection),
        "### Quality",
        _quality(collection.systems),
        *(f"![{path.stem.replace('_', ' ')}]({path.as_posix()})" for path in pictures),
        *_groups(collection),
    ]
    if any(system.documents_per_second for system in collection.systems):
        parts += ["### Speed and size", _speed(collection.systems)]
    if collection.weight_searches:
        parts += ["### Weights", *_weights(collection)]
    if collection.comparisons:
        parts += ["### Differences", _differences(collection.comparisons)]
    return parts


def _collection_head(collection: CollectionResult) -> str:
    words = [
        f"{collection.documents:,} documents, {collection.long_documents:,} of more than "
        f"{LONG_CHARACTERS:,} characters"
    ]
    if collection.truncated_documents:
        words.append(f"{collection.truncated_documents:,} cut")
    if collection.tokens is not None:
        words.append(f"{collection.tokens:,} tokens")
    words.append(f"{collection.queries:,} queries with judgements")
    lines = [f"- {', '.join(words)}"]
    if not collection.complete:
        lines.append(
            "- Dense and sparse rank all documents; hybrids and ColBERT rank the union of the "
            f"{collection.candidates:,} best of the two"
        )
    lines += [f"- **{note[0].upper()}{note[1:]}**" for note in collection.notes]
    return "\n".join(lines)


def _quality(systems: Sequence[SystemResult]) -> str:
    best = {measure: max(system.measures[measure] for system in systems) for measure in MEASURES}
    return markdown_table(
        ["system", *MEASURES],
        [
            [
                system.name,
                *(_best(system.measures[measure], best[measure]) for measure in MEASURES),
            ]
            for system in systems
        ],
    )


def _groups(collection: CollectionResult) -> Iterator[str]:
    for field, sizes in collection.group_sizes.items():
        headers = [f"{NDCG}, by {_FIELDS[field]}"]
        headers += [f"{_ANSWERS.get(value, value)} ({size:,})" for value, size in sizes.items()]
        groups = [system.groups[field] for system in collection.systems]
        best = {value: max(group[value][NDCG] for group in groups) for value in sizes}
        yield markdown_table(
            headers,
            [
                [system.name, *(_best(group[value][NDCG], best[value]) for value in sizes)]
                for system, group in zip(collection.systems, groups, strict=True)
            ],
        )


def _speed(systems: Sequence[SystemResult]) -> str:
    return markdown_table(
        ["system", "documents/s", "tokens/s", "KB a document"],
        [
            [
                system.name,
                _number(system.documents_per_second, "{:,.1f}"),
                _number(system.tokens_per_second, "{:,.0f}"),
                _number(system.bytes_per_document, "{:,.1f}", 1e-3),
            ]
            for system in systems
            if system.bytes_per_document is not None
        ],
    )


def _buyer(collection: CollectionResult) -> Iterator[str]:
    rows = collection.buyer
    if not rows:
        return
    yield markdown_table(
        [
            "",
            "dense recall@10",
            "sparse keyword precision",
            "hybrid MRR@10",
            "long documents/s, dense",
            "long documents/s, all in one pass",
            "peak memory, GB",
        ],
        [_buyer_cells(row) for row in rows],
    )
    yield (
        f"Keyword precision: {collection.keyword_measure}. Long documents: more than "
        f"{LONG_CHARACTERS:,} characters; {collection.long_texts}."
    )
    failures = [f"- {row.name}: {row.failure}" for row in rows if row.failure]
    if failures:
        yield "\n".join(failures)


def _buyer_cells(row: BuyerRow) -> list[str]:
    def cell(value: float | None, *needed: Output, form: str = "{:.3f}") -> str:
        offered = row.failure is not None or row.outputs >= set(needed)
        return _number(value, form) if offered else "not offered"

    return [
        row.name,
        cell(row.dense_recall, "dense"),
        cell(row.keyword_precision, "sparse"),
        cell(row.hybrid_mrr, "dense", "sparse"),
        cell(row.long_dense_per_second, "dense", form="{:,.2f}"),
        cell(row.long_all_per_second, "dense", "sparse", form="{:,.2f}"),
        _number(row.peak_bytes, "{:,.2f}", 1e-9),
    ]


def _weights(collection: CollectionResult) -> Iterator[str]:
    searches = collection.weight_searches
    if not searches:
        return
    first = searches[0]
    yield (
        f"Weights were chosen by {NDCG} on {first.tuning_queries} queries, drawn by seed "
        f"{first.seed}, and are judged on the {first.held_out_queries} others:"
    )
    rows = []
    for search in searches:
        name = "+".join(search.outputs)
        rows += [
            _weight_cells(name, "chosen", search.best, search),
            _weight_cells(name, "as given", search.given, search),
            _weight_cells(name, "best alone", search.single, search),
        ]
    yield markdown_table(
        ["hybrid", "weights", "dense", "sparse", "ColBERT", "tuning half", "held-out half"], rows
    )


def _weight_cells(name: str, which: str, point: WeightPoint, search: WeightSearch) -> list[str]:
    parts = zip(("dense", "sparse", "colbert"), point.weights, strict=True)
    return [
        name,
        which,
        *(f"{weight:.2f}" if output in search.outputs else NOTHING for output, weight in parts),
        f"{point.tuning:.3f}",
        f"{point.held_out:.3f}",
    ]


def _differences(comparisons: Sequence[Comparison]) -> str:
    return markdown_table(
        ["systems", f"difference in {NDCG}", "p", "p, corrected", "significant"],
        [
            [
                f"{item.first} – {item.second}",
                f"{item.difference:+.3f}",
                _p(item.p),
                _p(item.p_corrected),
                "yes" if item.is_significant else "no",
            ]
            for item in comparisons
        ],
    )


def _best(value: float, best: float) -> str:
    text = f"{value:.3f}"
    return f"**{text}**" if text == f"{best:.3f}" else text


def _number(value: float | None, form: str = "{:.3f}", factor: float = 1.0) -> str:
    return NOTHING if value is None else form.format(value * factor)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


_HOW_TO_READ: Final = """\
## How to read this

Higher is better; bold is the best of a column. nDCG@10 counts how relevant the first ten are, and
the first ones more. recall@k is the share of the relevant documents among the first k. MRR@10 is 1
over the place of the first relevant one. MAP@100 is precision at the places of the relevant ones.
P@k is the share of relevant ones among the first k. A system that finds nothing for a query has 0.

dense+sparse and dense+sparse+colbert add the weighted scores. rrf adds 1 / (60 + rank) by dense and
by sparse. Differences are tested in pairs over the queries, on both sides, and p is corrected by
Holm for the number of comparisons; below {level} a difference is called significant.

Speed is that of encoding the documents with what a system needs, as the median of rounds. KB a
document: FP32 for dense, 8 bytes for a sparse entry, FP16 for ColBERT. Memory is the most that each
process held, added."""
