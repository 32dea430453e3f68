"""``bgem3 plan``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from bgem3_client.command_line.requirements import require
from bgem3_export.planning.sizes import format_size, parse_size

if TYPE_CHECKING:
    from bgem3_export.planning.plan import Plan

require("onnx")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("repository", type=click.Path(path_type=Path))
@click.option(
    "--gpu-memory",
    type=_size,
    metavar="SIZE",
    help="Memory of each GPU, as in 16GiB.  [default: what the GPUs of this machine say]",
)
@click.option(
    "--memory",
    type=_size,
    metavar="SIZE",
    help="Plan for a CPU instead: memory for the whole service.",
)
@click.option(
    "--gpus",
    type=click.IntRange(min=1),
    help="How many GPUs serve.  [default: 1, or those of this machine]",
)
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Of the trunk, on each GPU.",
)
@click.option(
    "--context-memory",
    type=_size,
    metavar="SIZE",
    help="What a process that uses the GPU takes for itself.  [default: 900MB]",
)
@click.option("--apply", "write", is_flag=True, help="Write the settings into the repository.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(
    repository: Path,
    gpu_memory: int | None,
    memory: int | None,
    gpus: int | None,
    instances: int,
    context_memory: int | None,
    *,
    write: bool,
    as_json: bool,
) -> None:
    """Say what a model REPOSITORY takes of memory, and which settings make the best of it.

    Worked out from the graph: what the weights take, what a token takes on its way through, and how
    many tokens a batch may have. With --apply the trunk's config.pbtxt gets the settings that are
    its own; those of the environment are printed.
    """
    # ONNX takes a second to import, and the list of commands should not.
    from bgem3_export.planning.applying import apply_plan
    from bgem3_export.planning.making import plan_for_cpu, plan_for_gpus

    if memory is not None and gpu_memory is not None:
        raise click.UsageError("--gpu-memory plans for GPUs, and --memory for a CPU: choose one")
    made: Plan
    if memory is not None:
        made = plan_for_cpu(repository, memory)
    else:
        made = plan_for_gpus(repository, gpu_memory, gpus, instances, context_memory)
    done = apply_plan(made, repository, "cpu" if memory is not None else "gpu") if write else []
    if as_json:
        click.echo(json.dumps({**asdict(made), "used_bytes": made.used_bytes, "applied": done}))
        return
    _show(made, done, Console())


def _show(made: Plan, done: list[str], console: Console) -> None:
    console.print(_costs(made))
    console.print(_settings(made))
    for note in [*made.notes, *done]:
        console.print(f"- {note}", markup=False, soft_wrap=True)


def _costs(made: Plan) -> Table:
    table = _table(made.title, ("what takes memory", "size", "how it comes about"), right=(1,))
    for cost in made.costs:
        table.add_row(cost.name, format_size(cost.size_bytes), cost.why)
    left = made.memory_bytes - made.used_bytes
    table.add_section()
    table.add_row("not needed", format_size(left), "")
    return table


def _settings(made: Plan) -> Table:
    table = _table("settings", ("where", "name", "value", "why"), right=(2,))
    for setting in made.settings:
        table.add_row(setting.where, setting.name, setting.value, setting.why)
    return table


def _table(title: str, columns: tuple[str, ...], right: tuple[int, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if number in right else "left",
            no_wrap=number < len(columns) - 1,
        )
    return table
