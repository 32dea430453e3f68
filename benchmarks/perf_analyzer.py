"""Triton's own load generator against the ensemble: find it, run it, or measure a whole table.

``python benchmarks/perf_analyzer.py -- -m bge_m3 -u 127.0.0.1:8001 -i grpc …`` runs it with any
options; ``python benchmarks/perf_analyzer.py --table`` measures the demo model over gRPC and HTTP
and writes ``docs/perf-analyzer.md``.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
from machine import this_machine
from perf_analyzer_binary import PerfAnalyzer, PerfAnalyzerError, find_perf_analyzer
from real_texts import real_texts
from reports import markdown_table, output_directory, write_json
from repositories import DEMO_NOTE, demo_repository

from bgem3_backend.contract import ENSEMBLE, TEXT, TOKENIZER
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_client.errors import BgeM3Error
from bgem3_server.serving import running_triton

Protocol = Literal["grpc", "http"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "perf-analyzer.md"
_CONCURRENCIES = (1, 8, 16, 32)
# Windows by count, so that each has texts of all lengths in it, also where the server is slow.
_MEASUREMENT = (
    *("--measurement-mode", "count_windows", "--measurement-request-count", "150"),
    *("--stability-percentage", "50"),
)


@dataclass(frozen=True)
class Row:
    """What perf_analyzer reports for one concurrency."""

    protocol: Protocol
    concurrency: int
    requests_per_second: float
    p50_milliseconds: float
    p95_milliseconds: float
    p99_milliseconds: float


@dataclass(frozen=True)
class Work:
    """The texts of a measurement.

    Attributes:
        lengths: Tokens of each text.
    """

    texts: tuple[str, ...]
    lengths: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.texts)} real texts in twenty languages, one a request, "
            f"{min(self.lengths)} to {max(self.lengths)} tokens, {np.mean(self.lengths):.0f} on "
            "average"
        )


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--program",
    envvar="BGEM3_PERF_ANALYZER",
    type=click.Path(path_type=Path),
    help="The perf_analyzer to run; by default the one on PATH, else one from the package "
    "registry (Linux x86-64).  [BGEM3_PERF_ANALYZER]",
)
@click.option("--table", is_flag=True, help=f"Measure, and write {_PAGE.parent.name}/{_PAGE.name}.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Write the texts to this file, to be given to perf_analyzer as --input-data.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(3),
    default=256,
    show_default=True,
    help="Leave out texts that are longer, for --table and --data.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PERF_ANALYZER_OPTIONS]")
def main(
    program: Path | None,
    data: Path | None,
    max_tokens: int,
    arguments: Sequence[str],
    *,
    table: bool,
) -> None:
    """Run Triton's perf_analyzer, or measure with it."""
    try:
        if data is not None:
            work = select_work(demo_repository(), max_tokens)
            write_input_data(work, data)
            click.echo(f"{data}: {work}")
        if table:
            measure_table(find_perf_analyzer(program), max_tokens)
        if arguments:
            found = find_perf_analyzer(program)
            os.execve(found.program, [str(found.program), *arguments], found.environment())
    except BgeM3Error as error:
        raise click.ClickException(str(error)) from error
    if not (data or table):
        raise click.UsageError("say what to do: --table, --data FILE, or -- PERF_ANALYZER_OPTIONS")


def select_work(repository: Path, max_tokens: int) -> Work:
    """Return the real texts of at most ``max_tokens`` tokens, special tokens included."""
    tokenizer = TextTokenizer(repository / TOKENIZER.name / "1" / "tokenizer.json")
    texts = real_texts()
    # They come by language and kind: mixed, or one window of a measurement has all the long ones.
    random.Random(0).shuffle(texts)
    lengths = [len(encoding) for encoding in tokenizer.encode(texts)]
    kept = [(text, n) for text, n in zip(texts, lengths, strict=True) if n <= max_tokens]
    return Work(tuple(text for text, _ in kept), tuple(n for _, n in kept))


def write_input_data(work: Work, path: Path) -> None:
    """Write texts as perf_analyzer reads them: one request each, shapes without the batch."""
    data = [{TEXT.name: {"content": [text], "shape": [1]}} for text in work.texts]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": data}, ensure_ascii=False), encoding="utf-8")


def measure_table(perf_analyzer: PerfAnalyzer, max_tokens: int) -> None:
    """Serve the demo model, measure it over both protocols and write the page.

    Raises:
        PerfAnalyzerError: perf_analyzer failed; the message ends with what it printed.
    """
    repository = demo_repository()
    work = select_work(repository, max_tokens)
    rows: list[Row] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, running_triton(repository) as addresses:
        data = Path(folder) / "texts.json"
        write_input_data(work, data)
        urls: dict[Protocol, str] = {
            "grpc": addresses.grpc,
            "http": addresses.http.removeprefix("http://"),
        }
        # Side by side, so that whatever else the machine does falls on both protocols.
        for concurrency in _CONCURRENCIES:
            for protocol, url in urls.items():
                click.echo(f"{protocol}, concurrency {concurrency}", err=True)
                rows.append(measure(perf_analyzer, url, protocol, concurrency, data))
    rows.sort(key=lambda row: row.protocol)
    _PAGE.write_text(page(perf_analyzer, work, load, rows), encoding="utf-8")
    click.echo(f"\n{table_of(rows)}\n\nWritten: {_PAGE}")
    write_json(
        output_directory() / "perf-analyzer.json",
        {"model": DEMO_NOTE, "work": str(work), "rows": [asdict(row) for row in rows]},
    )


def measure(
    perf_analyzer: PerfAnalyzer, url: str, protocol: Protocol, concurrency: int, data: Path
) -> Row:
    """Run perf_analyzer once.

    Raises:
        PerfAnalyzerError: It failed, or found no stable figure.
    """
    report = data.with_name("report.csv")
    run = subprocess.run(
        [
            perf_analyzer.program,
            *("-m", ENSEMBLE.name, "-u", url, "-i", protocol, "--input-data", data),
            *("--concurrency-range", str(concurrency), *_MEASUREMENT, "-f", report),
        ],
        env=perf_analyzer.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise PerfAnalyzerError(f"perf_analyzer ended with {run.returncode}:\n{run.stdout}")
    with report.open(encoding="utf-8", newline="") as file:
        (figures,) = csv.DictReader(file)
    return Row(
        protocol=protocol,
        concurrency=concurrency,
        requests_per_second=float(figures["Inferences/Second"]),
        p50_milliseconds=float(figures["p50 latency"]) / 1000,
        p95_milliseconds=float(figures["p95 latency"]) / 1000,
        p99_milliseconds=float(figures["p99 latency"]) / 1000,
    )


def table_of(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown; throughput also as a ratio to one gRPC request at a time."""
    (base,) = (
        row.requests_per_second for row in rows if (row.protocol, row.concurrency) == ("grpc", 1)
    )
    return markdown_table(
        ("protocol", "concurrency", "requests/s", "× gRPC at 1", "p50 ms", "p95 ms", "p99 ms"),
        [
            (
                {"grpc": "gRPC", "http": "HTTP"}[row.protocol],
                str(row.concurrency),
                f"{row.requests_per_second:.1f}",
                f"{row.requests_per_second / base:.2f}",
                f"{row.p50_milliseconds:.1f}",
                f"{row.p95_milliseconds:.1f}",
                f"{row.p99_milliseconds:.1f}",
            )
            for row in rows
        ],
    )


def page(perf_analyzer: PerfAnalyzer, work: Work, load: float, rows: Sequence[Row]) -> str:
    """Return ``docs/perf-analyzer.md``."""
    options = " \\\n  ".join(
        " ".join(_MEASUREMENT[begin : begin + 4]) for begin in range(0, len(_MEASUREMENT), 4)
    )
    return f"""\
# perf_analyzer

Written by `python benchmarks/perf_analyzer.py --table`. **{DEMO_NOTE[0].upper()}{DEMO_NOTE[1:]}**:
the figures show how the server behaves under load, not how fast BGE-M3 is. Server and load
generator share the cores of one machine, so compare figures within this table only.

- Machine: {this_machine()}
- Other work on it: a load of {load:.1f} in the minute before
- Server: CPU profile, FP32; perf_analyzer: {perf_analyzer.origin}
- Work: {work}

perf_analyzer asks for every output of a model, and has no option to ask for fewer: these are the
most expensive requests there are, with ColBERT in FP32 and again in FP16, the hidden states, and
the text of every token.

{table_of(rows)}

The same, against a server of your own (`bgem3 serve DIR`) and with any perf_analyzer:

```
python benchmarks/perf_analyzer.py --data texts.json
perf_analyzer -m {ENSEMBLE.name} -u 127.0.0.1:8001 -i grpc --input-data texts.json \\
  --concurrency-range 8 \\
  {options}
perf_analyzer -m {ENSEMBLE.name} -u 127.0.0.1:8000 -i http --input-data texts.json \\
  --concurrency-range 8 \\
  {options}
```

Without a file of texts, one text repeated, four to a request:

```
perf_analyzer -m {ENSEMBLE.name} -u 127.0.0.1:8001 -i grpc \\
  --shape text:4 --string-data "如何重置微信支付密码" --concurrency-range 1:8:7
```

`python benchmarks/perf_analyzer.py -- OPTIONS` runs the perf_analyzer on PATH, or fetches one from
the package registry (Linux x86-64; on Debian and Ubuntu it needs `apt-get install libb64-0d`).

- `-i http` needs no further option for texts; `--request-parameter max_length:512:int` works over
  gRPC only.
- Shapes are given without the leading dimension of 1, in the file (`"shape": [1]` for one text) as
  on the command line (`text:4`).
- `--profile-export-file` writes every answer to disk, gigabytes of it.
"""


if __name__ == "__main__":
    main()
