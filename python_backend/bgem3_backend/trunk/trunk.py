"""A batch of requests through an engine, within a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bgem3_backend.contract import (
    DENSE,
    HIDDEN_STATES,
    TRUNK,
    TRUNK_WITH_HEADS,
    Dim,
    Tensor,
)
from bgem3_backend.packed_texts import Int32Array, PackedTexts, texts_with
from bgem3_backend.trunk.engine import FASTEST_MICROBATCH_TOKENS, Output, TrunkEngine
from bgem3_backend.trunk.microbatches import plan_microbatches

# The rows that a text has in an output, by the output's first dimension.
_ROWS_OF_TEXTS: Final[dict[Dim, Callable[[Int32Array], Int32Array]]] = {
    "N": np.ones_like,
    "T": lambda lengths: lengths,
    "C": lambda lengths: lengths - 1,
}
_DIMS: Final = {
    tensor.name: tensor.dims[0] for model in (TRUNK, TRUNK_WITH_HEADS) for tensor in model.outputs
}


@dataclass(frozen=True)
class TrunkOutput:
    """What the trunk gives one request.

    Attributes:
        arrays: Outputs by their names in the contract, of its shapes and types.
    """

    arrays: dict[str, Output]

    @property
    def dense(self) -> npt.NDArray[np.float32]:
        """FP32 [N, H], L2-normalised."""
        return self.arrays[DENSE.name]

    @property
    def hidden_states(self) -> npt.NDArray[np.floating[Any]]:
        """FP32 or FP16 [T, H]."""
        return self.arrays[HIDDEN_STATES.name]

    def not_finite_texts(self, lengths: Int32Array) -> list[int]:
        """Return the positions of the texts with NaN or infinity anywhere: none, mostly.

        The heads look at the hidden states too; but what one step refuses, two cannot refuse at
        once, which Triton 24.10 does not bear.

        Args:
            lengths: [N], tokens of each text of the request.
        """
        texts: set[int] = set()
        for name, array in self.arrays.items():
            finite = np.isfinite(array)
            if not finite.all():
                bad = ~finite.reshape(array.shape[0], -1).all(axis=1)
                texts |= set(texts_with(bad, _ROWS_OF_TEXTS[_DIMS[name]](lengths)))
        return sorted(texts)


class Trunk:
    """Feeds an engine with texts of like length, with bounded memory whatever the lengths."""

    def __init__(self, engine: TrunkEngine, microbatch_tokens: int | None) -> None:
        """Keep the engine.

        Args:
            engine: Runs the graph.
            microbatch_tokens: See :func:`plan_microbatches`; None: what the engine is fastest with.
        """
        self.engine = engine
        self.microbatch_tokens = (
            microbatch_tokens or FASTEST_MICROBATCH_TOKENS[engine.description.name]
        )

    def run(
        self,
        requests: Sequence[PackedTexts],
        on_microbatch: Callable[[int, int], None],
        outputs: Sequence[Tensor] = TRUNK.outputs,
    ) -> Iterator[tuple[int, TrunkOutput]]:
        """Compute a batch of requests, whose texts are grouped by length across all of them.

        Args:
            requests: Checked requests, possibly none.
            on_microbatch: Called with the tokens computed, and with them counted with the padding
                inside attention.
            outputs: What is wanted of the graph.

        Yields:
            (position in ``requests``, its output), each as soon as its last text is done.
        """
        if not requests:
            return
        lengths = np.concatenate([request.lengths for request in requests])
        owners = np.repeat(np.arange(len(requests)), [r.lengths.size for r in requests])
        firsts = np.searchsorted(owners, np.arange(len(requests)))
        left = [int(request.lengths.size) for request in requests]
        names = [tensor.name for tensor in outputs]
        token_places = _Places("T", lengths, firsts[owners])
        places = [_Places(tensor.dims[0], lengths, firsts[owners]) for tensor in outputs]
        answers: dict[int, TrunkOutput] = {}

        for group in plan_microbatches(lengths, self.microbatch_tokens):
            input_ids = np.concatenate(
                [requests[owners[text]].input_ids[token_places[text]] for text in group]
            )
            computed = self.engine.run(input_ids, lengths[group], names)
            on_microbatch(input_ids.size, group.size * int(lengths[group].max()))

            begins = [0] * len(names)
            for text in group:
                owner = int(owners[text])
                if owner not in answers:
                    last = firsts[owner] + requests[owner].lengths.size - 1
                    answers[owner] = TrunkOutput(
                        {
                            name: np.empty((place[last].stop, *array.shape[1:]), array.dtype)
                            for name, place, array in zip(names, places, computed, strict=True)
                        }
                    )
                for number, (name, place) in enumerate(zip(names, places, strict=True)):
                    rows = place[text]
                    end = begins[number] + rows.stop - rows.start
                    answers[owner].arrays[name][rows] = computed[number][begins[number] : end]
                    begins[number] = end
                left[owner] -= 1
                if left[owner] == 0:
                    yield owner, answers.pop(owner)


class _Places:
    """Which rows of its request's output are a text's."""

    def __init__(self, dim: Dim, lengths: Int32Array, firsts: npt.NDArray[np.int64]) -> None:
        """Count them.

        Args:
            dim: The first dimension of the output.
            lengths: Tokens of all texts of all requests, [n].
            firsts: The first text of the request that each text belongs to, [n].
        """
        counts = _ROWS_OF_TEXTS[dim](lengths)
        ends = np.cumsum(counts, dtype=np.int64)
        starts = ends - counts
        self._starts = (starts - starts[firsts]).tolist()
        self._ends = (ends - starts[firsts]).tolist()

    def __getitem__(self, text: int) -> slice:
        return slice(self._starts[text], self._ends[text])
