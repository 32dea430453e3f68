"""What a collection loses in quality by how its vectors are kept.

The shipped collection is encoded once by a running server and put into embedded stores, one for
each way to keep vectors; each is searched with all queries, by ColBERT alone and as `bgem3 search`
does by default. The 8-bit form is of Qdrant servers only: here its formula is computed (scalar
quantisation, 128 steps between the quantiles of all numbers), with and without scoring anew.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bgem3_bench.machine import this_machine
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_client import Client
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ALL_OUTPUTS
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.evaluation.beir import read_beir
from bgem3_retrieval.evaluation.collection import collection_folder
from bgem3_retrieval.evaluation.dataset import Dataset
from bgem3_retrieval.evaluation.measures import NDCG, RECALL, judge
from bgem3_retrieval.evaluation.runs import Run
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.pooling import pool_tokens

_WAYS: Mapping[str, dict[str, object]] = {
    "float32, full": {"storage": "float32"},
    "float16, full": {},
    **{
        f"float16, pooled by {factor}": {"colbert": "pooled", "pool_factor": factor}
        for factor in (2, 3, 4, 8)
    },
    "float16, none": {"colbert": "none"},
}
_QUANTILE = 0.99
_STEPS = 127
_RESCORED = 10


def points(dataset: Dataset, embeddings: Embeddings, spec: CollectionSpec) -> list[Point]:
    """Return each passage as a chunk, its ColBERT vectors as the collection keeps them."""
    found = []
    texts = dataset.corpus.texts(range(len(dataset.corpus.ids)))
    for place, (source, text) in enumerate(zip(dataset.corpus.ids, texts, strict=True)):
        embedding = embeddings[place]
        # Of one of two types, which is the type of what comes out.
        rows: Any = None if spec.colbert == "none" else embedding.colbert
        if spec.colbert == "pooled":
            rows = pool_tokens(rows, spec.pool_factor)
        tokens = int(embeddings.token_lengths[place])
        chunk = Chunk(source, 0, 0, len(text), text, (), tokens, "", None)
        found.append(Point(StoredChunk(chunk, "0", 1), embedding.dense, embedding.sparse, rows))
    return found


def searched(
    searcher: Searcher, name: str, dataset: Dataset, options: SearchOptions
) -> Mapping[str, float]:
    """Return nDCG@10 and recall@10 of a search with all queries."""
    results = searcher.search_many(name, [query.text for query in dataset.queries], options)
    run = {
        query.id: {hit.stored.chunk.source: hit.score for hit in result.hits}
        for query, result in zip(dataset.queries, results, strict=True)
    }
    return judged(dataset, run)


def judged(dataset: Dataset, run: Run) -> Mapping[str, float]:
    """Return nDCG@10 and recall@10 of what was found."""
    quality = judge(run, dataset.judgements, [query.id for query in dataset.queries])
    return {measure: quality.mean(measure) for measure in (NDCG, RECALL)}


def eight_bits(vectors: NDArray[np.float32], of: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors as they are after 8 bits, with the bounds of all numbers of ``of``."""
    low, high = np.quantile(of, [(1 - _QUANTILE) / 2, (1 + _QUANTILE) / 2])
    steps = np.round((np.clip(vectors, low, high) - low) / (high - low) * _STEPS)
    return np.asarray(steps / _STEPS * (high - low) + low, dtype=np.float32)


def dense_runs(
    dataset: Dataset, passages: NDArray[np.float32], queries: NDArray[np.float32]
) -> dict[str, Mapping[str, float]]:
    """Return the quality of dense vectors alone: exact, 8 bits, and 8 bits with exact scores."""
    exact = queries @ passages.T
    rough = eight_bits(queries, passages) @ eight_bits(passages, passages).T
    rescored = np.full_like(exact, -np.inf)
    best = np.argsort(-rough, axis=1)[:, :_RESCORED]
    np.put_along_axis(rescored, best, np.take_along_axis(exact, best, axis=1), axis=1)
    found = {}
    ways = {"float32": exact, "int8 alone": rough, f"int8, best {_RESCORED} scored anew": rescored}
    for name, scores in ways.items():
        run = {}
        for query, row in zip(dataset.queries, scores, strict=True):
            order = np.argsort(-row, kind="stable")[:_RESCORED]
            run[query.id] = {dataset.corpus.ids[place]: float(row[place]) for place in order}
        found[name] = judged(dataset, run)
    return found


@click.command()
@click.option("--url", default="127.0.0.1:8001", show_default=True)
def main(url: str) -> None:
    """Measure what storage and pooling cost in quality, with a running server."""
    dataset = read_beir(collection_folder())
    rows = []
    with Client(url) as client, tempfile.TemporaryDirectory() as scratch:
        model = client.model_info()
        texts = dataset.corpus.texts(range(len(dataset.corpus.ids)))
        embeddings = client.encode(texts, ALL_OUTPUTS)
        queries = client.encode([query.text for query in dataset.queries], {"dense"})
        for place, (way, choices) in enumerate(_WAYS.items()):
            sizes = {"dense_size": model.hidden_size, "colbert_size": model.colbert_size}
            spec = CollectionSpec(name="passages", model=model.name, **sizes, **choices)
            store = open_store(str(Path(scratch) / str(place)))
            store.create(spec)
            kept = points(dataset, embeddings, spec)
            store.put(spec.name, kept)
            searcher = Searcher(client, store)
            row: dict[str, object] = {"kept": way, "default": None, "colbert": None}
            row["default"] = searched(searcher, spec.name, dataset, SearchOptions())
            if spec.colbert != "none":
                by_colbert = SearchOptions(mode="colbert", candidates=len(texts))
                row["colbert"] = searched(searcher, spec.name, dataset, by_colbert)
                lengths = [len(point.colbert) for point in kept if point.colbert is not None]
                row["vectors"] = statistics.mean(lengths)
            rows.append(row)
            store.close()
    click.echo(f"{this_machine()}\n")
    click.echo(
        markdown_table(
            ["kept", "vectors a passage", f"{NDCG}, ColBERT", RECALL, f"{NDCG}, default", RECALL],
            [
                [str(row["kept"]), f"{row.get('vectors', 0):.0f}"]
                + [
                    "–" if row[which] is None else f"{row[which][measure]:.3f}"  # type: ignore[index]
                    for which in ("colbert", "default")
                    for measure in (NDCG, RECALL)
                ]
                for row in rows
            ],
        )
    )
    dense = dense_runs(dataset, embeddings.dense, queries.dense)
    click.echo()
    click.echo(
        markdown_table(
            ["dense vectors alone", NDCG, RECALL],
            [[name, f"{q[NDCG]:.3f}", f"{q[RECALL]:.3f}"] for name, q in dense.items()],
        )
    )
    write_json(output_directory() / "storage_quality.json", {"stores": rows, "dense": dense})


if __name__ == "__main__":
    main()
