"""The memory of the trunk as `bgem3 plan` works it out, against what ONNX Runtime takes here.

By default the demo model, in seconds; with --true-shape BGE-M3's shape with random weights, in
minutes. Ends with 1 when a prediction is off by more than the bound.
"""

from __future__ import annotations

import sys
from typing import Final

import click

from bgem3_backend.contract import TRUNK
from bgem3_bench.machine import this_machine
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import (
    DEMO_NOTE,
    TRUE_SHAPE_NOTE,
    demo_repository,
    true_shape_repository,
)
from bgem3_bench.run_memory import measure_runs
from bgem3_export.manifest import Manifest
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.planning.workspaces import Processor
from bgem3_export.trunk_config import TrunkConfig

ALLOWED_SHARE: Final = 0.15

_THREADS: Final = 2
_BATCHES: Final = (
    [512],
    [64] * 8,
    [512] * 4,
    [64] * 32,
    [2048],
    [300, 60, 20, 120, 12],
    [4096],
    [8192],
)
_FP32_BYTES: Final = 4


@click.command()
@click.option("--true-shape", is_flag=True, help="BGE-M3's shape with random weights.")
def main(*, true_shape: bool) -> None:
    """Compare predictions with measurements."""
    repository = true_shape_repository() if true_shape else demo_repository()
    manifest, config = Manifest.read(repository), TrunkConfig.read(repository, "cpu")
    graph = repository / TRUNK.name / manifest.newest / config.graph_file
    processor = Processor.here(_THREADS)
    shape = manifest.model
    memory = TrunkMemory(graph, "cpu", processor, shape.max_length_tokens)
    predicted = [memory.run_bytes(batch, shape.hidden_size) for batch in _BATCHES]
    measured = measure_runs(graph, _BATCHES, _THREADS)
    shares = [one / other - 1 for one, other in zip(predicted, measured, strict=True)]

    click.echo(f"{TRUE_SHAPE_NOTE if true_shape else DEMO_NOTE}; {this_machine()}\n")
    rows = zip(_BATCHES, predicted, measured, shares, strict=True)
    click.echo(
        markdown_table(
            ("texts", "longest", "tokens", "predicted MB", "measured MB", "off by"),
            [
                (
                    f"{len(batch)}",
                    f"{max(batch):,}",
                    f"{sum(batch):,}",
                    f"{one / 1e6:.1f}",
                    f"{other / 1e6:.1f}",
                    f"{share:+.1%}",
                )
                for batch, one, other, share in rows
            ],
        )
    )
    passed = max(map(abs, shares)) <= ALLOWED_SHARE
    click.echo(f"\nat most {ALLOWED_SHARE:.0%} is allowed: {'passed' if passed else 'MISSED'}")
    write_json(
        output_directory() / "memory-plan.json",
        {"batches": _BATCHES, "predicted": predicted, "measured": measured, "passed": passed},
    )
    sys.exit(not passed)


if __name__ == "__main__":
    main()
