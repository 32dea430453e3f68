"""The tokenizer files, from multilingual-e5-small's ``tokenizer.json``.

Both models use XLM-RoBERTa's vocabulary, piece for piece and score for score; only the steps
around it differ, and are set here as BGE-M3 has them.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from transformers.utils import sentencepiece_model_pb2_new

BOS_ID: Final = 0
PAD_ID: Final = 1
EOS_ID: Final = 2
UNK_ID: Final = 3
SPECIAL_IDS: Final = (BOS_ID, PAD_ID, EOS_ID, UNK_ID)

# SentencePiece's own generated module needs a newer protobuf than Triton's client allows.
_SENTENCEPIECE: Final[Any] = sentencepiece_model_pb2_new

_METASPACE: Final = {
    "type": "Metaspace",
    "replacement": "▁",
    "prepend_scheme": "always",
    "split": True,
}


def bge_m3_tokenizer(e5: dict[str, Any]) -> dict[str, Any]:
    """Return multilingual-e5-small's ``tokenizer.json`` with the steps of BGE-M3's.

    Args:
        e5: The parsed file; not changed.
    """
    return {
        **e5,
        "truncation": None,
        "padding": None,
        "added_tokens": [
            # As in BGE-M3: the mask takes the space before it along.
            {**token, "lstrip": True} if token["content"] == "<mask>" else token
            for token in e5["added_tokens"]
        ],
        "normalizer": _precompiled(e5),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE],
        },
        "decoder": _METASPACE,
    }


def sentencepiece_bpe_model(tokenizer: dict[str, Any]) -> bytes:
    """Return the SentencePiece model with the pieces, scores and character map of ``tokenizer``.

    SentencePiece's own ids: ``<unk>`` 0, ``<s>`` 1, ``</s>`` 2, then the pieces; XLM-RoBERTa moves
    them up by one and adds ``<mask>`` at the end.
    """
    kind = _SENTENCEPIECE.ModelProto.SentencePiece
    model = _SENTENCEPIECE.ModelProto()
    for piece, piece_kind in (
        ("<unk>", kind.UNKNOWN),
        ("<s>", kind.CONTROL),
        ("</s>", kind.CONTROL),
    ):
        model.pieces.add(piece=piece, score=0.0, type=piece_kind)
    for piece, score in tokenizer["model"]["vocab"][len(SPECIAL_IDS) : -1]:
        model.pieces.add(piece=piece, score=score, type=kind.NORMAL)
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    model.trainer_spec.vocab_size = len(model.pieces)
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(
        _precompiled(tokenizer)["precompiled_charsmap"]
    )
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = True
    model.normalizer_spec.escape_whitespaces = True
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def special_tokens_map() -> dict[str, Any]:
    """Return the content of ``special_tokens_map.json``."""
    return {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "mask_token": {
            "content": "<mask>",
            "lstrip": True,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
        },
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
    }


def tokenizer_config(tokenizer: dict[str, Any], max_length_tokens: int) -> dict[str, Any]:
    """Return the content of ``tokenizer_config.json``."""
    added = {
        str(token["id"]): {name: token[name] for name in token if name != "id"}
        for token in tokenizer["added_tokens"]
    }
    special = special_tokens_map()
    return {
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": True,
        "model_max_length": max_length_tokens,
        "tokenizer_class": "XLMRobertaTokenizer",
        **{
            name: token if isinstance(token, str) else token["content"]
            for name, token in special.items()
        },
    }


def unigram_log_probabilities(tokenizer: dict[str, Any]) -> list[float]:
    """Return the score of every piece, in the order of the ids."""
    return [score for _piece, score in tokenizer["model"]["vocab"]]


def to_json(content: dict[str, Any]) -> str:
    """Serialise ``tokenizer.json``: 250,002 pieces are better not spread over as many lines."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _precompiled(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Return the one ``Precompiled`` normalizer, alone or in a sequence."""
    normalizer = tokenizer["normalizer"]
    (precompiled,) = (
        step
        for step in normalizer.get("normalizers", [normalizer])
        if step["type"] == "Precompiled"
    )
    found: dict[str, Any] = precompiled
    return found
