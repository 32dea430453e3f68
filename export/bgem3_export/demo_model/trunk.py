"""The trunk: multilingual-e5-small's BERT as XLM-RoBERTa, and one layer on top for CLS pooling.

multilingual-e5-small was trained with mean pooling and 512 positions; BGE-M3's dense vector is the
CLS row and it takes 8,192. Both differences are written into ordinary weights, so that the result
stays a plain ``XLMRobertaModel``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_export.demo_model.tokenizer import BOS_ID, EOS_ID, PAD_ID
from bgem3_export.demo_model.weights import FloatArray, Weights

# XLM-RoBERTa counts positions from padding_idx + 1; the rows below are never read.
_UNUSED_POSITIONS: Final = PAD_ID + 1
_BLOCKS: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KINDS: Final = {"w": "weight", "b": "bias"}


def trunk_config(weights: Weights, vocabulary: int, layers: int) -> dict[str, Any]:
    """Return the content of ``config.json`` for a trunk of ``layers`` layers."""
    dimensions = weights.dimensions
    return {
        "architectures": ["XLMRobertaModel"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": BOS_ID,
        "classifier_dropout": None,
        "eos_token_id": EOS_ID,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": dimensions.hidden,
        "initializer_range": 0.02,
        "intermediate_size": dimensions.intermediate,
        "layer_norm_eps": weights.layer_norm_epsilon,
        "max_position_embeddings": _UNUSED_POSITIONS + MAX_POSITIONS_TOKENS,
        "model_type": "xlm-roberta",
        "num_attention_heads": dimensions.heads,
        "num_hidden_layers": layers,
        "output_past": True,
        "pad_token_id": PAD_ID,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": vocabulary,
    }


def encoder_tensors(weights: Weights, vocabulary: int) -> dict[str, FloatArray]:
    """Return the BERT encoder under XLM-RoBERTa's names: embeddings and all its layers.

    The hidden states stay the same bit for bit: XLM-RoBERTa only counts its positions from two,
    and has the one token type that BERT gives to a single text. The position rows are repeated
    until they are enough for BGE-M3's longest text.

    Args:
        weights: The BERT encoder.
        vocabulary: How many word rows to keep; the file has some that no id points to.
    """
    hidden = weights.dimensions.hidden
    source = weights.tensors
    positions = source["emb.pos"].reshape(-1, hidden)
    repeats = MAX_POSITIONS_TOKENS // len(positions)
    tensors = {
        "embeddings.word_embeddings.weight": source["emb.word"].reshape(-1, hidden)[:vocabulary],
        "embeddings.position_embeddings.weight": np.concatenate(
            [np.zeros((_UNUSED_POSITIONS, hidden), np.float32), np.tile(positions, (repeats, 1))]
        ),
        "embeddings.token_type_embeddings.weight": source["emb.type"].reshape(-1, hidden)[:1],
        "embeddings.LayerNorm.weight": source["emb.ln.w"],
        "embeddings.LayerNorm.bias": source["emb.ln.b"],
    }
    for layer in range(weights.dimensions.layers):
        for short, long in _BLOCKS.items():
            for kind, suffix in _KINDS.items():
                tensor = source[f"l{layer}.{short}.{kind}"]
                is_matrix = kind == "w" and not short.endswith("ln")
                tensors[f"encoder.layer.{layer}.{long}.{suffix}"] = (
                    # Rows are outputs, as in torch.nn.Linear.
                    tensor.reshape(weights.dimensions.intermediate if short == "fi" else hidden, -1)
                    if is_matrix
                    else tensor
                )
    return tensors


def pooling_layer_tensors(weights: Weights, mean_state: FloatArray) -> dict[str, FloatArray]:
    """Return one more layer, which turns mean pooling into CLS pooling.

    Queries and keys of zero make attention uniform, so it adds the mean token state of the text to
    every row; the bias takes 2μ off, once for the mean and once for the row itself. The
    feed-forward part adds nothing. Each row becomes LN(h + mean(h) − 2μ).

    Args:
        weights: The encoder that the layer is put on.
        mean_state: μ, the mean state of tokens of ordinary text, [hidden].
    """
    hidden, intermediate = weights.dimensions.hidden, weights.dimensions.intermediate
    identity = np.eye(hidden, dtype=np.float32)
    no_bias = np.zeros(hidden, np.float32)
    blocks: dict[str, tuple[FloatArray, FloatArray]] = {
        "q": (np.zeros((hidden, hidden), np.float32), no_bias),
        "k": (np.zeros((hidden, hidden), np.float32), no_bias),
        "v": (identity, no_bias),
        "ao": (identity, -2 * mean_state),
        "aln": (np.ones(hidden, np.float32), no_bias),
        "fi": (np.zeros((intermediate, hidden), np.float32), np.zeros(intermediate, np.float32)),
        "fo": (np.zeros((hidden, intermediate), np.float32), no_bias),
        "oln": (np.ones(hidden, np.float32), no_bias),
    }
    layer = weights.dimensions.layers
    return {
        f"encoder.layer.{layer}.{_BLOCKS[short]}.{suffix}": tensor
        for short, pair in blocks.items()
        for suffix, tensor in zip(_KINDS.values(), pair, strict=True)
    }


def pooled_states(states: FloatArray, mean_state: FloatArray, epsilon: float) -> FloatArray:
    """Return what the pooling layer makes of one text: LN(h + mean(h) − 2μ), [T, hidden]."""
    shifted = states + states.mean(axis=0) - 2 * mean_state
    centred = shifted - shifted.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon)
    return np.asarray(centred / deviation, dtype=np.float32)


def pooler_tensors(weights: Weights) -> dict[str, FloatArray]:
    """Return BERT's pooler: BGE-M3's file has one too, and nobody's output uses it."""
    hidden = weights.dimensions.hidden
    return {
        "pooler.dense.weight": np.eye(hidden, dtype=np.float32),
        "pooler.dense.bias": np.zeros(hidden, np.float32),
    }
