"""``bgem3 eval``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bgem3_client.command_line.requirements import require
from bgem3_retrieval.connections import connect, url_option
from bgem3_retrieval.endings import ending_as_told
from bgem3_retrieval.evaluation.settings import EvaluationSettings, check_runs

if TYPE_CHECKING:
    from bgem3_retrieval.evaluation.contenders import Server
    from bgem3_retrieval.evaluation.evaluation import Contender, Evaluated
    from bgem3_retrieval.evaluation.results import Results
    from bgem3_retrieval.evaluation.systems import Weights

require("ir_measures", "matplotlib", "psutil", "scipy")


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
def evaluate(**options: Any) -> None:  # noqa: ANN401 - click's, one for each field of EvaluationSettings
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
    with ending_as_told("interrupted: nothing is written"):
        _evaluate(EvaluationSettings(**options))


def _evaluate(settings: EvaluationSettings) -> None:
    # SciPy and matplotlib are slow to import: 'bgem3 --help' imports this module too.
    from bgem3_retrieval.evaluation.contenders import Server
    from bgem3_retrieval.evaluation.display import Display
    from bgem3_retrieval.evaluation.evaluation import EvaluationOptions, evaluate

    systems, weights = settings.systems_and_weights()
    settings.check_peers(systems)
    run_files = settings.run_files()
    options = EvaluationOptions(
        tuple(systems), settings.candidates, settings.test, settings.seed, settings.quick
    )
    with Display(settings.draws_progress()) as display, ExitStack() as resources:
        datasets = settings.datasets(display.step)
        check_runs(run_files, datasets)
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
    settings: EvaluationSettings, server: Server | None, on_progress: Callable[[str], None]
) -> Mapping[str, AbstractContextManager[Contender]]:
    from bgem3_retrieval.evaluation.contenders import peer_contender
    from bgem3_retrieval.evaluation.results import OURS

    contenders = {} if server is None else {OURS: server.contender()}
    for name in settings.peer_names:
        contenders[name] = peer_contender(
            name,
            settings.checkpoint,
            max_length=settings.max_length,
            timeout_seconds=settings.timeout_seconds,
            on_progress=on_progress,
        )
    return contenders


def _results(
    settings: EvaluationSettings,
    weights: Weights,
    server: Server | None,
    evaluated: list[Evaluated],
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


def _print(settings: EvaluationSettings, results: Results) -> None:
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
