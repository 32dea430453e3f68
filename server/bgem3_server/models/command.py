"""``bgem3 models``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.table import Table

from bgem3_client.command_line.requirements import require

if TYPE_CHECKING:
    from bgem3_server.models.changes import Models

require("tritonclient", "filelock")

_LOAD_TIMEOUT_SECONDS: Final = 600.0
_TABLE_COLUMNS: Final = 120

_repository = click.argument("repository", type=click.Path(path_type=Path))
_url = click.option(
    "--url",
    default="localhost:8001",
    show_default=True,
    envvar="BGEM3_TRITON",
    show_envvar=True,
    help="Triton's gRPC port.",
)
_timeout = click.option(
    "--timeout-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=_LOAD_TIMEOUT_SECONDS,
    show_default=True,
    help="How long a model may take to load, or to unload.",
)
_number = click.argument("version", metavar="VERSION")


@click.group()
def models() -> None:
    """Load, switch, roll back and unload versions of the model while it is served.

    REPOSITORY is the folder that 'bgem3 serve' was started with. Every version that is loaded can
    be asked by name: bge_m3_v2 is version 2. bge_m3 is the one that serves, and what bgem3 serve
    starts again. No request fails at a switch, and each is answered by one version alone.
    """


@models.command("list")
@_repository
@_url
@click.option("--json", "as_json", is_flag=True, help="Print the versions as JSON.")
def list_versions(repository: Path, url: str, *, as_json: bool) -> None:
    """Show the versions of REPOSITORY, and what each of them does."""
    with _models(repository, url, _LOAD_TIMEOUT_SECONDS, change=False) as served:
        rows = _rows(served)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("version", "state", "model", "revision", "precision", "size", "files", "added"):
        table.add_column(heading, no_wrap=heading != "model", overflow="fold")
    for row in rows:
        table.add_row(
            row["version"],
            row["state"],
            row["source"] + (" (demo model, not BGE-M3)" if row["demo"] else ""),
            row["revision"][:12],
            row["precision"],
            str(row["hidden_size"]),
            f"{row['file_bytes'] / 2**20:,.0f} MiB",
            row["added"][:16].replace("T", " ") + " UTC",
        )
    # In a pipe or a narrow window too, all columns are there.
    console = Console()
    Console(width=max(console.width, _TABLE_COLUMNS)).print(table)


@models.command()
@_repository
@click.argument("export", required=False, type=click.Path(path_type=Path))
@click.option(
    "--version", "number", metavar="N", help="A version that is there already, in place of EXPORT."
)
@click.option(
    "--keep-serving",
    is_flag=True,
    help="Load it beside the version that serves, which goes on: bge_m3_vN asks it.",
)
@click.option("--unload-old", is_flag=True, help="Free the memory of the version before.")
@_url
@_timeout
def load(
    repository: Path,
    export: Path | None,
    number: str | None,
    url: str,
    timeout_seconds: float,
    *,
    keep_serving: bool,
    unload_old: bool,
) -> None:
    """Load EXPORT as the next version, try it, and let it serve.

    EXPORT is a folder that 'bgem3 export' has written. It is checked first; when anything fails,
    the version that served goes on serving. The version before stays in memory, so that going
    back takes no time, unless --unload-old says otherwise.
    """
    if (export is None) == (number is None):
        raise click.UsageError("name the folder of an export, or --version N of one that is there")
    if number is not None and keep_serving:
        raise click.UsageError("--version lets a version serve: --keep-serving is for an EXPORT")
    if unload_old and keep_serving:
        raise click.UsageError("--unload-old and --keep-serving contradict each other")
    with _models(repository, url, timeout_seconds) as served:
        before = served.record().serving
        if export is not None:
            number = served.add(export, keep_serving=keep_serving)
        else:
            assert number is not None
            served.serve(number)
        if keep_serving:
            click.echo(
                f"version {number} answers as bge_m3_v{number}; version {before} goes on serving"
            )
            return
        click.echo(f"version {number} serves; before it was version {before}")
        if unload_old:
            served.unload(before)
            click.echo(f"version {before} is unloaded")


@models.command()
@_repository
@click.option(
    "--to", "number", metavar="N", help="The version to go to.  [default: the one before]"
)
@_url
@_timeout
def rollback(repository: Path, number: str | None, url: str, timeout_seconds: float) -> None:
    """Let the version serve that served before."""
    with _models(repository, url, timeout_seconds) as served:
        before = served.record().serving
        if number is None:
            number = served.roll_back()
        else:
            served.serve(number)
        click.echo(f"version {number} serves; before it was version {before}")


@models.command()
@_repository
@_number
@_url
@_timeout
def unload(repository: Path, version: str, url: str, timeout_seconds: float) -> None:
    """Free the memory of a VERSION that does not serve."""
    with _models(repository, url, timeout_seconds) as served:
        served.unload(version)
        click.echo(f"version {version} is unloaded")


@models.command()
@_repository
@_number
@_url
def remove(repository: Path, version: str, url: str) -> None:
    """Remove the files of a VERSION that is not loaded."""
    with _models(repository, url, _LOAD_TIMEOUT_SECONDS) as served:
        served.remove(version)
        click.echo(f"version {version} is removed")


@contextmanager
def _models(
    repository: Path, url: str, timeout_seconds: float, *, change: bool = True
) -> Iterator[Models]:
    from contextlib import nullcontext

    from bgem3_export.publishing import exclusive
    from bgem3_server.models.changes import Models
    from bgem3_server.models.control import TritonControl
    from bgem3_server.repository import read_repository

    read_repository(repository)
    with (
        exclusive(repository, "change of models") if change else nullcontext(),
        TritonControl(url, timeout_seconds) as control,
    ):
        yield Models(repository, url, control, lambda line: click.echo(line, err=True))


def _rows(served: Models) -> list[dict[str, Any]]:
    from bgem3_backend.contract import version_name
    from bgem3_server.models.folders import folder_bytes

    record = served.record()
    rows = []
    for number in sorted(record.versions, key=int):
        version = record.versions[number]
        if number == record.serving:
            state = "serving"
        elif number in record.loaded:
            state = "loaded"
        else:
            state = "not loaded"
        rows.append(
            {
                "version": number,
                "state": state,
                "name": version_name(number),
                "source": version.source,
                "revision": version.revision,
                "demo": version.demo,
                "precision": version.shape.precision,
                "hidden_size": version.shape.hidden_size,
                "file_bytes": folder_bytes(served.repository, number, record.base),
                "added": version.added,
            }
        )
    return rows
