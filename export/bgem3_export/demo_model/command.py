"""``bgem3 demo-model``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from bgem3_client.command_line.requirements import require
from bgem3_export.demo_model import cache

require("tokenizers", "torch")


@click.command("demo-model")
@click.argument(
    "directory", required=False, type=click.Path(file_okay=False, path_type=Path), default=None
)
def demo_model(directory: Path | None) -> None:
    """Build the demo model (384 dimensions, not BGE-M3) and print its path.

    It is built in DIRECTORY, or in the user's cache folder where none is named. What is there and
    up to date is not built again.
    """
    console = Console(stderr=True)
    with console.status("demo model") as status:

        def show(step: str) -> None:
            console.print(f"[dim]demo model:[/dim] {step}")
            status.update(f"{step} …")

        path = (
            cache.demo_model(progress=show)
            if directory is None
            else cache.build_demo_model(directory, show)
        )
    console.print("demo model: 384 dimensions, not BGE-M3")
    click.echo(path)
