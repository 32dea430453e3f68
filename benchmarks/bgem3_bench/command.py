"""``bgem3 bench``."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bgem3_client.command_line.requirements import require

if TYPE_CHECKING:
    from bgem3_bench.results import Results

require("matplotlib", "psutil", "onnx", "onnxruntime", "torch", "transformers")

_INTERRUPTED_STATUS: Final = 130


class _Names(click.ParamType[Any]):
    """Names separated by commas; with ``known`` only some of them.

    What is known is asked for when an option is given: knowing it takes imports.
    """

    name = "names"

    def __init__(self, known: Callable[[], Sequence[str]] | None = None) -> None:
        self._known = known

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """See click."""
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        known = names if self._known is None else self._known()
        unknown = [name for name in names if name not in known]
        if unknown:
            self.fail(f"{unknown[0]!r} is none of {', '.join(known)}", param, ctx)
        if not names:
            self.fail("name at least one", param, ctx)
        return names


class _Numbers(click.ParamType[Any]):
    """Whole numbers from 1, separated by commas."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """See click."""
        if isinstance(value, tuple):
            return value
        words = value.split(",")
        if not all(word.strip().isdecimal() and int(word) >= 1 for word in words):
            self.fail(f"{value!r} is not a list of whole numbers from 1, as 1,8,64", param, ctx)
        return tuple(int(word) for word in words)


def _known_mixes() -> Sequence[str]:
    from bgem3_bench.mixes import MIXES

    return MIXES


def _known_outputs() -> Sequence[str]:
    from bgem3_bench.plan import OUTPUT_NAMES

    return list(OUTPUT_NAMES)


@click.command()
@click.argument("model", default="demo")
@click.option(
    "--true-shape",
    is_flag=True,
    help="Instead of MODEL random weights of BGE-M3's true shape: for speed and memory without "
    "the real ones.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=None,
    help="What `bgem3 export` has made of MODEL.  [default: one in the cache folder, exported "
    "when it is out of date]",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Export an INT8 trunk too, which takes minutes, and measure it.",
)
@click.option(
    "--systems",
    type=_Names(),
    default=(),
    help="What to compare, separated by commas, or 'all'; --list shows them.  [default: the "
    "usual ones]",
)
@click.option(
    "--mixes",
    type=_Names(_known_mixes),
    default=None,
    help="What to encode: queries, passages, heavy_tail, documents.  [default: all]",
)
@click.option(
    "--texts",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A file of your own texts as a mix, one a line, or JSONL with 'text'. Without --mixes "
    "the only one.",
)
@click.option(
    "--outputs",
    type=_Names(_known_outputs),
    default=("dense", "all"),
    help="dense (dense vectors alone), all (dense, sparse and ColBERT), or both.  "
    "[default: dense,all]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=None,
    help="How often everything is measured.  [default: 3; with --quick 2]",
)
@click.option(
    "--concurrency",
    type=_Numbers(),
    default=(1, 8, 64),
    help="Callers at a time when latency is measured.  [default: 1,8,64]",
)
@click.option(
    "--latency-mixes",
    type=_Names(),
    default=None,
    help="Mixes of the run whose texts are sent one by one to measure latency.  [default: "
    "queries, or else the first]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=None,
    help="Threads that each system computes with.  [default: one for each usable core]",
)
@click.option("--quick", is_flag=True, help="A quarter of the texts, and fewer requests.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Minutes after which nothing new begins; what was measured is reported.",
)
@click.option(
    "--cell-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=900,
    show_default=True,
    help="Seconds after which a system is given up that does not finish a mix.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order in each round.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("out/benchmarks/bench"),
    show_default=True,
    help="The folder for results.json, report.md, plots and logs.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    default=None,
    help="A Markdown page that gets the report between its marks, and the plots beside it.",
)
@click.option(
    "--report",
    "report_from",
    type=click.Path(path_type=Path),
    default=None,
    help="Measure nothing: make the report again from this results.json.",
)
@click.option(
    "--install-peers",
    is_flag=True,
    help="Measure nothing: install what the systems of --systems need into environments of their "
    "own in the cache folder (gigabytes, minutes).",
)
@click.option(
    "--list", "list_all", is_flag=True, help="Show systems and mixes, and measure nothing."
)
def bench(model: str, output: Path, page: Path | None, **options: Any) -> None:
    """Measure this package beside what people would use instead, on the same texts in one run.

    MODEL is what `bgem3 export` takes: a folder with a checkpoint, a hub name, or 'demo', the small
    model that needs no download: 384 dimensions, not BGE-M3.

    Every system runs in a process of its own. All do the same work in turns, in rounds, in an order
    that is drawn anew. The report has throughput, latency, memory, start-up, accuracy against FP32
    and the share of what the processor's matrix multiplications allow.
    """
    # They take seconds to import, and the list of commands should not.
    from bgem3_bench.results import INTERRUPTED, RESULTS_FILE, Results

    if options["list_all"]:
        _list()
        return
    if options["install_peers"]:
        _install_peers(options["systems"])
        return
    if options["report_from"] is not None:
        _write(Results.read(options["report_from"]), output, page)
        return
    # A job that is told to end reports what it has, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = _measure(model, output, options)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the export has said why
    if any(cell.passes for cell in results.throughput):
        results.write(output / RESULTS_FILE)
        _write(results, output, page)
    else:
        click.echo(f"nothing was measured: {output / 'logs'} may say why", err=True)
    if INTERRUPTED in results.run.notes:
        sys.exit(_INTERRUPTED_STATUS)


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    from bgem3_bench.mixes import MIXES, mix_description
    from bgem3_bench.systems import all_systems

    console = Console()
    table = Table("system", "", "what it is", box=None, header_style="bold")
    for system in all_systems():
        table.add_row(system.name, "usual" if system.usual else "", system.what)
    console.print(table)
    table = Table("mix", "texts", box=None, header_style="bold")
    for name in MIXES:
        table.add_row(name, mix_description(name))
    console.print()
    console.print(table)


def _install_peers(names: Sequence[str]) -> None:
    from bgem3_bench.peers.environments import Unavailable, install_peers
    from bgem3_bench.systems import chosen_systems

    peers = dict.fromkeys(system.worker_name for system in chosen_systems(names) if not system.ours)
    found = install_peers(peers, lambda step: click.echo(step, err=True))
    for name, environment in found.items():
        where = environment if isinstance(environment, Unavailable) else environment.folder
        click.echo(f"{name}: {where}")
    if any(isinstance(environment, Unavailable) for environment in found.values()):
        sys.exit(1)


def _measure(model: str, output: Path, options: dict[str, Any]) -> Results:
    from rich.console import Console

    from bgem3_bench.make_plan import BenchSettings, make_plan
    from bgem3_bench.models import named_model, true_shape_model
    from bgem3_bench.run import Run
    from bgem3_bench.run_display import RunDisplay
    from bgem3_bench.systems import chosen_systems

    # Before minutes of export: what is not there is said at once.
    int8 = options["int8"]
    systems = chosen_systems(options["systems"], int8=int8)
    names = [field.name for field in fields(BenchSettings)]
    settings = BenchSettings(**{name: options[name] for name in names})
    with RunDisplay(Console(stderr=True)) as display:
        if options["true_shape"]:
            chosen = true_shape_model(options["repository"], int8=int8)
        else:
            chosen = named_model(model, options["repository"], int8=int8)
        plan = make_plan(settings, chosen, systems, display.say)
        for mix in plan.mixes:
            display.say(
                f"{mix.name}: {mix.description}; {len(mix.texts)} texts, {mix.tokens:,} tokens"
            )
        return Run(plan, output / "logs", display).measure()


def _write(results: Results, output: Path, page: Path | None) -> None:
    """Write the report beside the results, and into a page; print the overview."""
    from rich.console import Console
    from rich.markdown import Markdown

    from bgem3_bench.figures import Figures
    from bgem3_bench.page import write_section
    from bgem3_bench.plots import write_plots
    from bgem3_bench.report import overview, report

    figures = Figures(results)
    plots = write_plots(figures, output / "plots")
    file = output / "report.md"
    file.write_text(report(figures, [plot.relative_to(output) for plot in plots]), encoding="utf-8")
    Console().print(Markdown(overview(figures)))
    click.echo(f"\nreport: {file}")
    if page is not None:
        write_section(page, figures, plots)
        click.echo(f"page: {page}")
