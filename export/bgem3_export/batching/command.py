"""``bgem3 build-batcher``."""

from __future__ import annotations

from pathlib import Path

import click

from bgem3_export.batching.library import copy_library, install_library
from bgem3_export.errors import RepositoryError


@click.command()
@click.argument("repository", type=click.Path(path_type=Path), required=False)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder to write batchstrategy.so to instead, such as that of a Triton backend.",
)
def build_batcher(repository: Path | None, output: Path | None) -> None:
    """Build the library that limits Triton's batches by their tokens, for a model REPOSITORY.

    Triton counts the requests of a batch (max_batch_size). With this library beside the trunk's
    config.pbtxt it counts their tokens too, up to the parameter max_batch_tokens there.

    Needs a C compiler: the one named by CC, else cc, gcc or clang.
    """
    if (repository is None) == (output is None):
        raise click.UsageError("name a model repository, or a folder with --output")
    if repository is not None:
        click.echo(install_library(repository))
    elif output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
            click.echo(copy_library(output))
        except OSError as error:
            raise RepositoryError(f"{output} cannot be written to: {error.strerror}") from error
