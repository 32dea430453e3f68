"""Answers of several requests, put in the order of their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Embeddings, Parts
from bgem3_client.ragged import Offsets, offsets_of
from bgem3_client.sparse import SparseEmbeddings

Answers = Sequence[tuple[NDArray[np.intp], Embeddings]]
"""Of each request: the places of its texts among all, and what came of them."""

Part = TypeVar("Part")


def in_order(answers: Answers) -> Embeddings:
    """Return the embeddings of all texts, each at its place; every array is copied once.

    Args:
        answers: One at least, of one model version, with the same outputs; their places together
            are 0 to N - 1.
    """
    first = answers[0][1]
    places = [rows for rows, _ in answers]
    parts = [embeddings.parts for _, embeddings in answers]
    dense = _all_or_none([part.dense for part in parts])
    sparse = _all_or_none([part.sparse for part in parts])
    colbert = _all_or_none([part.colbert for part in parts])
    return Embeddings(
        _placed(places, [embeddings.token_lengths for _, embeddings in answers]),
        _placed(places, [embeddings.truncated for _, embeddings in answers]),
        first.model_version,
        Parts(
            None if dense is None else _placed(places, dense),
            None if sparse is None else _sparse(places, sparse),
            None if colbert is None else _colbert(places, colbert),
        ),
    )


def _all_or_none(parts: Sequence[Part | None]) -> list[Part] | None:
    present = [part for part in parts if part is not None]
    return present if len(present) == len(parts) else None


def _placed(places: Sequence[NDArray[np.intp]], arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    rows = sum(map(len, places))
    placed = np.empty((rows, *arrays[0].shape[1:]), arrays[0].dtype)
    for where, array in zip(places, arrays, strict=True):
        placed[where] = array
    return placed


def _sparse(
    places: Sequence[NDArray[np.intp]], parts: Sequence[SparseEmbeddings]
) -> SparseEmbeddings:
    ragged = _Ragged(places, [part.offsets for part in parts])
    tables = _all_or_none([part.token_texts for part in parts])
    return SparseEmbeddings(
        ragged.placed([part.indices for part in parts]),
        ragged.placed([part.values for part in parts]),
        ragged.offsets,
        None if tables is None else {key: text for table in tables for key, text in table.items()},
    )


def _colbert(
    places: Sequence[NDArray[np.intp]], parts: Sequence[ColbertEmbeddings]
) -> ColbertEmbeddings:
    ragged = _Ragged(places, [part.offsets for part in parts])
    return ColbertEmbeddings(ragged.placed([part.vectors for part in parts]), ragged.offsets)


class _Ragged:
    """Where the entries of each answer go, when texts have unlike numbers of them."""

    def __init__(
        self, places: Sequence[NDArray[np.intp]], answer_offsets: Sequence[Offsets]
    ) -> None:
        self.offsets = offsets_of(_placed(places, [np.diff(offsets) for offsets in answer_offsets]))
        self._entries = [
            _entries(self.offsets[where], offsets)
            for where, offsets in zip(places, answer_offsets, strict=True)
        ]

    def placed(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the entries of all answers, each at its place."""
        return _placed(self._entries, arrays)


def _entries(begins: NDArray[np.int64], offsets: Offsets) -> NDArray[np.intp]:
    """Return where the entries of one answer go, whose texts begin there."""
    # An entry keeps its distance to the begin of its text.
    moves: NDArray[np.int64] = np.subtract(begins, offsets[:-1])
    entries: NDArray[np.intp] = np.repeat(moves, np.diff(offsets)) + np.arange(offsets[-1])
    return entries
