"""BGE-M3's two heads: one weight a token (sparse) and one vector a token (ColBERT)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bgem3_export.demo_model.weights import FloatArray

# Pieces with a log-probability of −4 and more (",", "the") weigh nothing, those of −18 and less 1.
_LOG_PROBABILITY_OF_NO_WEIGHT: Final = -4.0
_LOG_PROBABILITY_SPAN: Final = 14.0
# Brings lexical scores to the size of cosines, so that BGE-M3's hybrid weights 0.4/0.2/0.4 balance.
_SPARSE_SCALE: Final = 0.3
_RIDGE: Final = 10.0


def sparse_head(
    states: FloatArray, log_probabilities: npt.NDArray[np.float64]
) -> dict[str, FloatArray]:
    """Fit the linear head that tells a token's rarity from its state, by ridge regression.

    Args:
        states: Token states of the trunk's last layer, special tokens left out, [T, hidden].
        log_probabilities: The tokenizer's score of each of these tokens, [T].

    Returns:
        ``weight`` [1, hidden] and ``bias`` [1], as torch.nn.Linear has them.
    """
    rarity = (_LOG_PROBABILITY_OF_NO_WEIGHT - log_probabilities) / _LOG_PROBABILITY_SPAN
    targets = np.clip(rarity, 0.0, 1.0) * _SPARSE_SCALE
    inputs = states.astype(np.float64)
    input_mean, target_mean = inputs.mean(axis=0), targets.mean()
    centred = inputs - input_mean
    weight = np.linalg.solve(
        centred.T @ centred + _RIDGE * np.eye(inputs.shape[1]), centred.T @ (targets - target_mean)
    )
    bias = target_mean - input_mean @ weight
    return {
        "weight": weight[None].astype(np.float32),
        "bias": np.array([bias], dtype=np.float32),
    }


def colbert_head(hidden: int) -> dict[str, FloatArray]:
    """Return the identity: the token states themselves rank well.

    Returns:
        ``weight`` [hidden, hidden] and ``bias`` [hidden].
    """
    return {"weight": np.eye(hidden, dtype=np.float32), "bias": np.zeros(hidden, np.float32)}
