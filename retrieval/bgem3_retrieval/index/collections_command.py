"""``bgem3 collections``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import click

from bgem3_client.command_line.requirements import require
from bgem3_retrieval.connections import connect_store, store_option

if TYPE_CHECKING:
    from bgem3_retrieval.stores.collection import CollectionSpec

require("platformdirs")

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def collections() -> None:
    """List, show and drop what 'bgem3 index' has made.

    \b
    Examples:
      bgem3 collections list
      bgem3 collections show manuals --documents
      bgem3 collections drop manuals

    \b
    Exit codes:
      0  done
      1  the store failed, or drop was not confirmed
      2  there is no such collection, or an option does not fit
    """  # noqa: D301 - click's \b keeps the line breaks of a paragraph


@collections.command("list")
@store_option
@_JSON_OPTION
def list_(store: str | None, *, as_json: bool) -> None:
    """List the collections of a store with the number of their chunks."""
    from bgem3_retrieval.errors import StoreError

    counts: dict[str, int] = {}
    failures: list[StoreError] = []
    with closing(connect_store(store)) as opened:
        for name in opened.names():
            try:
                counts[name] = opened.count(name)
            except StoreError as error:
                # Another process may have this one open, and not the others.
                failures.append(error)
        address = opened.address
    width = max(map(len, counts), default=0)
    if as_json:
        click.echo(json.dumps(counts))
    for name, count in counts.items() if not as_json else ():
        click.echo(f"{name:{width}}  {count:>9,} chunks")
    if not counts and not failures:
        click.echo(f"no collections in {address}: 'bgem3 index' makes them", err=True)
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if failures:
        sys.exit(StoreError.exit_code)


@collections.command()
@click.argument("name")
@store_option
@click.option("--documents", is_flag=True, help="List the documents too.")
@_JSON_OPTION
def show(name: str, store: str | None, *, documents: bool, as_json: bool) -> None:
    """Show how a collection was made and what is in it."""
    from bgem3_retrieval.documents.folder import display_name

    with closing(connect_store(store)) as opened:
        spec = opened.spec(name)
        chunks = opened.count(name)
        sources = sorted(opened.sources(name), key=lambda state: (state.source, state.fingerprint))
    incomplete = sum(not state.complete for state in sources)
    listed = [
        {"source": state.source, "chunks": state.points, "complete": state.complete}
        for state in sources
    ]
    if as_json:
        about = {
            **spec.model_dump(),
            "chunks": chunks,
            "documents": listed if documents else len(listed),
            "incomplete": incomplete,
        }
        click.echo(json.dumps(about, ensure_ascii=False))
        return
    rows = {**dict(_rows(spec)), "documents": f"{len(sources):,}", "chunks": f"{chunks:,}"}
    if incomplete:
        rows["incomplete"] = f"{incomplete:,}: 'bgem3 index' was interrupted; run it again"
    for label, value in rows.items():
        click.echo(f"{label:11} {value}")
    if documents:
        for state in sources:
            mark = "" if state.complete else f" of {state.chunk_count:,}"
            click.echo(f"{state.points:>9,}{mark} chunks  {display_name(state.source)}")


@collections.command()
@click.argument("name")
@store_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def drop(name: str, store: str | None, *, yes: bool) -> None:
    """Remove a collection and all that is in it; asks first."""
    with closing(connect_store(store)) as opened:
        opened.spec(name)
        count = opened.count(name)
        if not yes:
            click.confirm(
                f"Remove collection {name} with its {_chunks(count)} from {opened.address}?",
                abort=True,
                err=True,
            )
        opened.drop(name)
    click.echo(f"collection {name} is removed", err=True)


def _chunks(count: int) -> str:
    return f"{count:,} chunk{'' if count == 1 else 's'}"


def _rows(spec: CollectionSpec) -> Iterator[tuple[str, str]]:
    pooled = f", {spec.pool_factor} tokens a vector" if spec.colbert == "pooled" else ""
    yield "collection", spec.name
    yield "model", spec.model
    yield "dense", f"{spec.dense_size:,} numbers"
    yield (
        "colbert",
        spec.colbert
        if spec.colbert == "none"
        else f"{spec.colbert_size:,} numbers a token{pooled}",
    )
    yield "storage", spec.storage
    yield "chunks of", f"up to {spec.max_tokens:,} tokens, {spec.overlap_tokens:,} repeated"
