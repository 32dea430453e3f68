"""``bgem3 perf``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from bgem3_bench.perf.binary import SETTING, find_perf_analyzer
from bgem3_bench.perf.loads import LoadRange
from bgem3_bench.perf.settings import DEFAULT_LOADS, PerfSettings
from bgem3_client.command_line.output_names import read_output_names
from bgem3_client.command_line.requirements import require

require("matplotlib", "psutil")

_ALL: Final = "all"
_REST: Final = "bgem3_bench.perf.rest"


def _output_names(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Read the names; ``all`` gives none."""
    if value is None:
        return None
    return () if value == _ALL else read_output_names(value, _ALL)


class _PerfCommand(click.Command):
    """A command that leaves alone what follows ``--``; its argument may be missing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the rest aside; see click."""
        if "--" in args:
            cut = args.index("--")
            ctx.meta[_REST] = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Name the rest; see click."""
        return [*super().collect_usage_pieces(ctx), "[-- PERF_ANALYZER_OPTIONS]"]


@click.command(cls=_PerfCommand)
@click.argument(
    "repository", required=False, metavar="[MODEL_REPOSITORY]", type=click.Path(path_type=Path)
)
@click.option(
    "--url",
    help="A running Triton to measure, HOST:PORT, instead of one that is started here.",
)
@click.option(
    "--protocol",
    "-i",
    type=click.Choice(["grpc", "http"]),
    multiple=True,
    help="What to speak; both, in turns, where it is given twice.  [default: grpc]",
)
@click.option("--model", default="bge_m3", show_default=True, help="Triton's name of the ensemble.")
@click.option(
    "--concurrency-range",
    type=LoadRange("concurrency"),
    metavar="RANGE",
    help="Requests to keep under way: 1,8,64 or 10:50:10 or 1:64:x2 (1, 2, 4 … 64).  "
    f"[default: {DEFAULT_LOADS}]",
)
@click.option(
    "--request-rate-range",
    type=LoadRange("request_rate"),
    metavar="RANGE",
    help="Requests to send in a second, at random intervals (Poisson), whatever is answered; "
    "beside the concurrencies, or instead of them.",
)
@click.option(
    "--outputs",
    callback=_output_names,
    metavar="NAMES",
    help="Some of dense, sparse and colbert, separated by commas; or all, which is every tensor "
    "that the model has.  [default: dense,sparse,colbert; with --url: all]",
)
@click.option(
    "--texts",
    type=click.Path(path_type=Path),
    help="The texts to send: one a line, or JSONL with a field 'text'.  "
    "[default: short real ones in twenty languages]",
)
@click.option("--texts-per-request", type=click.IntRange(1, 4096), default=1, show_default=True)
@click.option(
    "--max-length",
    type=click.IntRange(1, 8192),
    help="Tokens a text is cut to, special tokens included; over gRPC only.",
)
@click.option(
    "--measurement-interval",
    type=click.IntRange(min=1),
    metavar="MILLISECONDS",
    help="Measure in windows of this time.",
)
@click.option(
    "--measurement-request-count",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="Measure in windows of so many requests or more.  [default: each request once, at least "
    "50 and at most 500]",
)
@click.option(
    "--shared-memory",
    type=click.Choice(["none", "system"]),
    default="none",
    show_default=True,
    help="How texts and outputs travel; system needs the server on this machine.",
)
@click.option(
    "--timeout-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=900,
    show_default=True,
    help="Time allowed for one level of load.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/perf"),
    show_default=True,
    help="The folder for results.json, report.md, latency.png, latency.svg and perf_analyzer.log.",
)
@click.option(
    "--program",
    envvar=SETTING,
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="The perf_analyzer to run.  [default: the one on PATH, else one that is fetched]",
)
@click.option(
    "--write-input",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the texts to FILE as a perf_analyzer takes them (--input-data), and end.",
)
@click.option("--which", is_flag=True, help="Say which perf_analyzer is found, and end.")
@click.pass_context
def perf(ctx: click.Context, /, **options: Any) -> None:
    """Measure latency and throughput with Triton's perf_analyzer.

    MODEL_REPOSITORY is what `bgem3 export` has written; Triton is started on it, and stopped again.
    Without one the demo model is served. Options for perf_analyzer itself may follow after `--`.

    perf_analyzer asks a model for all its outputs. For --outputs dense, a model with that output
    alone, made of the same steps in the same instances, is on the server while it is measured.

    \b
    Examples:
      bgem3 perf
      bgem3 perf models/bge-m3 --outputs dense --concurrency-range 1,8,64
      bgem3 perf --url 127.0.0.1:8000 -i http --texts queries.txt
      bgem3 perf --request-rate-range 20:100:20 -- --stability-percentage 20

    \b
    Exit codes:
      0    all is measured
      1    perf_analyzer or the server failed, or there is none
      2    an option or a file is wrong
      130  interrupted; 143: terminated

    What was measured before a failure or an interruption is written all the same.
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    settings = PerfSettings(**options, perf_analyzer_options=ctx.meta.get(_REST, ()))
    if settings.which:
        _say_which(settings.program)
        return
    _check(settings)
    if settings.write_input is not None:
        _write_input(settings, settings.write_input)
        return
    # Slow to import: 'bgem3 --help' imports this module too.
    from bgem3_bench.perf.job import run_job

    try:
        with _terminated_as_exit():
            run_job(settings)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(128 + signal.SIGINT)


def _say_which(program: Path | None) -> None:
    found = find_perf_analyzer(program)
    click.echo(f"program: {found.program}\nfound:   {found.origin}\nsays:    {found.version}")


def _write_input(settings: PerfSettings, file: Path) -> None:
    from bgem3_bench.perf.input_data import group_texts, read_texts, write_input_data

    texts = read_texts(settings.texts)
    requests = group_texts(texts.texts, settings.texts_per_request)
    write_input_data(requests, file)
    click.echo(f"{file}: {len(requests)} requests, {texts.origin}")


def _check(settings: PerfSettings) -> None:
    """Refuse what cannot be measured before anything is started."""
    if settings.url is not None and settings.repository is not None:
        raise click.UsageError(
            "give a MODEL_REPOSITORY to start or the --url of a server, not both"
        )
    speaks_http = "http" in settings.protocol or (settings.url or "").startswith("http:")
    if settings.max_length is not None and speaks_http:
        raise click.UsageError("perf_analyzer sends no --max-length over HTTP: use -i grpc")
    if settings.measurement_interval and settings.measurement_request_count:
        raise click.UsageError(
            "a window is measured by --measurement-interval or by --measurement-request-count, "
            "not by both"
        )
    if len(set(settings.protocol)) < len(settings.protocol):
        raise click.UsageError("-i is given twice with the same protocol")


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Let a SIGTERM leave the block as an exception, so that what was started is ended."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
