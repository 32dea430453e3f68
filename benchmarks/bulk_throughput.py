"""What ``bgem3 encode`` reaches of what ``bgem3 bench`` shows for the same texts.

One Triton, one corpus of distinct texts in the lengths of a mix. In turns the corpus is encoded as
`bgem3 bench` does it (its own system "Triton", the texts in memory, the answers thrown away) and by
`bgem3 encode` in a process of its own, from Parquet into a folder of shards on the disk.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_bench.machine import this_machine
from bgem3_bench.mixes import MIXES, Mix, build_mix
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.workers.served import Served

_BATCH_SIZE = 64
_MAX_LENGTH = 8192


def encode_files(url: str, corpus: Path, folder: Path, outputs: str) -> float:
    """Return the seconds of one ``bgem3 encode``, its start included."""
    begin = time.perf_counter()
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("bgem3")), "encode", str(corpus)),
            *("--url", url, "--outputs", outputs, "--colbert-dtype", "float16"),
            *("-o", f"{folder}/", "--no-progress"),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - begin
    shutil.rmtree(folder)
    return seconds


def start_seconds(url: str) -> float:
    """Return what the command takes for one short text: its start, and that of its connection."""
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "one.parquet"
        pq.write_table(pa.table({"id": [0], "text": ["a"]}), corpus)
        return encode_files(url, corpus, Path(scratch) / "out", "dense")


def measure(system: Served, mix: Mix, outputs: str, rounds: int, folder: Path) -> dict[str, float]:
    """Return tokens a second of each way: the median of some rounds in turns."""
    corpus = folder / "corpus.parquet"
    rows = {"id": [str(number) for number in range(len(mix.texts))], "text": list(mix.texts)}
    pq.write_table(pa.table(rows), corpus)
    wanted = frozenset(outputs.split(","))
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        begin = time.perf_counter()
        system.encode(list(mix.texts), wanted, _BATCH_SIZE)
        name = f"bench, {_BATCH_SIZE} a request"
        seconds.setdefault(name, []).append(time.perf_counter() - begin)
        seconds.setdefault("encode", []).append(
            encode_files(system.url, corpus, folder / "out", outputs)
        )
    start = statistics.median(start_seconds(system.url) for _ in range(3))
    speeds = {name: mix.tokens / statistics.median(times) for name, times in seconds.items()}
    working = statistics.median(seconds["encode"]) - start
    speeds["encode, without its start"] = mix.tokens / working
    return speeds


@click.command()
@click.argument("repository", type=click.Path(path_type=Path, exists=True))
@click.option("--mix", "mixes", type=click.Choice(MIXES), multiple=True, default=["heavy_tail"])
@click.option("--tokens", default=300_000, show_default=True, help="Of the corpus.")
@click.option("--outputs", multiple=True, default=["dense,sparse", "dense,sparse,colbert"])
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(
    repository: Path,
    mixes: tuple[str, ...],
    tokens: int,
    outputs: tuple[str, ...],
    rounds: int,
    threads: int,
) -> None:
    """Measure bgem3 encode beside bgem3 bench, with the model REPOSITORY."""
    tokenizer = TextTokenizer(repository / "bge_m3_tokenizer" / "1" / "tokenizer.json")
    system = Served()
    found = []
    try:
        system.load(
            repository,
            threads,
            _MAX_LENGTH,
            {"repository": str(repository), "protocol": "grpc", "engine": "auto"},
        )
        with tempfile.TemporaryDirectory() as scratch:
            for name in mixes:
                mix = build_mix(name, tokenizer, tokens)
                for wanted in outputs:
                    speeds = measure(system, mix, wanted, rounds, Path(scratch))
                    of = {"mix": name, "texts": len(mix.texts), "outputs": wanted}
                    found.append({**of, **speeds})
    finally:
        system.close()
    click.echo(f"{this_machine()}\n")
    names = [name for name in found[0] if name not in ("mix", "texts", "outputs")]
    click.echo(
        markdown_table(
            ["mix", "texts", "outputs", *names],
            [
                [str(row["mix"]), f"{row['texts']:,}", str(row["outputs"])]
                + [f"{row[name]:,.0f}" for name in names]
                for row in found
            ],
        )
    )
    write_json(output_directory() / "bulk_throughput.json", {"results": found})


if __name__ == "__main__":
    main()
