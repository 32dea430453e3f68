"""Which texts the CPU trunk computes together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bgem3_backend.packed_texts import Int32Array


def plan_microbatches(
    lengths: Int32Array, microbatch_tokens: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Cut texts into groups of like length whose padded size stays within a token budget.

    Attention pads to the longest text of a group, so a group costs its count times its longest
    text. Short texts come first: what waits behind a long document is another long document.

    Args:
        lengths: INT32 [N], tokens of each text.
        microbatch_tokens: The budget; a text longer than it is a group of its own.

    Yields:
        Positions in ``lengths``, each exactly once.
    """
    order = np.argsort(lengths, kind="stable")
    begin = 0
    for end in range(1, order.size + 1):
        if end == order.size or (end - begin + 1) * lengths[order[end]] > microbatch_tokens:
            yield order[begin:end]
            begin = end
