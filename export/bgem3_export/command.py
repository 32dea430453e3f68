"""``bgem3 export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from bgem3_client.command_line.requirements import require

if TYPE_CHECKING:
    from bgem3_export.export import Engine, ExportSummary
    from bgem3_export.int8.report import QuantizationReport
    from bgem3_export.parity import Device
    from bgem3_export.tensorrt.length_mix import LengthMix
    from bgem3_export.trunk_graph import Precision

require("onnx", "onnxruntime", "torch", "transformers")


@click.command()
@click.argument("model", default="demo")
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    help="The repository's folder: a new one, or one that gets another version.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default=None,
    help="Of the trunk.  [default: fp16 with --device cuda, otherwise fp32]",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where the export is compared with the checkpoint. A repository serves on either.",
)
@click.option(
    "--engine",
    type=click.Choice(["tensorrt"]),
    default=None,
    help="Also build a TensorRT engine, for the GPU of this machine alone. It takes minutes.",
)
@click.option(
    "--length-mix",
    type=click.Choice(["queries", "passages", "documents"]),
    default="passages",
    show_default=True,
    help="What TensorRT is planned for: texts of up to 256, 1024 or 8192 tokens. The other "
    "engines take any mix.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Also make an INT8 trunk, for processors with VNNI and without BF16, and publish nothing "
    "unless dense vectors keep a cosine of 0.999 and sparse weights are within 1%. Takes minutes.",
)
@click.option(
    "--reuse",
    is_flag=True,
    help="Do nothing when the newest version was made from the same files by the same exporter.",
)
def export(
    model: str,
    output: Path,
    precision: Precision | None,
    device: Device,
    engine: Engine | None,
    length_mix: LengthMix,
    *,
    int8: bool,
    reuse: bool,
) -> None:
    """Export MODEL as a Triton model repository, or as the next version of one.

    MODEL is a folder that holds a checkpoint in BGE-M3's layout, a hub name such as BAAI/bge-m3
    (HF_ENDPOINT and HF_HUB_OFFLINE count), or 'demo', the small model that is built from the
    package registry alone: 384 dimensions, not BGE-M3.

    The export is compared with the checkpoint on texts in many languages, and published only when
    it gives the same: a folder is complete, or not there.
    """
    # They take seconds to import, and the list of commands should not.
    from bgem3_export.export import export_checkpoint
    from bgem3_export.source import find_source

    precision = precision or ("fp16" if device == "cuda" else "fp32")
    if int8:
        require("openvino")
        if precision != "fp32":
            raise click.UsageError("--int8 is made from an FP32 trunk: add --precision fp32")

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        progress = _BarProgress(bars)
        source = find_source(model, lambda step: progress.step(step, 1))
        summary = export_checkpoint(
            source,
            output,
            precision,
            device,
            progress,
            reuse=reuse,
            length_mix=length_mix,
            engine=engine,
            int8=int8,
        )
        progress.finish()
    _show(summary, Console())


class _BarProgress:
    """One bar for each step."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def step(self, name: str, total: int) -> None:
        self.finish()
        self._task = self._bars.add_task(name, total=total)

    def part(self, done: int, total: int) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def finish(self) -> None:
        if self._task is not None:
            task = self._bars.tasks[self._task]
            self._bars.update(self._task, completed=task.total)


def _show(summary: ExportSummary, console: Console) -> None:
    version = summary.manifest.versions[summary.version]
    shape = summary.manifest.model
    if version.demo:
        console.print(f"[bold]demo model: {shape.hidden_size} dimensions, not BGE-M3[/bold]")
    state = "is up to date" if summary.reused else "is ready"
    # Paths are printed as they are: not wrapped, and their brackets not taken for markup.
    console.print(
        f"{summary.repository} {state}: version {summary.version} of {version.source} "
        f"({version.revision[:12]}), {shape.precision}, dense {shape.hidden_size}, "
        f"ColBERT {shape.colbert_size}",
        markup=False,
        soft_wrap=True,
    )
    if version.engine is not None:
        console.print(
            f"engine: TensorRT {version.engine.tensorrt}, for {version.engine.gpu} alone; "
            f"--profile tensorrt_plan serves it",
            markup=False,
            soft_wrap=True,
        )
    table = Table(
        title=f"against PyTorch, {summary.parity.texts} texts, {summary.parity.tokens} tokens",
        title_justify="left",
    )
    for name, justify in (
        ("output", "left"),
        ("smallest cosine", "right"),
        ("at least", "right"),
        ("largest difference", "right"),
        ("at most", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for output, parity in summary.parity.outputs.items():
        allowed = parity.tolerance.largest_difference
        table.add_row(
            output,
            f"{parity.smallest_cosine:.7f}",
            f"{parity.tolerance.smallest_cosine}",
            f"{parity.largest_difference:.1e}",
            "-" if allowed is None else f"{allowed:.0e}",
        )
    console.print(table)
    if version.quantization is not None:
        _show_quantization(version.quantization, console)
    console.print(f"Serve it: bgem3 serve {summary.repository}", markup=False, soft_wrap=True)


def _show_quantization(report: QuantizationReport, console: Console) -> None:
    console.print(
        f"INT8: {report.int8_share:.0%} of the linear layers' multiplications; smallest cosine of "
        f"dense vectors {report.dense_cosine:.5f} (at least {report.limits.dense_cosine}), sparse "
        f"weights within {report.sparse_difference:.2%} of the largest (at most "
        f"{report.limits.sparse_difference:.0%})",
        markup=False,
        soft_wrap=True,
    )
