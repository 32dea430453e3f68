"""Model repositories to measure on, kept in the user's cache and exported when out of date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from bgem3_bench.true_shape_checkpoint import true_shape_checkpoint
from bgem3_client.cache_folder import cache_folder

DEMO_NOTE = "demo model: 384 dimensions, not BGE-M3"
TRUE_SHAPE_NOTE = "random weights of BGE-M3's shape"


def demo_repository(*, int8: bool = False) -> Path:
    """Return a Triton repository of the demo model, with an INT8 trunk beside FP32's or without.

    Raises:
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    click.echo(DEMO_NOTE, err=True)
    return exported_repository("demo", "demo-repository", int8=int8)


def true_shape_repository(*, int8: bool = False) -> Path:
    """Return a Triton repository of BGE-M3's shape, with random weights; as the demo model's.

    Raises:
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    click.echo(TRUE_SHAPE_NOTE, err=True)
    return exported_repository(str(true_shape_checkpoint()), "true-shape-fp32", int8=int8)


def exported_repository(model: str, name: str, *, int8: bool = False) -> Path:
    """Return a Triton repository of a model, exported where there is none or an old one.

    Args:
        model: As `bgem3 export` takes it.
        name: Of the folder below the user's cache.
        int8: Whether there is to be an INT8 trunk too; it has a folder of its own.

    Raises:
        subprocess.CalledProcessError: The export failed, and has said why on standard error.
    """
    repository = cache_folder() / "benchmarks" / (f"{name}-int8" if int8 else name)
    options = ("--precision", "fp32", "--int8") if int8 else ()
    subprocess.run(
        export_command(model, "--output", str(repository), "--reuse", *options),
        check=True,
        stdout=subprocess.DEVNULL,  # the summary; progress and errors are on standard error
    )
    return repository


def export_command(*arguments: str) -> list[str]:
    """Return the command line of ``bgem3 export`` in this environment."""
    return [str(Path(sys.executable).with_name("bgem3")), "export", *arguments]
