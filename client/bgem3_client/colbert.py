"""ColBERT representations: one vector a token."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_client.ragged import RaggedRows

TokenVectors: TypeAlias = NDArray[np.float32] | NDArray[np.float16]


class ColbertEmbeddings(RaggedRows[TokenVectors]):
    """The token vectors of N texts; item ``i`` is a view [t, d] on ``vectors``.

    A text of ``n`` tokens has ``t = n - 1`` vectors: the first token (CLS) has none, the last
    (EOS) has one. ``vectors`` is float32 or float16 [C, d], each row of length 1.
    """
