"""BGE-M3's true shape: what export and an 8,192-token text take of memory and time on a CPU.

The weights are random, so this says nothing about accuracy. It takes minutes, 8 GB of disk and, if
the bounds hold, less than 20 GiB of memory. Ends with 1 when a bound is missed.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
import psutil

from bgem3_backend.contract import MAX_POSITIONS_TOKENS, TRUNK
from bgem3_bench.machine import this_machine
from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.process_memory import ProcessMemory, process_memory, reset_peak, run_measured
from bgem3_bench.real_texts import long_text
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import TRUE_SHAPE_NOTE, export_command
from bgem3_bench.true_shape_checkpoint import true_shape_checkpoint
from bgem3_client import Client, Embeddings
from bgem3_client.cache_folder import cache_folder
from bgem3_client.encode_request import Output
from bgem3_export.trunk_graph import Precision
from bgem3_server.serving import running_triton
from bgem3_server.triton.events import Event

EXPORT_LIMIT_BYTES = 20 * 2**30
# Above what the process holds once the model is loaded.
TEXT_LIMIT_BYTES = 10**9
SMALLEST_FP16_COSINE = 0.999

_OUTPUTS: Final[tuple[tuple[Output, ...], ...]] = (("dense",), ("dense", "sparse", "colbert"))
_SHORT_TEXT = "How do I reset my WeChat Pay password?"
_ANSWER_TIMEOUT_SECONDS = 1800
# The engine that is chosen here, and the one that is there wherever the package is.
_ENGINES: Final = ("auto", "onnxruntime-fp32")
_MEDIUM_TOKENS: Final = 512
_MEDIUM_TEXTS: Final = 8


@dataclass(frozen=True)
class Step:
    """One measured step.

    Attributes:
        limit_bytes: Of ``counted_bytes``; None where there is no bound.
        counted_bytes: What the bound is about: the peak, above the loaded model where it serves.
        memory: Of the trunk's process at the end of the step, where it serves.
    """

    name: str
    seconds: float
    peak_bytes: int
    counted_bytes: int
    limit_bytes: int | None
    memory: ProcessMemory | None = None

    @property
    def passed(self) -> bool:
        """Whether the bound holds."""
        return self.limit_bytes is None or self.counted_bytes <= self.limit_bytes


@dataclass(frozen=True)
class LongText:
    """How long a text of 8,192 tokens takes.

    Attributes:
        engine: As it was asked for.
        predicted_seconds: What texts of 512 tokens take, by the multiplications of both.
        short_answer: What the same server answered to a short text.
    """

    engine: str
    seconds: float
    predicted_seconds: float
    short_answer: Embeddings


@click.command()
def main() -> None:
    """Measure export and the CPU profile at BGE-M3's true shape."""
    checkpoint = true_shape_checkpoint()
    repositories: dict[Precision, Path] = {}
    steps: list[Step] = []
    for precision in ("fp32", "fp16"):
        repositories[precision] = cache_folder() / "benchmarks" / f"true-shape-{precision}"
        steps.append(_export(checkpoint, repositories[precision], precision))
    shape = TrunkShape.read(checkpoint)
    long_texts = [_serve_fp32(repositories["fp32"], engine, shape, steps) for engine in _ENGINES]
    cosine = _serve_fp16(repositories["fp16"], steps, long_texts[-1].short_answer)

    click.echo(f"{TRUE_SHAPE_NOTE}; {this_machine()}\n")
    click.echo(_table(steps))
    click.echo(f"\n{_long_text_table(long_texts)}")
    click.echo(
        f"\nPeaks while serving are those of the trunk's process. One short text in FP16: cosine "
        f"{cosine:.6f} with FP32, at least {SMALLEST_FP16_COSINE} is asked for."
    )
    passed = all(step.passed for step in steps) and cosine >= SMALLEST_FP16_COSINE
    write_json(
        output_directory() / "full-shape.json",
        {
            "steps": [{**asdict(step), "passed": step.passed} for step in steps],
            "long_texts": [
                {"engine": one.engine, "seconds": one.seconds, "predicted": one.predicted_seconds}
                for one in long_texts
            ],
            "fp16_cosine": cosine,
            "passed": passed,
        },
    )
    sys.exit(not passed)


def _export(checkpoint: Path, repository: Path, precision: Precision) -> Step:
    click.echo(f"exporting in {precision}", err=True)
    shutil.rmtree(repository, ignore_errors=True)
    begin = time.perf_counter()
    peak_bytes = run_measured(
        export_command(str(checkpoint), "--output", str(repository), "--precision", precision)
    )
    seconds = time.perf_counter() - begin
    return Step(f"export, {precision}", seconds, peak_bytes, peak_bytes, EXPORT_LIMIT_BYTES)


def _serve_fp32(repository: Path, engine: str, shape: TrunkShape, steps: list[Step]) -> LongText:
    """Answer texts of 512 tokens, one of 8,192 tokens twice, and a short one."""
    text = long_text(MAX_POSITIONS_TOKENS)
    os.environ["BGEM3_TRUNK_ENGINE"] = engine
    with _serving(repository, f"fp32, engine {engine}", steps) as server:
        medium = partial(
            server.client.encode,
            [f"{number} {text}" for number in range(_MEDIUM_TEXTS)],
            max_length=_MEDIUM_TOKENS,
        )
        medium()
        with server.step(f"{_MEDIUM_TEXTS} texts of {_MEDIUM_TOKENS} tokens"):
            medium()
        seconds = [steps[-1].seconds]
        for outputs in _OUTPUTS:
            with server.step(f"{MAX_POSITIONS_TOKENS:,} tokens, {', '.join(outputs)}"):
                answer = server.client.encode([text], outputs)
            assert list(answer.token_lengths) == [MAX_POSITIONS_TOKENS]
            seconds.append(steps[-1].seconds)
        work = {
            length: length * shape.flop_per_token(length)
            for length in (_MEDIUM_TOKENS, MAX_POSITIONS_TOKENS)
        }
        return LongText(
            engine,
            seconds[1],
            seconds[0] / _MEDIUM_TEXTS * work[MAX_POSITIONS_TOKENS] / work[_MEDIUM_TOKENS],
            server.client.encode([_SHORT_TEXT]),
        )


def _serve_fp16(repository: Path, steps: list[Step], expected: Embeddings) -> float:
    """Answer one short text; return its cosine with the expected answer."""
    with (
        _serving(repository, "fp16", steps) as server,
        server.step("one short text", limit_bytes=None),
    ):
        answer = server.client.encode([_SHORT_TEXT])
    return float((answer.dense @ expected.dense.T).item())


class _Server:
    """A server of one repository, whose trunk's process is watched."""

    def __init__(self, client: Client, trunk: int, title: str, steps: list[Step]) -> None:
        self.client = client
        self._trunk = trunk
        self._loaded_bytes = process_memory(trunk).resident_bytes
        self._title = title
        self._steps = steps

    def loaded(self, seconds: float) -> None:
        """Add the step that ends with the server ready."""
        self._add("loading", seconds, None)

    @contextmanager
    def step(self, name: str, limit_bytes: int | None = TEXT_LIMIT_BYTES) -> Iterator[None]:
        """Add what happens in the block as a step."""
        click.echo(f"{self._title}: {name}", err=True)
        reset_peak(self._trunk)
        begin = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - begin, limit_bytes)

    def _add(self, name: str, seconds: float, limit_bytes: int | None) -> None:
        memory = process_memory(self._trunk)
        self._steps.append(
            Step(
                f"{self._title}: {name}",
                seconds,
                memory.peak_bytes,
                memory.peak_bytes - self._loaded_bytes,
                limit_bytes,
                memory,
            )
        )


@contextmanager
def _serving(repository: Path, title: str, steps: list[Step]) -> Iterator[_Server]:
    click.echo(f"{title}: loading", err=True)
    begin = time.perf_counter()
    with (
        running_triton(repository, on_event=_show) as addresses,
        Client(addresses.grpc, timeout_seconds=_ANSWER_TIMEOUT_SECONDS) as client,
    ):
        server = _Server(client, _trunk_process(repository), title, steps)
        server.loaded(time.perf_counter() - begin)
        yield server


def _show(event: Event) -> None:
    """A restart in the middle of a measurement must not go unseen."""
    click.echo(f"{event}", err=True)


def _trunk_process(repository: Path) -> int:
    """Return the id of the process that runs the trunk's Python model."""
    model = f"{repository}/{TRUNK.name}/"
    (pid,) = (
        process.pid
        for process in psutil.Process().children(recursive=True)
        if any(argument.startswith(model) for argument in process.cmdline())
    )
    return pid


def _table(steps: list[Step]) -> str:
    return markdown_table(
        ("step", "seconds", "peak GB", "counted GB", "allowed GB", "",
         "then: own GB", "mapped files GB", "shared GB"),
        [
            (
                step.name,
                f"{step.seconds:.0f}",
                _gigabytes(step.peak_bytes),
                _gigabytes(step.counted_bytes),
                "-" if step.limit_bytes is None else _gigabytes(step.limit_bytes),
                "passed" if step.passed else "MISSED",
                *(
                    ("-", "-", "-")
                    if step.memory is None
                    else map(
                        _gigabytes,
                        (
                            step.memory.anonymous_bytes,
                            step.memory.file_bytes,
                            step.memory.shared_bytes,
                        ),
                    )
                ),
            )
            for step in steps
        ],
    )  # fmt: skip


def _long_text_table(long_texts: list[LongText]) -> str:
    return markdown_table(
        (f"{MAX_POSITIONS_TOKENS:,} tokens", "seconds", "by their multiplications", "ratio"),
        [
            (
                one.engine,
                f"{one.seconds:.1f}",
                f"{one.predicted_seconds:.1f}",
                f"{one.seconds / one.predicted_seconds:.2f}",
            )
            for one in long_texts
        ],
    )


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f}"


if __name__ == "__main__":
    main()
