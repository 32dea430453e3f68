"""``bgem3 search``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import click

from bgem3_retrieval.connections import (
    connect,
    connect_store,
    store_option,
    url_option,
    wait_until_ready,
)
from bgem3_retrieval.endings import ending_as_told

if TYPE_CHECKING:
    from bgem3_retrieval.search.options import SearchOptions
    from bgem3_retrieval.search.result import SearchResult
    from bgem3_retrieval.stores.query import Condition
    from bgem3_retrieval.stores.store import Store

_STANDARD_STREAM: Final = "-"
_MODES: Final = ["hybrid", "dense", "sparse", "colbert"]


def _weights(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        dense, sparse = (float(number) for number in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not two numbers: dense, sparse, as in 0.7,0.3"
        ) from error
    return dense, sparse


def _conditions(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Condition, ...]:
    from bgem3_client.errors import InvalidInputError
    from bgem3_retrieval.search.filters import parse_condition

    try:
        return tuple(parse_condition(value) for value in values)
    except InvalidInputError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("query")
@click.option(
    "--collection",
    "-c",
    metavar="NAME",
    help="Where to search.  [default: the store's only collection]",
)
@store_option
@url_option
@click.option("--limit", "-n", type=int, default=10, show_default=True, help="Hits, at most.")
@click.option(
    "--mode",
    type=click.Choice(_MODES),
    default="hybrid",
    show_default=True,
    help="By what chunks are found and ordered; colbert orders what hybrid finds.",
)
@click.option(
    "--fusion",
    type=click.Choice(["weighted", "rrf"]),
    default="weighted",
    show_default=True,
    help="How dense and sparse scores become one: a weighted sum, or reciprocal rank fusion.",
)
@click.option(
    "--weights",
    metavar="DENSE,SPARSE",
    callback=_weights,
    help="Of the weighted sum.  [default: 0.7,0.3]",
)
@click.option(
    "--normalization",
    type=click.Choice(["none", "query", "minmax"]),
    default="none",
    show_default=True,
    help="Of the weighted sum: add scores as they are; lexical scores as a share of the query's "
    "own; or all of them stretched over the candidates.",
)
@click.option(
    "--rerank/--no-rerank",
    default=None,
    help="Order the best anew with ColBERT.  [default: in the mode hybrid, where the collection "
    "keeps ColBERT vectors]",
)
@click.option(
    "--colbert-weight",
    type=float,
    default=0.5,
    show_default=True,
    help="ColBERT's share in the score of what is re-ranked; 1 is ColBERT alone.",
)
@click.option(
    "--candidates",
    type=int,
    help="Chunks that each of dense and sparse brings.  [default: 50, or --limit]",
)
@click.option(
    "--rerank-candidates", type=int, help="How many of them are re-ranked.  [default: all]"
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    callback=_conditions,
    help="Only chunks of which it holds: 'page>=3', 'language==zh', 'source in (a.md, b.md)'. "
    "Given several times, all must hold.",
)
@click.option("--min-score", type=float, help="Leave out hits below it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead.")
@click.option(
    "--explain",
    is_flag=True,
    help="Show where each score comes from: ranks, weights, shared tokens, and what took how long.",
)
@click.option("--full", is_flag=True, help="Print whole passages.")
@click.option(
    "--width",
    type=click.IntRange(min=40),
    help="Columns of the output.  [default: the terminal's, 120 at most]",
)
def search(**options: Any) -> None:  # noqa: ANN401 - click's, one for each option
    """Search what 'bgem3 index' has indexed.

    QUERY is a question or some words. With "-" queries are read from standard input, one a line,
    and a JSON object is printed for each.

    \b
    Examples:
      bgem3 search "how do I reset my password"
      bgem3 search 如何重置密码 --collection handbook --explain
      bgem3 search "AX-4711" --mode sparse --where 'page<=10'
      bgem3 search - < questions.txt > answers.jsonl

    \b
    Exit codes:
      0    answered, be it with nothing
      1    the server or the store failed, or cannot be reached
      2    the query, the collection or an option is bad
      130  interrupted
      141  whoever reads standard output stopped reading
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph
    from bgem3_retrieval.advice import telling_options

    with telling_options(), ending_as_told():
        _search(options)


def _search(options: dict[str, Any]) -> None:
    # NumPy and gRPC are slow to import: 'bgem3 --help' imports this module too.
    from bgem3_client.errors import InvalidInputError
    from bgem3_retrieval.search.names import only_collection
    from bgem3_retrieval.search.searcher import Searcher

    search_options = _search_options(options)
    with closing(connect_store(options["store"])) as store, connect(options["url"]) as client:
        name = options["collection"] or only_collection(store)
        searcher = Searcher(client, store)
        if options["query"] != _STANDARD_STREAM:
            wait_until_ready(client)
            result = searcher.search(name, options["query"], search_options)
            _warn_of_size(store, name)
            _print(result, store, options)
            return
        if sys.stdin.isatty():
            click.echo("reading queries from the terminal; Ctrl-D ends them", err=True)
        wait_until_ready(client)
        for line, query in _queries():
            try:
                result = searcher.search(name, query, search_options)
            except InvalidInputError as error:
                if error.index is None:
                    raise
                raise InvalidInputError(f"standard input, line {line}: {error}") from error
            if line == 1:
                _warn_of_size(store, name)
            _print_json(result)


def _warn_of_size(store: Store, name: str) -> None:
    if warning := store.size_warning(name):
        click.echo(warning, err=True)


def _search_options(options: dict[str, Any]) -> SearchOptions:
    from bgem3_retrieval.search.options import SearchOptions

    if options["weights"] is not None and options["fusion"] == "rrf":
        raise click.UsageError("--weights are of the weighted sum: --fusion rrf looks at ranks")
    weights = options["weights"] or (SearchOptions.dense_weight, SearchOptions.sparse_weight)
    return SearchOptions(
        limit=options["limit"],
        candidates=options["candidates"],
        mode=options["mode"],
        fusion=options["fusion"],
        normalization=options["normalization"],
        dense_weight=weights[0],
        sparse_weight=weights[1],
        rerank=options["rerank"],
        rerank_candidates=options["rerank_candidates"],
        colbert_weight=options["colbert_weight"],
        where=options["where"],
        min_score=options["min_score"],
        explain=options["explain"],
    )


def _queries() -> Iterator[tuple[int, str]]:
    """Yield the lines of standard input, each with its number."""
    from bgem3_client.errors import InvalidInputError

    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield number, line.decode().strip()
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"standard input, line {number}: not UTF-8") from error


def _print(result: SearchResult, store: Store, options: dict[str, Any]) -> None:
    if options["as_json"]:
        _print_json(result)
        return
    if not result.hits:
        click.echo(_why_nothing(result, store), err=True)
        return
    from bgem3_retrieval.search.display import Display, OutputConsole

    console = OutputConsole(options["width"])
    Display(console, full=options["full"], explain=options["explain"]).show(result)


def _print_json(result: SearchResult) -> None:
    from bgem3_retrieval.search.answer import SearchAnswer

    click.echo(SearchAnswer.of(result).model_dump_json())


def _why_nothing(result: SearchResult, store: Store) -> str:
    name = result.collection
    if not store.count(name):
        return f"collection {name!r} is empty: fill it with 'bgem3 index PATH --collection {name}'"
    if result.candidates:
        return f"nothing found in {name!r} with a score of {result.options.min_score:g} or more"
    if result.options.where:
        return f"nothing found in {name!r} of which all conditions of --where hold"
    return f"nothing found in {name!r}"
