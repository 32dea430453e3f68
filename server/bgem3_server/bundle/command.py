"""``bgem3 bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from bgem3_client.command_line.requirements import require
from bgem3_server.bundle.bundle import DEFAULT_EXTRAS, make_bundle

require("filelock", "packaging")


def _names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    del context, parameter
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to make; it must not be there, or be empty.",
)
@click.option(
    "--extras",
    default=",".join(DEFAULT_EXTRAS),
    show_default=True,
    callback=_names,
    help="What of bgem3-triton to install there, separated by commas.",
)
@click.option(
    "--all-versions",
    is_flag=True,
    help="Of the model, to roll back there; otherwise the newest alone.",
)
@click.option(
    "--python",
    metavar="PROGRAM",
    help="A Python of the version that the other machine has.  [default: the one that runs bgem3]",
)
@click.option(
    "--package",
    metavar="WHEEL",
    help="bgem3-triton itself: a wheel, a folder with its source, or anything else that pip "
    "takes.  [default: what this bgem3 was installed from]",
)
def bundle(
    repository: Path,
    output: Path,
    extras: tuple[str, ...],
    python: str | None,
    package: str | None,
    *,
    all_versions: bool,
) -> None:
    """Make a folder from which a machine without network is installed.

    It holds the model REPOSITORY, bgem3-triton and all packages that it needs at the versions of
    this release, an installer, and checksums. Carry it over, and run `sh install.sh FOLDER` in it.

    pip gets the packages, from where its settings say (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL,
    PIP_FIND_LINKS).
    """
    made = make_bundle(
        repository,
        output,
        extras=extras,
        package=package,
        python=python,
        all_versions=all_versions,
        progress=lambda step: click.echo(step, err=True),
    )
    click.echo(
        f"{made.folder} is ready: {made.packages} packages and {repository.resolve().name}, "
        f"{made.size_bytes / 2**20:,.0f} MiB\n"
        f"for Python {made.target.python} on Linux {made.target.machine}, glibc {made.glibc} or "
        "later\n"
        f"SHA-256 of its SHA256SUMS: {made.sums_sha256}\n"
        "there: sh install.sh /opt/bgem3"
    )
