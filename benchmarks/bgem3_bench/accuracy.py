"""How far the vectors of one system are from those of another, over the same texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bgem3_bench.results import Accuracy

Arrays = Mapping[str, npt.NDArray[Any]]


def compare_files(reference: Path, candidate: Path) -> Accuracy:
    """Compare what two workers saved; see :func:`compare`."""
    with np.load(reference) as expected, np.load(candidate) as found:
        return compare(expected, found)


def compare(reference: Arrays, candidate: Arrays) -> Accuracy:
    """Compare the arrays of two systems, as far as both have them.

    Args:
        reference: ``dense`` [N, H]; ``sparse_indices`` and ``sparse_values`` [S] with
            ``sparse_lengths`` [N]; ``colbert`` [C, D] with ``colbert_lengths`` [N].
        candidate: The same of another system.
    """
    notes = []
    dense = sparse = colbert = None
    if "dense" in candidate:
        dense = _cosines(reference["dense"], candidate["dense"])
    if "sparse_values" in candidate:
        sparse = _sparse_difference(reference, candidate)
    if "colbert" in candidate:
        if np.array_equal(reference["colbert_lengths"], candidate["colbert_lengths"]):
            colbert = _cosines(reference["colbert"], candidate["colbert"])
        else:
            notes.append(
                f"{len(candidate['colbert']):,} ColBERT vectors where the reference has "
                f"{len(reference['colbert']):,}"
            )
    return Accuracy(
        dense_cosine_smallest=None if dense is None else float(dense.min()),
        dense_cosine_mean=None if dense is None else float(dense.mean()),
        sparse_difference_largest=sparse,
        colbert_cosine_smallest=None if colbert is None else float(colbert.min()),
        colbert_cosine_mean=None if colbert is None else float(colbert.mean()),
        note="; ".join(notes),
    )


def _cosines(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    # In FP64: what is to be seen is a difference from 1 in the seventh digit.
    left, right = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths)


def _sparse_difference(reference: Arrays, candidate: Arrays) -> float:
    """Return the largest difference of a weight by the largest weight of its text."""
    largest = 0.0
    for expected, found in zip(_sparse_rows(reference), _sparse_rows(candidate), strict=True):
        scale = max(expected.values(), default=0.0)
        for token in expected.keys() | found.keys():
            difference = abs(expected.get(token, 0.0) - found.get(token, 0.0))
            # A text without any weight has none to be relative to.
            largest = max(largest, difference / scale if scale else difference)
    return largest


def _sparse_rows(arrays: Arrays) -> list[dict[int, float]]:
    ends = np.cumsum(arrays["sparse_lengths"])[:-1]
    return [
        dict(zip(indices.tolist(), values.tolist(), strict=True))
        for indices, values in zip(
            np.split(arrays["sparse_indices"], ends),
            np.split(arrays["sparse_values"], ends),
            strict=True,
        )
    ]
