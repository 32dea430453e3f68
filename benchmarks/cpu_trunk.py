"""The settings of the CPU trunk, each measured against the defaults, in turns in one run.

``python benchmarks/cpu_trunk.py`` measures on the demo model; ``--true-shape`` on random weights of
BGE-M3's shape. The figures are ratios to the defaults in the same turns. What others reach is
measured by ``bgem3 bench``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import click
import numpy as np
import numpy.typing as npt

from bgem3_backend.contract import TOKENIZER, TRUNK
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.settings import BackendSettings
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_backend.trunk import Trunk
from bgem3_backend.trunk.choice import load_engine
from bgem3_backend.trunk.engine import EngineName
from bgem3_bench.machine import this_machine
from bgem3_bench.real_texts import long_text, real_texts
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import (
    DEMO_NOTE,
    TRUE_SHAPE_NOTE,
    demo_repository,
    true_shape_repository,
)

# Between each two of these texts there are some short ones.
_PASSAGE_TOKENS = (128, 60, 256, 90, 400)
_SHORT_TEXTS = 6

Pass = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One variant, in turns with the defaults.

    Attributes:
        speed: Tokens a second, as a ratio to the defaults: the median over the turns.
        lowest: The smallest ratio of a turn.
        highest: The largest.
        processor_time: Processor seconds a token, as a ratio to the defaults: the median. It says
            more than the speed where other programs are at work.
    """

    variant: str
    speed: float
    lowest: float
    highest: float
    processor_time: float


@click.command()
@click.option("--true-shape", is_flag=True, help="Measure at BGE-M3's shape, with random weights.")
@click.option("--tokens", type=click.IntRange(100), default=None, help="[default: 10000, or 4000]")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--variant", "wanted", multiple=True, help="Only this one; may be repeated.")
def main(tokens: int | None, rounds: int, wanted: Sequence[str], *, true_shape: bool) -> None:
    """Measure what each setting of the CPU trunk does to its speed."""
    repository = true_shape_repository() if true_shape else demo_repository()
    graph = repository / TRUNK.name / "1" / "model.onnx"
    texts = mixed_texts(repository, tokens or (4000 if true_shape else 10_000))
    defaults = BackendSettings()
    base = _run(graph, defaults, texts)
    rows = [
        measure_in_turns(name, base, _run(graph, settings, texts), rounds)
        for name, settings in variants(defaults).items()
        if not wanted or any(part in name for part in wanted)
    ]

    click.echo(f"{TRUE_SHAPE_NOTE if true_shape else DEMO_NOTE}; {this_machine()}")
    click.echo(
        f"{texts.lengths.size} texts of {texts.lengths.min()} to {texts.lengths.max()} tokens, "
        f"{texts.input_ids.size} in all; {rounds} turns\n"
    )
    click.echo(
        markdown_table(
            ("variant", "speed ÷ defaults", "lowest", "highest", "processor time ÷ defaults"),
            [
                (
                    row.variant,
                    *(
                        f"{ratio:.2f}"
                        for ratio in (row.speed, row.lowest, row.highest, row.processor_time)
                    ),
                )
                for row in rows
            ],
        )
    )
    name = f"cpu-trunk-{'true-shape' if true_shape else 'demo'}.json"
    write_json(
        output_directory() / name,
        {"defaults": defaults.model_dump(), "rows": [asdict(row) for row in rows]},
    )


def variants(defaults: BackendSettings) -> dict[str, BackendSettings]:
    """Return what to measure: the defaults with one thing changed each."""
    return {
        "the defaults again": defaults,
        **{
            f"{tokens:,} tokens at once": defaults.model_copy(update={"microbatch_tokens": tokens})
            for tokens in (256, 512, 1024, 2048, 4096)
            if tokens != defaults.microbatch_tokens
        },
        "one thread": defaults.model_copy(update={"trunk_threads": 1}),
        **{
            name: defaults.model_copy(update={"trunk_engine": name})
            for name in get_args(EngineName)
        },
    }


def mixed_texts(repository: Path, tokens: int) -> PackedTexts:
    """Return real texts of mixed length, short ones and passages, of about so many tokens."""
    tokenizer = TextTokenizer(repository / TOKENIZER.name / "1" / "tokenizer.json")
    short = real_texts()
    random.Random(0).shuffle(short)
    texts: list[str] = []
    for number in range(len(short) // _SHORT_TEXTS):
        texts += short[number * _SHORT_TEXTS : (number + 1) * _SHORT_TEXTS]
        texts.append(long_text(_PASSAGE_TOKENS[number % len(_PASSAGE_TOKENS)], "zh", number))
        packed = tokenizer.pack(tokenizer.encode(texts), Truncation(8192)).texts
        if packed.input_ids.size >= tokens:
            break
    return packed


def measure_in_turns(name: str, base: Pass, variant: Pass, rounds: int) -> Row:
    """Return how fast ``variant`` is beside ``base``; both run once before they count."""
    click.echo(name, err=True)
    base()
    variant()
    ratios = np.empty((rounds, 2))
    for number in range(rounds):
        # Each goes first as often as the other.
        first, second = (base, variant) if number % 2 == 0 else (variant, base)
        seconds = {run: _seconds(run) for run in (first, second)}
        ratios[number] = seconds[variant] / seconds[base]
    speeds = 1 / ratios[:, 0]
    return Row(
        name,
        speed=float(np.median(speeds)),
        lowest=float(speeds.min()),
        highest=float(speeds.max()),
        processor_time=float(np.median(ratios[:, 1])),
    )


def _seconds(run: Pass) -> npt.NDArray[np.float64]:
    """Return the seconds that a run takes by the clock, and those of all processors."""
    begin, begin_processors = time.perf_counter(), time.process_time()
    run()
    return np.array([time.perf_counter() - begin, time.process_time() - begin_processors])


def _run(graph: Path, settings: BackendSettings, texts: PackedTexts) -> Pass:
    engine, _ = load_engine(graph, settings)
    trunk = Trunk(engine, settings.microbatch_tokens)
    return lambda: list(trunk.run([texts], lambda tokens, padded_tokens: None))


if __name__ == "__main__":
    main()
