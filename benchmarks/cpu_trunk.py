"""The knobs of the CPU trunk, each measured against the defaults, in turns in one run.

``python benchmarks/cpu_trunk.py`` measures on the demo model; ``--true-shape`` on random weights of
BGE-M3's shape. The figures are ratios to the defaults in the same turns; PyTorch, as FlagEmbedding
runs it, is there for reference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from machine import this_machine
from real_texts import long_text, real_texts
from reports import markdown_table, output_directory, write_json
from repositories import DEMO_NOTE, TRUE_SHAPE_NOTE, demo_repository, true_shape_repository
from true_shape_checkpoint import true_shape_checkpoint

from bgem3_backend.contract import TOKENIZER, TRUNK
from bgem3_backend.onnx_trunk import OnnxTrunk
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.settings import BackendSettings
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_export.demo_model import demo_model

_PYTORCH_BATCH = 8
# Between each two of these texts there are some short ones.
_PASSAGE_TOKENS = (128, 60, 256, 90, 400)
_SHORT_TEXTS = 6

Pass = Callable[[], object]


@dataclass(frozen=True)
class Knobs:
    """What can be set about ONNX Runtime, and how much is computed at once.

    The defaults of the first two are what is served; those of the others are in ``OnnxTrunk``.
    """

    microbatch_tokens: int
    threads: int
    spinning: bool = False
    arena: bool = True
    arena_shrinkage: bool = True
    memory_pattern: bool = False
    prepacking: bool = True


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


class _TunedTrunk(OnnxTrunk):
    """The served trunk with other options for its session."""

    def __init__(self, graph: Path, knobs: Knobs) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = knobs.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", str(int(knobs.spinning))
        )
        options.add_session_config_entry(
            "session.disable_prepacking", str(int(not knobs.prepacking))
        )
        options.enable_mem_pattern = knobs.memory_pattern
        options.enable_cpu_mem_arena = knobs.arena
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._run_options = onnxruntime.RunOptions()
        if knobs.arena and knobs.arena_shrinkage:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._microbatch_tokens = knobs.microbatch_tokens


@click.command()
@click.option("--true-shape", is_flag=True, help="Measure at BGE-M3's shape, with random weights.")
@click.option("--tokens", type=click.IntRange(100), default=None, help="[default: 2500, or 800]")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--variant", "wanted", multiple=True, help="Only this one; may be repeated.")
def main(tokens: int | None, rounds: int, wanted: Sequence[str], *, true_shape: bool) -> None:
    """Measure what each setting of the CPU trunk does to its speed."""
    repository = true_shape_repository() if true_shape else demo_repository()
    checkpoint = true_shape_checkpoint() if true_shape else demo_model()
    graph = repository / TRUNK.name / "1" / "model.onnx"
    texts = mixed_texts(repository, tokens or (800 if true_shape else 2500))
    settings = BackendSettings()
    defaults = Knobs(settings.microbatch_tokens, settings.trunk_threads)

    base = _onnx_pass(OnnxTrunk(graph, defaults.threads, defaults.microbatch_tokens), texts)
    makers: dict[str, Callable[[], Pass]] = {
        name: lambda knobs=knobs: _onnx_pass(_TunedTrunk(graph, knobs), texts)  # type: ignore[misc]
        for name, knobs in variants(defaults).items()
    }
    makers[f"PyTorch, batches of {_PYTORCH_BATCH} sorted"] = lambda: _pytorch_pass(
        checkpoint, texts, settings.trunk_threads
    )
    rows = [
        measure_in_turns(name, base, make(), rounds)
        for name, make in makers.items()
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
        {"defaults": asdict(defaults), "rows": [asdict(row) for row in rows]},
    )


def variants(defaults: Knobs) -> dict[str, Knobs]:
    """Return what to measure: the defaults with one thing changed each."""
    return {
        "the defaults again": defaults,
        **{
            f"microbatch {tokens} tokens": replace(defaults, microbatch_tokens=tokens)
            for tokens in (256, 512, 1024, 2048, 4096)
            if tokens != defaults.microbatch_tokens
        },
        "one thread": replace(defaults, threads=1),
        "spinning": replace(defaults, spinning=True),
        "no arena shrinkage": replace(defaults, arena_shrinkage=False),
        "no arena": replace(defaults, arena=False),
        "memory pattern": replace(defaults, memory_pattern=True),
        "no prepacking": replace(defaults, prepacking=False),
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


def _onnx_pass(trunk: OnnxTrunk, texts: PackedTexts) -> Pass:
    return lambda: list(trunk.run([texts], lambda tokens, padded_tokens: None))


def _pytorch_pass(checkpoint: Path, texts: PackedTexts, threads: int) -> Pass:
    """Batches of texts sorted by length, padded to their longest, as FlagEmbedding runs them."""
    from transformers import XLMRobertaModel

    torch.set_num_threads(threads)
    model: Any = XLMRobertaModel.from_pretrained(
        checkpoint, add_pooling_layer=False, dtype=torch.float32
    )
    model.eval()
    rows = [
        torch.from_numpy(row.astype(np.int64))
        for row in np.split(texts.input_ids, texts.starts[1:])
    ]
    rows.sort(key=len, reverse=True)
    batches = []
    for begin in range(0, len(rows), _PYTORCH_BATCH):
        batch = rows[begin : begin + _PYTORCH_BATCH]
        ids = torch.nn.utils.rnn.pad_sequence(
            batch, batch_first=True, padding_value=model.config.pad_token_id
        )
        batches.append((ids, (ids != model.config.pad_token_id).long()))

    @torch.inference_mode()
    def run() -> None:
        for ids, mask in batches:
            model(ids, attention_mask=mask)

    return run


if __name__ == "__main__":
    main()
