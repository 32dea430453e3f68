"""The trunk's hidden states: what all representations are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bgem3_client.ragged import RaggedRows


class HiddenStates(RaggedRows[NDArray[np.float32]]):
    """The hidden states of N texts; item ``i`` is a view [t, H] on ``vectors``.

    A text has one for each of its ``t`` tokens, the first (CLS) and the last (EOS) included.
    ``vectors`` is float32 [T, H], as the last layer gives them: not normalised. The first row of a
    text, brought to length 1, is its dense vector.
    """
