"""A server's answer, held against the contract and made into embeddings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    DENSE,
    FULL_TOKEN_LENGTHS,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKEN_STATES,
    TOKENS,
    Tensor,
)
from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Embeddings, Parts
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import ContractError, NotFiniteError
from bgem3_client.hidden_states import HiddenStates
from bgem3_client.ragged import offsets_of
from bgem3_client.sparse import SparseEmbeddings
from bgem3_client.transports import InferResponse

_NUMPY_TYPES: Final = {
    "FP32": np.float32,
    "FP16": np.float16,
    "INT32": np.int32,
    "STRING": np.object_,
}


def read_answer(response: InferResponse, options: EncodeOptions, texts: int) -> Embeddings:
    """Return the embeddings of the ``texts`` texts that were sent.

    Raises:
        ContractError: A tensor is missing, or its type or shape is not what the contract says.
        NotFiniteError: A number is NaN or infinite; ``index`` names the first such text.
    """
    token_lengths = _tensor(response, TOKEN_LENGTHS, texts)
    full_token_lengths = _tensor(response, FULL_TOKEN_LENGTHS, texts)
    if np.any(token_lengths < 1) or np.any(full_token_lengths < token_lengths):
        raise ContractError("the server's token lengths are not possible")
    tokens = int(token_lengths.sum())
    texts_by_id: dict[int, str] | None = None
    token_texts: list[list[str]] | None = None
    token_ids: list[NDArray[np.int32]] | None = None
    if options.return_tokens:
        ids = _tensor(response, TOKEN_IDS, tokens)
        flat_texts = _decoded(_tensor(response, TOKENS, tokens))
        texts_by_id = dict(zip(ids.tolist(), flat_texts, strict=True))
        ends = np.cumsum(token_lengths).tolist()
        ids.flags.writeable = False
        token_ids = np.split(ids, ends[:-1])
        token_texts = [
            flat_texts[end - length : end]
            for end, length in zip(ends, token_lengths.tolist(), strict=True)
        ]
    return Embeddings(
        token_lengths,
        full_token_lengths > token_lengths,
        response.model_version,
        Parts(
            _dense(response, texts) if "dense" in options.outputs else None,
            _sparse(response, texts, texts_by_id) if "sparse" in options.outputs else None,
            _colbert(response, options, token_lengths) if "colbert" in options.outputs else None,
            token_texts,
            _hidden_states(response, token_lengths) if options.return_hidden_states else None,
            token_ids,
        ),
    )


def read_token_counts(response: InferResponse, texts: int) -> NDArray[np.int32]:
    """Return how many tokens each of the ``texts`` texts has, before truncation: int32 [N].

    Raises:
        ContractError: The tensor is missing, or its type or shape is not what the contract says.
    """
    counts = _tensor(response, FULL_TOKEN_LENGTHS, texts)
    if np.any(counts < 1):
        raise ContractError("the server's token lengths are not possible")
    return counts


def _dense(response: InferResponse, texts: int) -> NDArray[np.float32]:
    return _finite(DENSE, _tensor(response, DENSE, texts), np.arange(texts + 1))


def _sparse(
    response: InferResponse, texts: int, texts_by_id: dict[int, str] | None
) -> SparseEmbeddings:
    lengths = _tensor(response, SPARSE_LENGTHS, texts)
    if np.any(lengths < 0):
        raise ContractError("the server's sparse lengths are not possible")
    entries = int(lengths.sum())
    indices = _tensor(response, SPARSE_INDICES, entries)
    if texts_by_id is not None and not texts_by_id.keys() >= set(indices.tolist()):
        raise ContractError("the server gave weights to tokens that are not in the texts")
    offsets = offsets_of(lengths)
    values = _finite(SPARSE_VALUES, _tensor(response, SPARSE_VALUES, entries), offsets)
    return SparseEmbeddings(indices, values, offsets, texts_by_id)


def _colbert(
    response: InferResponse, options: EncodeOptions, token_lengths: NDArray[np.int32]
) -> ColbertEmbeddings:
    tensor = COLBERT if options.colbert_dtype == "float32" else COLBERT_FP16
    offsets = offsets_of(token_lengths - 1)
    vectors = _tensor(response, tensor, int(offsets[-1]))
    return ColbertEmbeddings(_finite(tensor, vectors, offsets), offsets)


def _hidden_states(response: InferResponse, token_lengths: NDArray[np.int32]) -> HiddenStates:
    offsets = offsets_of(token_lengths)
    states = _tensor(response, TOKEN_STATES, int(offsets[-1]))
    return HiddenStates(_finite(TOKEN_STATES, states, offsets), offsets)


def _tensor(response: InferResponse, tensor: Tensor, rows: int) -> NDArray[Any]:
    """Return one output without its leading dimension of 1."""
    array = response.tensors.get(tensor.name)
    if array is None:
        raise ContractError(f"the server's answer has no output {tensor.name!r}")
    expected = (1, rows, *tensor.dims[1:])
    fits = len(array.shape) == len(expected) and array.shape[:2] == expected[:2]
    if not fits or array.dtype != _NUMPY_TYPES[tensor.datatype]:
        raise ContractError(
            f"the server answered with {tensor.name} as {array.dtype} {list(array.shape)}, not "
            f"{tensor.datatype} {list(expected)}: is this another model, or another version of "
            "this project?"
        )
    row: NDArray[Any] = array[0]
    return row


def _finite(tensor: Tensor, rows: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Return rows, those of text i from ``offsets[i]`` to ``offsets[i + 1]``, if all are finite."""
    finite = np.isfinite(rows)
    if not finite.all():
        first = int(np.argwhere(~finite)[0, 0])
        raise NotFiniteError(
            f"the server computed numbers that are not finite: {tensor.name}",
            index=int(np.searchsorted(offsets, first, side="right")) - 1,
        )
    return rows


def _decoded(texts: NDArray[np.object_]) -> list[str]:
    try:
        return [text.decode() for text in texts.tolist()]
    except UnicodeDecodeError as error:
        raise ContractError(f"the server's tokens are not UTF-8: {error}") from error
