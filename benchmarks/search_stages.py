"""Where a search spends its time, and what a store takes, as a collection grows.

A running server encodes real passages of 50 to 300 tokens; chunks are made from these: a dense
vector near the passage's, its token vectors, and its lexical weights with a part of the words
exchanged for those of other passages, so that words are as common as in real text. Each size is
filled and searched by a process of its own, whose memory is the store's. The queries are those of
the shipped collection, and each search encodes its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_bench.machine import this_machine
from bgem3_bench.mixes import build_mix
from bgem3_bench.process_memory import process_memory
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_client import Client
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ALL_OUTPUTS
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.evaluation.beir import read_beir
from bgem3_retrieval.evaluation.collection import collection_folder
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.pooling import pool_tokens

_POOL_TOKENS = 100_000
_EXCHANGED_SHARE = 0.4
_NOISE = 0.5
_BLOCK_POINTS = 500
_STAGES = ("encode", "candidates", "scores", "fuse", "total")


def points(
    passages: list[str], embeddings: Embeddings, spec: CollectionSpec, count: int
) -> Iterator[Point]:
    """Yield chunks made from encoded passages; the same for the same arguments."""
    numbers = np.random.default_rng(0)
    all_ids = np.concatenate([embedding.sparse.indices for embedding in embeddings])
    # Of one of two types, which is the type of what comes out.
    rows: list[Any] = [None] * len(passages)
    if spec.colbert != "none":
        rows = [embedding.colbert for embedding in embeddings]
    if spec.colbert == "pooled":
        rows = [pool_tokens(vectors, spec.pool_factor) for vectors in rows]
    for number in range(count):
        of = number % len(passages)
        embedding = embeddings[of]
        dense = embedding.dense + numbers.standard_normal(spec.dense_size, np.float32) * (
            _NOISE / np.sqrt(spec.dense_size)
        )
        ids, values = embedding.sparse.indices.copy(), embedding.sparse.values
        exchanged = numbers.random(len(ids)) < _EXCHANGED_SHARE
        ids[exchanged] = numbers.choice(all_ids, int(exchanged.sum()))
        ids, kept = np.unique(ids, return_index=True)
        chunk = Chunk(
            source=f"{number // 10:06}.txt",
            position=number % 10,
            begin=0,
            end=len(passages[of]),
            text=passages[of],
            headings=(),
            tokens=int(embeddings.token_lengths[of]),
            title="",
            page=None,
        )
        yield Point(
            StoredChunk(chunk, "0", 10),
            dense / np.linalg.norm(dense),
            SparseEmbedding(ids, values[kept]),
            rows[of],
        )


def measure_here(url: str, tokenizer: str, address: str, spec_json: str, count: int) -> None:
    """Fill a collection, open it anew and search it in this process; print what it took as JSON."""
    passages = list(build_mix("passages", TextTokenizer(Path(tokenizer)), _POOL_TOKENS).texts)
    queries = [query.text for query in read_beir(collection_folder()).queries][:60]
    with Client(url) as client:
        model = client.model_info()
        spec = CollectionSpec(
            **json.loads(spec_json),
            model=model.name,
            dense_size=model.hidden_size,
            colbert_size=model.colbert_size,
        )
        outputs = ALL_OUTPUTS - ({"colbert"} if spec.colbert == "none" else set())
        embeddings = client.encode(passages, outputs, colbert_dtype="float16")
        store = open_store(address)
        store.create(spec)
        block: list[Point] = []
        written = 0.0
        for point in points(passages, embeddings, spec, count):
            block.append(point)
            if len(block) == _BLOCK_POINTS:
                begin = time.perf_counter()
                store.put(spec.name, block)
                written += time.perf_counter() - begin
                block = []
        store.put(spec.name, block)
        store.close()
        del embeddings, block
        store = open_store(address)
        before = process_memory(os.getpid()).anonymous_bytes
        begin = time.perf_counter()
        searcher = Searcher(client, store)
        searcher.search(spec.name, queries[0])
        loading = time.perf_counter() - begin
        timings = [searcher.search(spec.name, query, SearchOptions()).timings for query in queries]
        found = {
            "put_per_second": count / written,
            "first_search_seconds": loading,
            "memory_bytes": process_memory(os.getpid()).anonymous_bytes - before,
        }
        for stage in _STAGES:
            seconds = [getattr(timing, f"{stage}_seconds") for timing in timings]
            found[stage] = statistics.median(seconds)
        found["p95"] = statistics.quantiles([t.total_seconds for t in timings], n=20)[-1]
        store.close()
    click.echo(json.dumps(found))


@click.command()
@click.argument("repository", type=click.Path(path_type=Path, exists=True))
@click.option("--url", default="127.0.0.1:8001", show_default=True, help="Serves REPOSITORY.")
@click.option("--chunks", default="1000,10000,100000", show_default=True)
@click.option("--colbert", type=click.Choice(["none", "pooled", "full"]), default="none")
@click.option("--store", default=None, help="A server, or milvus:FILE.db; else a folder.")
def main(repository: Path, url: str, chunks: str, colbert: str, store: str | None) -> None:
    """Measure searching, with the model REPOSITORY that runs at --url."""
    tokenizer = repository / "bge_m3_tokenizer" / "1" / "tokenizer.json"
    found = []
    for count in map(int, chunks.split(",")):
        with tempfile.TemporaryDirectory() as scratch:
            address = store or f"{scratch}/store"
            spec = json.dumps({"name": f"measured_{count}", "colbert": colbert})
            finished = subprocess.run(
                [
                    *(sys.executable, __file__, "--here"),
                    *(url, str(tokenizer), address, spec, str(count)),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            if finished.returncode:
                raise click.ClickException(f"{count} chunks: ended with {finished.returncode}")
            row = json.loads(finished.stdout.splitlines()[-1])
            files = (path for path in Path(scratch).rglob("*") if path.is_file())
            disk = sum(path.stat().st_size for path in files)
            found.append({"chunks": count, "colbert": colbert, "disk_bytes": disk, **row})
            click.echo(json.dumps(found[-1]), err=True)
    click.echo(f"{this_machine()}\n")
    click.echo(
        markdown_table(
            ["chunks", "put/s", "disk GB", "memory GB", "first search s"]
            + [f"{stage} ms" for stage in _STAGES]
            + ["p95 ms"],
            [
                [
                    f"{row['chunks']:,}",
                    f"{row['put_per_second']:,.0f}",
                    f"{row['disk_bytes'] / 1e9:.2f}",
                    f"{row['memory_bytes'] / 1e9:.2f}",
                    f"{row['first_search_seconds']:.1f}",
                    *(f"{row[stage] * 1e3:,.1f}" for stage in (*_STAGES, "p95")),
                ]
                for row in found
            ],
        )
    )
    write_json(output_directory() / "search_stages.json", {"results": found})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        url, tokenizer, address, spec, count = sys.argv[2:]
        measure_here(url, tokenizer, address, spec, int(count))
    else:
        main()
