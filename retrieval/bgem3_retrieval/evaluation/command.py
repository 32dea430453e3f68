"""``bgem3 eval``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bgem3_client.command_line.requirements import require
from bgem3_retrieval.connections import connect, url_option
from bgem3_retrieval.errors import MissingLibraryError

if TYPE_CHECKING:
    from bgem3_retrieval.evaluation.contenders import Server
    from bgem3_retrieval.evaluation.dataset import Dataset
    from bgem3_retrieval.evaluation.evaluation import Contender, Evaluated
    from bgem3_retrieval.evaluation.results import Results
    from bgem3_retrieval.evaluation.runs import Run
    from bgem3_retrieval.evaluation.systems import System, Weights

require("ir_measures", "matplotlib", "psutil", "scipy")


@dataclass(frozen=True)
class _Settings:
    """The command's options, as given."""

    folders: tuple[Path, ...]
    tasks: tuple[str, ...]
    split: str
    url: str
    systems: str | None
    weights: str | None
    runs: tuple[str, ...]
    peers: str | None
    checkpoint: str
    max_length: int
    candidates: int
    test: Literal["permutation", "t-test"]
    seed: int
    output: Path | None
    as_json: bool
    quick: bool
    timeout_seconds: float
    progress: bool | None


@click.command("eval")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="A retrieval task of MTEB or C-MTEB, as NFCorpus or T2Retrieval. It is fetched from its "
    "hub; needs pip install mteb.",
)
@click.option(
    "--split", default="test", show_default=True, help="Whose judgements: qrels/SPLIT.tsv."
)
@url_option
@click.option(
    "--systems",
    metavar="NAMES",
    help="Some of dense, sparse, colbert, dense+sparse, rrf and dense+sparse+colbert, separated by "
    "commas; 'none' compares run files alone, without a server.  [default: all]",
)
@click.option(
    "--weights",
    metavar="D,S,C",
    help="What the hybrids weigh dense, sparse and ColBERT scores by.  [default: 0.7,0.3,1]",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="NAME=FILE",
    help="What another system found, as a TREC run file: a row in the same tables.",
)
@click.option(
    "--peers",
    metavar="NAMES",
    help="Other libraries in the same tables, separated by commas: those of 'bgem3 bench --list', "
    "in the environments that 'bgem3 bench --install-peers' makes.",
)
@click.option(
    "--checkpoint",
    default="demo",
    show_default=True,
    help="What the peers load: the folder or hub name of the model that the server has, or 'demo'.",
)
@click.option(
    "--max-length",
    type=click.IntRange(2, 8192),
    default=8192,
    show_default=True,
    help="Tokens a text is cut to, special tokens included.",
)
@click.option(
    "--rerank-candidates",
    "candidates",
    type=click.IntRange(100),
    default=200,
    show_default=True,
    help="Best documents by dense and by sparse score that ColBERT and the hybrids rank. A "
    "collection of no more documents is ranked whole.",
)
@click.option(
    "--test",
    type=click.Choice(["permutation", "t-test"]),
    default="permutation",
    show_default=True,
    help="Of significance, paired; corrected by Holm.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the test and of the halves."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for report.md, results.json, plots and runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON, not as tables.")
@click.option(
    "--quick", is_flag=True, help="Quality alone: no speed, and no search for better weights."
)
@click.option(
    "--timeout-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    help="Time allowed for a block of texts, retries included.",
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Draw a progress bar.  [default: when standard error is a terminal]",
)
def evaluate(**options: Any) -> None:  # noqa: ANN401 - click's, one for each field of _Settings
    """Measure how well a running server's vectors find what they should.

    FOLDERS are collections in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv. Without
    any, the one that comes with this package is evaluated, in about a minute.

    The tables have nDCG, recall, MRR, MAP and precision of dense, sparse and ColBERT and of hybrids
    of them, by kind and language of the queries where these are known; whether differences are
    significant; what weights a hybrid should have; speed and memory.

    \b
    Examples:
      bgem3 eval
      bgem3 eval ~/beir/scifact ~/beir/nfcorpus -o out/quality
      bgem3 eval --task T2Retrieval --systems dense --quick
      bgem3 eval ~/beir/scifact --run bm25=bm25.trec
      bgem3 eval --peers flag-embedding,sentence-transformers

    \b
    Exit codes:
      0    everything was measured
      1    the server failed, or the output cannot be written
      2    a file or an option is wrong
      130  interrupted
      141  whoever reads standard output stopped reading
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    try:
        _evaluate(_Settings(**options))
    except KeyboardInterrupt:
        click.echo("interrupted: nothing is written", err=True)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # Let the interpreter flush what is left at its end without another complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _evaluate(settings: _Settings) -> None:
    # SciPy and matplotlib are slow to import: 'bgem3 --help' imports this module too.
    from bgem3_retrieval.evaluation.contenders import Server
    from bgem3_retrieval.evaluation.display import Display
    from bgem3_retrieval.evaluation.evaluation import EvaluationOptions, evaluate

    systems, weights = _systems(settings)
    _check_peers(settings, systems)
    run_files = _run_files(settings)
    options = EvaluationOptions(
        tuple(systems), settings.candidates, settings.test, settings.seed, settings.quick
    )
    with Display(_draws_progress(settings)) as display, ExitStack() as resources:
        datasets = _datasets(settings, display.step)
        _check_runs(run_files, datasets)
        server = None
        if systems:
            display.step(f"waiting for {settings.url}")
            server = Server(
                resources.enter_context(connect(settings.url)),
                settings.url,
                max_length=settings.max_length,
                timeout_seconds=settings.timeout_seconds,
            )
        evaluated = [
            evaluate(
                dataset,
                _contenders(settings, server, display.step),
                run_files,
                options,
                display,
            )
            for dataset in datasets
        ]
    results = _results(settings, weights, server, evaluated)
    _print(settings, results)
    if settings.output is not None:
        _write(settings.output, results, evaluated)


def _contenders(
    settings: _Settings, server: Server | None, on_progress: Callable[[str], None]
) -> Mapping[str, AbstractContextManager[Contender]]:
    from bgem3_retrieval.evaluation.contenders import peer_contender
    from bgem3_retrieval.evaluation.results import OURS

    contenders = {} if server is None else {OURS: server.contender()}
    for name in _names(settings.peers):
        contenders[name] = peer_contender(
            name,
            settings.checkpoint,
            max_length=settings.max_length,
            timeout_seconds=settings.timeout_seconds,
            on_progress=on_progress,
        )
    return contenders


def _check_peers(settings: _Settings, systems: list[System]) -> None:
    """Refuse at once what would fail after minutes."""
    if not systems and not settings.runs:
        raise click.UsageError("--systems none compares run files: add --run NAME=FILE")
    peers = _names(settings.peers)
    if not peers:
        return
    if not systems:
        raise click.UsageError("--peers are ranked by --systems, and those are none")
    try:
        from bgem3_retrieval.evaluation.peers import PEER_NAMES
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f"--peers needs {error.name}: pip install 'bgem3-triton[all]'"
        ) from error
    if unknown := [name for name in peers if name not in PEER_NAMES]:
        raise click.UsageError(
            f"there is no peer called {unknown[0]!r}: choose some of {', '.join(PEER_NAMES)}"
        )


def _systems(settings: _Settings) -> tuple[list[System], Weights]:
    from bgem3_retrieval.evaluation.systems import (
        DEFAULT_WEIGHTS,
        NO_SYSTEMS,
        SYSTEM_NAMES,
        chosen_systems,
    )

    weights = DEFAULT_WEIGHTS
    if settings.weights is not None:
        try:
            dense, sparse, colbert = map(float, settings.weights.split(","))
        except ValueError:
            raise click.UsageError(
                f"--weights are three numbers with commas between them, as 0.7,0.3,1, not "
                f"{settings.weights!r}"
            ) from None
        weights = (dense, sparse, colbert)
    if settings.systems == NO_SYSTEMS:
        return [], weights
    names = SYSTEM_NAMES if settings.systems is None else _names(settings.systems)
    if not names:
        raise click.UsageError("--systems is empty: name some, or 'none'")
    return chosen_systems(names, weights), weights


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def _run_files(settings: _Settings) -> dict[str, Run]:
    from bgem3_retrieval.evaluation.runs import read_run
    from bgem3_retrieval.evaluation.systems import SYSTEM_NAMES

    runs: dict[str, Run] = {}
    for option in settings.runs:
        name, separator, file = option.partition("=")
        if not separator or not name or not file:
            raise click.UsageError(f"--run is NAME=FILE, as bm25=bm25.trec, not {option!r}")
        if name in runs or name in SYSTEM_NAMES:
            raise click.UsageError(f"--run {option}: there is a system called {name!r} already")
        runs[name] = read_run(Path(file))
    if runs and max(1, len(settings.folders) + len(settings.tasks)) > 1:
        raise click.UsageError("--run belongs to one collection: evaluate one at a time")
    return runs


def _datasets(settings: _Settings, say: Callable[[str], None]) -> list[Dataset]:
    from dataclasses import replace

    from bgem3_retrieval.evaluation.beir import read_beir

    datasets = []
    for folder in settings.folders:
        say(f"reading {folder}")
        datasets.append(read_beir(folder, settings.split))
    for task in settings.tasks:
        from bgem3_retrieval.evaluation.mteb_task import load_task

        say(f"loading {task}")
        datasets += load_task(task, settings.split)
    if not datasets:
        from bgem3_retrieval.evaluation.collection import collection_folder

        datasets.append(read_beir(collection_folder(), name="shipped collection"))
    names = [dataset.name for dataset in datasets]
    # Folders of one name are told apart by their places.
    return [
        replace(dataset, name=f"{dataset.name} ({number})")
        if names.count(dataset.name) > 1
        else dataset
        for number, dataset in enumerate(datasets, 1)
    ]


def _check_runs(run_files: Mapping[str, Run], datasets: list[Dataset]) -> None:
    """Refuse a run of other queries: it would have 0 everywhere, and look like a bad system.

    Raises:
        InvalidInputError: A run has nothing of any query of the collection.
    """
    from bgem3_client.errors import InvalidInputError

    for name, run in run_files.items():
        for dataset in datasets:
            if not any(query.id in run for query in dataset.queries):
                raise InvalidInputError(
                    f"run {name!r} has none of the queries of {dataset.name}: it has "
                    f"{next(iter(run))!r}, the collection {dataset.queries[0].id!r}"
                )


def _results(
    settings: _Settings, weights: Weights, server: Server | None, evaluated: list[Evaluated]
) -> Results:
    from importlib.metadata import version

    from bgem3_bench.machine import this_machine
    from bgem3_retrieval.evaluation.results import Results

    return Results(
        version("bgem3-triton"),
        this_machine(),
        None if server is None else settings.url,
        None if server is None else server.model,
        settings.max_length,
        weights,
        settings.test,
        settings.seed,
        tuple(item.result for item in evaluated),
    )


def _write(folder: Path, results: Results, evaluated: list[Evaluated]) -> None:
    from bgem3_retrieval.evaluation.output_folder import write_folder

    def say(line: str) -> None:
        click.echo(line, err=True)

    say(f"report: {write_folder(folder, results, evaluated, say)}")


def _print(settings: _Settings, results: Results) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    from bgem3_retrieval.evaluation.output_folder import results_json
    from bgem3_retrieval.evaluation.report import overview

    console = Console()
    if settings.as_json:
        click.echo(results_json(results))
    elif console.is_terminal:
        console.print(Markdown(overview(results)))
    else:
        click.echo(overview(results))


def _draws_progress(settings: _Settings) -> bool:
    return sys.stderr.isatty() if settings.progress is None else settings.progress
