"""Token states of ordinary text, from which the pooling layer and the sparse head are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import XLMRobertaConfig, XLMRobertaModel

from bgem3_export.demo_model.weights import FloatArray

# The positions that the encoder was trained with; those beyond are copies.
_MAX_LENGTH_TOKENS: Final = 512


@dataclass(frozen=True)
class CalibrationText:
    """One text as the encoder sees it.

    Attributes:
        ids: Token ids with the special tokens, [T].
        states: The last layer's states, [T, hidden].
    """

    ids: npt.NDArray[np.int64]
    states: FloatArray


def encode_texts(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    config: dict[str, Any],
    tensors: dict[str, FloatArray],
) -> list[CalibrationText]:
    """Run the encoder over ``texts``, one at a time: no padding, and the same sums every time.

    Args:
        texts: Ordinary text; what lies behind the 512th token is not used.
        tokenizer: The tokenizer of the model.
        config: Content of the encoder's ``config.json``.
        tensors: Its weights.
    """
    model = XLMRobertaModel(XLMRobertaConfig(**config), add_pooling_layer=False).train(False)
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    encoded = []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer.encode(text).ids[:_MAX_LENGTH_TOKENS]
            states = model(torch.tensor([ids])).last_hidden_state[0]
            encoded.append(CalibrationText(np.array(ids), states.numpy()))
    return encoded


def mean_token_state(texts: Sequence[CalibrationText]) -> FloatArray:
    """Return the mean state over all tokens of all texts, [hidden]."""
    states = np.concatenate([text.states for text in texts])
    return np.asarray(states.mean(axis=0, dtype=np.float64), dtype=np.float32)
