"""What surrounds the trunk on a CPU, at BGE-M3's shape: tokenizer, sparse head, ColBERT head.

``python benchmarks/heads.py`` gives the heads random hidden states and weights of 1,024 numbers,
and the tokenizer real text, for requests of several shapes: one thread, in turns, the thread's own
time. Sparse post-processing is what follows the linear layer: special tokens left out, the largest
weight of each token that stands more than once. At least 100,000 tokens a second.

The shares are of all processor time when the trunk computes as many tokens a second as
``--trunk-tokens-per-second`` says, on all cores. It does that with a few hundred tokens at once, so
there all together may take 5%; with one query it is many times slower, and the share so much less.
Ends with 1 when one of the limits is missed.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click
import numpy as np
import torch

from bgem3_backend.colbert import ColbertHead
from bgem3_backend.contract import TOKENIZER
from bgem3_backend.heads import LinearHead
from bgem3_backend.packed_texts import Int32Array
from bgem3_backend.sparse import SparseHead
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_bench.machine import this_machine
from bgem3_bench.real_texts import long_text
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import demo_repository

SPARSE_TOKENS_PER_SECOND_LIMIT = 100_000
SHARE_LIMIT = 0.05

_SIZE = 1024
_VOCABULARY = 250_002
_IGNORED_IDS = (0, 1, 2, 3)
# From here on the trunk is about as fast as it gets.
_FULL_PACE_TOKENS = 128
# Name: texts and the tokens of each.
_REQUESTS = {
    "one query": (1, 12),
    "64 queries": (64, 12),
    "one passage": (1, 128),
    "16 passages": (16, 128),
    "one document": (1, 8192),
}

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What one request takes, as microseconds of one core a token: medians of the turns."""

    request: str
    tokens: int
    tokenizer: float
    sparse_linear: float
    sparse: float
    colbert: float

    @property
    def sparse_post_processing(self) -> float:
        """What follows the linear layer."""
        return self.sparse - self.sparse_linear

    @property
    def colbert_gigaflops(self) -> float:
        """Of the ColBERT head, as if the linear layer were all of it."""
        return 2 * _SIZE * _SIZE / self.colbert / 1e3

    @property
    def total(self) -> float:
        """Tokenizer and both heads."""
        return self.tokenizer + self.sparse + self.colbert


@click.command()
@click.option("--turns", type=click.IntRange(3), default=30, show_default=True)
@click.option(
    "--trunk-tokens-per-second",
    type=click.FloatRange(1),
    default=2000.0,
    show_default=True,
    help="What the shares are held against.",
)
def main(turns: int, trunk_tokens_per_second: float) -> None:
    """Measure tokenizer and heads."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    versions = (demo_repository() / TOKENIZER.name).glob("*/tokenizer.json")
    tokenizer = TextTokenizer(max(versions, key=lambda file: int(file.parent.name)))
    rows = [_measure(name, tokenizer, turns) for name in _REQUESTS]

    machine = this_machine()
    trunk_microseconds = machine.cores / trunk_tokens_per_second * 1e6
    shares = [row.total / (row.total + trunk_microseconds) for row in rows]
    click.echo(f"{machine}; one thread, {turns} turns\n")
    click.echo(
        markdown_table(
            (
                "request",
                "tokens",
                "tokenizer, tokens/s",
                "sparse, tokens/s",
                "its post-processing",
                "ColBERT, tokens/s",
                "GFLOP/s",
                "all, µs a token",
                f"share beside a trunk of {trunk_tokens_per_second:,.0f} tokens/s",
            ),
            [
                (
                    row.request,
                    f"{row.tokens:,}",
                    *(
                        f"{1e6 / microseconds:,.0f}"
                        for microseconds in (
                            row.tokenizer,
                            row.sparse,
                            row.sparse_post_processing,
                            row.colbert,
                        )
                    ),
                    f"{row.colbert_gigaflops:.0f}",
                    f"{row.total:.1f}",
                    f"{share:.1%}",
                )
                for row, share in zip(rows, shares, strict=True)
            ],
        )
    )
    slowest = min(1e6 / row.sparse_post_processing for row in rows)
    largest = max(
        share for row, share in zip(rows, shares, strict=True) if row.tokens >= _FULL_PACE_TOKENS
    )
    results = {
        f"sparse post-processing, {slowest:,.0f} tokens/s at least (at least "
        f"{SPARSE_TOKENS_PER_SECOND_LIMIT:,})": slowest >= SPARSE_TOKENS_PER_SECOND_LIMIT,
        f"all together, {largest:.1%} of the time at most (at most {SHARE_LIMIT:.0%})": (
            largest <= SHARE_LIMIT
        ),
    }
    click.echo()
    for sentence, passed in results.items():
        click.echo(f"{sentence}: {'passed' if passed else 'MISSED'}")
    write_json(
        output_directory() / "heads.json",
        {"rows": [asdict(row) for row in rows], "shares": shares, "results": results},
    )
    sys.exit(not all(results.values()))


@torch.inference_mode()
def _measure(name: str, tokenizer: TextTokenizer, turns: int) -> Row:
    texts, length = _REQUESTS[name]
    truncation = Truncation(length)
    written = [long_text(length, "zh" if number % 2 else "en", number) for number in range(texts)]
    packed = tokenizer.pack(tokenizer.encode(written), truncation).texts
    tokens = int(packed.input_ids.size)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, _SIZE, generator=generator)
    sparse_layer, colbert_layer = (_layer(size, generator) for size in (1, _SIZE))
    sparse = SparseHead(sparse_layer, _IGNORED_IDS, _VOCABULARY)
    colbert = ColbertHead(colbert_layer)
    ids, lengths = _long(packed.input_ids), _long(packed.lengths)
    seconds = _in_turns(
        [
            lambda: tokenizer.pack(tokenizer.encode(written), truncation),
            lambda: sparse_layer(states),
            lambda: sparse(states, ids, lengths),
            lambda: colbert(states, lengths),
        ],
        turns,
    )
    return Row(name, tokens, *(taken / tokens * 1e6 for taken in seconds))


def _in_turns(works: list[Work], turns: int) -> list[float]:
    """Return the median seconds of each, by this thread's own time."""
    seconds = np.empty((turns, len(works)))
    for turn in range(-2, turns):
        for place, work in enumerate(works):
            began = time.thread_time()
            work()
            if turn >= 0:
                seconds[turn, place] = time.thread_time() - began
    return [statistics.median(column) for column in seconds.T.tolist()]


def _layer(size: int, generator: torch.Generator) -> LinearHead:
    weight = torch.randn(size, _SIZE, generator=generator) / _SIZE**0.5
    return LinearHead(weight, torch.zeros(size))


def _long(array: Int32Array) -> torch.Tensor:
    return torch.from_numpy(array).long()


if __name__ == "__main__":
    main()
