"""What the trunk takes of memory, from its graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError

from bgem3_export.errors import RepositoryError
from bgem3_export.planning.arena import Arena, Extension
from bgem3_export.planning.execution import Peak, Runner
from bgem3_export.planning.graph_shapes import GraphShapes
from bgem3_export.planning.workspaces import Processor, Provider

_WORD_EMBEDDINGS: Final = "word_embeddings"

# Batches that grow step by step are the worst for an arena that keeps what it has: none of what it
# has fits the next.
_STEPS: Final = 8
_SHORT_TEXT_TOKENS: Final = 64
# A mix on which a body that pads shows: 1,024 tokens and 64 short texts pad to 66,560.
_MIXED: Final = (1024, *(16,) * 64)
_PADDED_FROM: Final = 2.0
_FP32_BYTES: Final = 4


class TrunkMemory:
    """Works out what batches of a graph take."""

    def __init__(
        self, graph: Path, provider: Provider, processor: Processor, longest_tokens: int
    ) -> None:
        """Read a graph.

        Args:
            graph: The ``.onnx`` file; its data file is not read.
            provider: Whose kernels run it.
            processor: What CPU kernels divide their work by.
            longest_tokens: Of a text.

        Raises:
            RepositoryError: There is no such file, or it is no graph.
            UnknownOperatorError: The graph has an operator without a rule.
        """
        self._shapes = read_graph(graph)
        self._provider = provider
        self._processor = processor
        self._longest_tokens = longest_tokens
        self._reserved_bytes: dict[tuple[int, Extension, bool], int] = {}

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights."""
        return self._shapes.weights_bytes

    @property
    def embedding_table_bytes(self) -> int:
        """Bytes of the word embeddings, of which a batch reads a row for each token."""
        return self._shapes.weight_bytes(_WORD_EMBEDDINGS)

    def live(self, lengths: Sequence[int]) -> Peak:
        """Return the most that is alive at one moment of a batch."""
        return self._runner(Arena("kSameAsRequested")).run(self._shapes.shaped(lengths))

    def run_bytes(self, lengths: Sequence[int], hidden_size: int) -> int:
        """Return what a run makes resident on a CPU, whose arena is emptied after each run.

        That is what the arena was written to, and the answer, which is copied out of it before the
        arena is emptied.

        Args:
            lengths: Tokens of each text.
            hidden_size: Of the answer.
        """
        arena = Arena("kNextPowerOfTwo")
        self._runner(arena).run(self._shapes.shaped(lengths))
        return arena.touched_bytes + sum(lengths) * hidden_size * _FP32_BYTES

    def reserved_bytes(self, tokens: int, extension: Extension, *, gives_back: bool) -> int:
        """Return what the arena has taken on a GPU once batches of all sizes have been through.

        Args:
            tokens: Of the largest batch.
            extension: ``arena_extend_strategy``.
            gives_back: Whether the arena is emptied after each batch.
        """
        asked = (tokens, extension, gives_back)
        if asked not in self._reserved_bytes:
            self._reserved_bytes[asked] = self._reserve(*asked)
        return self._reserved_bytes[asked]

    def _reserve(self, tokens: int, extension: Extension, gives_back: bool) -> int:
        arena = Arena(extension)
        for step in [_STEPS] if gives_back else range(1, _STEPS + 1):
            texts, rest = divmod(max(1, tokens * step // _STEPS), self._longest_tokens)
            lengths = [self._longest_tokens] * texts + [rest] * (rest > 0)
            self._runner(arena).run(self._shapes.shaped(lengths))
        return arena.reserved_bytes

    def pads(self) -> bool:
        """Tell whether a batch of one long text and many short ones takes as if all were long."""
        like = [_SHORT_TEXT_TOKENS] * (sum(_MIXED) // _SHORT_TEXT_TOKENS)
        return self.live(_MIXED).live_bytes > _PADDED_FROM * self.live(like).live_bytes

    def _runner(self, arena: Arena) -> Runner:
        return Runner(arena, self._provider, self._processor)


def read_graph(graph: Path) -> GraphShapes:
    """Read a graph without its data file.

    Raises:
        RepositoryError: There is no such file, or it is no graph.
        UnknownOperatorError: The graph has an operator without a rule.
    """
    try:
        model = onnx.load_model(str(graph), load_external_data=False)
    except FileNotFoundError as error:
        raise RepositoryError(f"{graph} is not there; export again") from error
    except DecodeError as error:
        raise RepositoryError(f"{graph} is no ONNX graph: {error}; export again") from error
    return GraphShapes(model)
