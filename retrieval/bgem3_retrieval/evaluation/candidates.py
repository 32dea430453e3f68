"""The documents that each query is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bgem3_client.embeddings import Parts
from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.block_scores import COMPONENTS, Scores, block_scores

FINDING: Final[tuple[Output, ...]] = ("dense", "sparse")
"""The representations that find; ColBERT scores what they have found."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The documents that a query is judged by.

    Attributes:
        rows: int64 [c], their places in the corpus, ascending.
        scores: float64 [c, 3], by dense, sparse and ColBERT; NaN where there is no such score.
    """

    rows: NDArray[np.int64]
    scores: Scores

    def without(self, row: int | None) -> Candidates:
        """Return the same without one document; None is none."""
        if row is None:
            return self
        kept = self.rows != row
        return Candidates(self.rows[kept], self.scores[kept])


class Pool:
    """The best documents so far of each query, by each of the representations that find."""

    def __init__(self, queries: int, limit: int, outputs: frozenset[Output]) -> None:
        """Make an empty one.

        Args:
            queries: How many there are.
            limit: Documents that each query keeps by each representation.
            outputs: What the documents are scored by; those of them that find are looked at.
        """
        self._limit = limit
        # By column of the scores: rows [Q, k] and scores [Q, k, 3]. What is scored by ColBERT
        # alone is a small corpus, and kept whole.
        columns = [COMPONENTS.index(name) for name in FINDING if name in outputs] or [2]
        self._best: dict[int, tuple[NDArray[np.int64], Scores]] = {
            column: (np.empty((queries, 0), np.int64), np.empty((queries, 0, 3)))
            for column in columns
        }

    def add(self, first_row: int, queries: Parts, documents: Parts) -> None:
        """Score a block of documents, and keep those that are among a query's best."""
        scores = block_scores(queries, documents)
        rows = np.arange(first_row, first_row + scores.shape[1])
        for column, (known_rows, known_scores) in self._best.items():
            everywhere = np.broadcast_to(rows, (len(scores), len(rows)))
            all_rows = np.concatenate([known_rows, everywhere], axis=1)
            all_scores = np.concatenate([known_scores, scores], axis=1)
            if all_rows.shape[1] > self._limit:
                kept = np.argpartition(-all_scores[:, :, column], self._limit - 1, axis=1)
                kept = kept[:, : self._limit]
                all_rows = np.take_along_axis(all_rows, kept, axis=1)
                all_scores = np.take_along_axis(all_scores, kept[:, :, np.newaxis], axis=1)
            self._best[column] = (all_rows, all_scores)

    def candidates(self) -> list[Candidates]:
        """Return what was kept, each document once."""
        pools = list(self._best.values())
        found = []
        for query in range(len(pools[0][0])):
            rows = np.concatenate([rows[query] for rows, _ in pools])
            scores = np.concatenate([scores[query] for _, scores in pools])
            unique, places = np.unique(rows, return_index=True)
            found.append(Candidates(unique, scores[places]))
        return found
