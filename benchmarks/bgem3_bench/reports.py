"""Results as a Markdown table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bgem3_bench.machine import this_machine


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table: the first column is text, the others are figures."""
    alignment = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, alignment, *rows))


def write_json(path: Path, results: dict[str, Any]) -> None:
    """Write results and the machine they were measured on to ``path``, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": asdict(this_machine()), **results}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    click.echo(f"\nAlso as JSON: {path}")


def output_directory() -> Path:
    """Return the folder, below the working directory, that measurements go to."""
    return Path("out") / "benchmarks"
