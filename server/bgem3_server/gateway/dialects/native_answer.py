"""Representations in the shapes of this service's own dialect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgem3_client import Embeddings
from bgem3_server.gateway.dialects.items import base64_matrix, sparse_item
from bgem3_server.gateway.dialects.native_schema import NativeEmbedRequest
from bgem3_server.gateway.encoding.cls_states import cls_states
from bgem3_server.gateway.serialization.each import Each
from bgem3_server.gateway.serialization.vectors import Base64, as_sent


def answer_content(
    embeddings: Embeddings, request: NativeEmbedRequest, model: str, *, base64: bool
) -> dict[str, Any]:
    """Return the answer for JSON or MessagePack, with arrays inside.

    Args:
        embeddings: Of the request's texts; sparse ones with the tokens' texts.
        request: Says what is wanted.
        model: The model's name.
        base64: Whether vectors become strings.
    """
    content: dict[str, Any] = {"model": model}
    if "dense" in request.mode:
        dense = _dense(embeddings, request)
        content["embeddings"] = Each(dense, Base64) if base64 else dense
    if "sparse" in request.mode:
        content["sparse_embeddings"] = Each(embeddings.sparse, sparse_item)
    if "colbert" in request.mode:
        colbert = embeddings.colbert
        content["colbert_embeddings"] = Each(colbert, base64_matrix) if base64 else colbert
    if request.return_tokens:
        content["tokens"] = embeddings.tokens
        content["token_ids"] = embeddings.token_ids
    tokens = int(embeddings.token_lengths.sum())
    content["token_lengths"] = embeddings.token_lengths
    content["truncated"] = embeddings.truncated
    content["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return content


def answer_arrays(embeddings: Embeddings, request: NativeEmbedRequest) -> dict[str, NDArray[Any]]:
    """Return the answer as flat arrays, named as in the NPZ files of ``bgem3 encode``.

    Args:
        embeddings: Of the request's texts; sparse ones with the tokens' texts.
        request: Says what is wanted.
    """
    arrays: dict[str, NDArray[Any]] = {
        "token_lengths": embeddings.token_lengths,
        "truncated": embeddings.truncated,
        # So that nobody puts vectors of two versions together.
        "model_version": np.array(embeddings.model_version),
    }
    token_texts: dict[int, str] = {}
    if "dense" in request.mode:
        arrays["dense"] = _dense(embeddings, request)
    if "sparse" in request.mode:
        sparse = embeddings.sparse
        arrays["sparse_indices"] = sparse.indices
        arrays["sparse_values"] = sparse.values
        arrays["sparse_offsets"] = sparse.offsets
        token_texts |= sparse.token_texts or {}
    if "colbert" in request.mode:
        arrays["colbert"] = embeddings.colbert.vectors
        arrays["colbert_offsets"] = embeddings.colbert.offsets
    if request.return_tokens:
        arrays["input_ids"] = np.concatenate(embeddings.token_ids)
        for ids, texts in zip(embeddings.token_ids, embeddings.tokens, strict=True):
            token_texts.update(zip(ids.tolist(), texts, strict=True))
    if "sparse" in request.mode or request.return_tokens:
        arrays["token_ids"] = np.array(list(token_texts), dtype=np.int32)
        arrays["token_texts"] = np.array(list(token_texts.values()), dtype=np.str_)
    return arrays


def _dense(embeddings: Embeddings, request: NativeEmbedRequest) -> NDArray[Any]:
    dense = embeddings.dense if request.normalize else cls_states(embeddings)
    return as_sent(dense, request.encoding_format)
