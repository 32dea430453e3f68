"""Model repositories to measure on, kept in the user's cache and exported when out of date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
from true_shape_checkpoint import true_shape_checkpoint

from bgem3_client.cache_folder import cache_folder

DEMO_NOTE = "demo model: 384 dimensions, not BGE-M3"
TRUE_SHAPE_NOTE = "random weights of BGE-M3's shape"


def demo_repository() -> Path:
    """Return a Triton repository of the demo model.

    Raises:
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    click.echo(DEMO_NOTE, err=True)
    return _exported("demo", cache_folder() / "benchmarks" / "demo-repository")


def true_shape_repository() -> Path:
    """Return a Triton repository of BGE-M3's shape in FP32, with random weights.

    Raises:
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    click.echo(TRUE_SHAPE_NOTE, err=True)
    return _exported(
        str(true_shape_checkpoint()), cache_folder() / "benchmarks" / "true-shape-fp32"
    )


def export_command(*arguments: str) -> list[str]:
    """Return the command line of ``bgem3 export`` in this environment."""
    return [str(Path(sys.executable).with_name("bgem3")), "export", *arguments]


def _exported(model: str, repository: Path) -> Path:
    subprocess.run(
        export_command(model, "--output", str(repository), "--reuse"),
        check=True,
        stdout=subprocess.DEVNULL,  # the summary; progress and errors are on standard error
    )
    return repository
