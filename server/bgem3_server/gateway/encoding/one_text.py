"""The representations of single texts: taken out of an answer, and put together to another."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Embedding, Embeddings, Parts
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.hidden_states import HiddenStates
from bgem3_client.ragged import offsets_of
from bgem3_client.sparse import SparseEmbeddings

Representation: TypeAlias = Literal[
    "dense", "sparse", "colbert_float32", "colbert_float16", "tokens", "hidden_states"
]

TOKEN_WISE: Final[frozenset[Representation]] = frozenset(
    {"colbert_float32", "colbert_float16", "hidden_states"}
)
"""Those that hold a vector for each token, and take a thousand times what others do."""


_ARRAY_BYTES: Final = 128
"""What an array takes beside its numbers."""


class Kept(NamedTuple):
    """One representation of one text, in arrays that hold nothing else in memory.

    Attributes:
        token_length: Tokens of the text after truncation, special tokens included.
        truncated: Whether it was cut.
        arrays: dense: float32 [d]; sparse: int32 [s] and float32 [s]; colbert: [t - 1, d];
            tokens: int32 [t] and their texts, str [t]; hidden states: float32 [t, H].
        size_bytes: What the arrays take.
    """

    token_length: int
    truncated: bool
    arrays: tuple[NDArray[Any], ...]
    size_bytes: int


def representations(options: EncodeOptions) -> tuple[Representation, ...]:
    """Return what a request asks for."""
    wanted: list[Representation] = []
    if "dense" in options.outputs:
        wanted.append("dense")
    if "sparse" in options.outputs:
        wanted.append("sparse")
    if "colbert" in options.outputs:
        single = options.colbert_dtype == "float32"
        wanted.append("colbert_float32" if single else "colbert_float16")
    if options.return_tokens:
        wanted.append("tokens")
    if options.return_hidden_states:
        wanted.append("hidden_states")
    return tuple(wanted)


def take_out(text: Embedding, representation: Representation) -> Kept:
    """Return one representation of a text, which must be there: copied from where others are."""
    match representation:
        case "dense":
            arrays: tuple[NDArray[Any], ...] = (text.dense,)
        case "sparse":
            arrays = (text.sparse.indices, text.sparse.values)
        case "colbert_float32" | "colbert_float16":
            arrays = (text.colbert,)
        case "tokens":
            arrays = (text.token_ids, np.array(text.tokens, np.object_))
        case "hidden_states":
            arrays = (text.hidden_states,)
    if len(text.embeddings) > 1:
        arrays = tuple(array.copy() for array in arrays)
    size_bytes = 0
    for array in arrays:
        array.flags.writeable = False
        size_bytes += _ARRAY_BYTES + array.nbytes
        if array.dtype.hasobject:
            size_bytes += sum(map(sys.getsizeof, array.tolist()))
    return Kept(text.token_length, text.truncated, arrays, size_bytes)


def put_back(kept: Mapping[Representation, Kept], model_version: str) -> Embedding:
    """Return a text with these representations, one at least; nothing is copied."""
    of_text = next(iter(kept.values()))
    dense: NDArray[np.float32] | None = None
    sparse: SparseEmbeddings | None = None
    colbert: ColbertEmbeddings | None = None
    tokens: list[list[str]] | None = None
    token_ids: list[NDArray[np.int32]] | None = None
    hidden_states: HiddenStates | None = None
    texts_by_id: dict[int, str] | None = None
    if found := kept.get("tokens"):
        ids, texts = found.arrays
        tokens, token_ids = [texts.tolist()], [ids]
        texts_by_id = dict(zip(ids.tolist(), tokens[0], strict=True))
    for name, found in kept.items():
        rows = found.arrays[0]
        match name:
            case "dense":
                dense = rows[np.newaxis]
            case "sparse":
                values = found.arrays[1]
                sparse = SparseEmbeddings(rows, values, _one(len(rows)), texts_by_id)
            case "colbert_float32" | "colbert_float16":
                colbert = ColbertEmbeddings(rows, _one(len(rows)))
            case "hidden_states":
                hidden_states = HiddenStates(rows, _one(len(rows)))
    embeddings = Embeddings(
        np.array([of_text.token_length], np.int32),
        np.array([of_text.truncated]),
        model_version,
        Parts(dense, sparse, colbert, tokens, hidden_states, token_ids),
    )
    return Embedding(embeddings, 0)


def detached(text: Embedding, options: EncodeOptions) -> Embedding:
    """Return a copy of a text that does not keep the answer which it came with in memory."""
    kept = {name: take_out(text, name) for name in representations(options)}
    return put_back(kept, text.embeddings.model_version)


def put_together(texts: Sequence[Embedding]) -> Embeddings:
    """Return texts of one answer or of several as one, in order.

    Args:
        texts: One at least, with the same representations.

    Raises:
        VersionChangedError: They come from more than one version of the model.
    """
    runs = []
    start = 0
    for stop in range(1, len(texts) + 1):
        if stop < len(texts):
            last, text = texts[stop - 1], texts[stop]
            if text.embeddings is last.embeddings and text.index == last.index + 1:
                continue
        answer, index = texts[start].embeddings, texts[start].index
        whole = stop - start == len(answer)
        runs.append(answer if whole else answer[index : index + stop - start])
        start = stop
    return Embeddings.concatenate(runs)


def _one(length: int) -> NDArray[np.int64]:
    return offsets_of(np.array([length]))
