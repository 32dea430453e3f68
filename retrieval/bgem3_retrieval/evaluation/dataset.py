"""What retrieval is judged on: documents, queries, and which of them belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

LONG_CHARACTERS = 5_000
"""A document with more characters than this is a long one."""

Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
"""By query and document: how relevant, where 1 or more is relevant."""


class Corpus(Protocol):
    """The documents; their texts need not be in memory.

    Attributes:
        ids: N different names.
        characters: int64 [N], length of each text.
    """

    ids: Sequence[str]
    characters: NDArray[np.int64]

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of some documents, by their places in :attr:`ids`."""


class MemoryCorpus:
    """Documents whose texts are in memory."""

    def __init__(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Keep as many texts as ids."""
        self.ids = ids
        self.characters = np.array([len(text) for text in texts], np.int64)
        self._texts = texts

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return some of the texts; see :class:`Corpus`."""
        return [self._texts[row] for row in rows]


@dataclass(frozen=True)
class Query:
    """A question.

    Attributes:
        id: Different from every other query's.
        text: What is asked.
        metadata: What else is known of it; ``kind`` and ``language`` make groups of a report.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]

    def group(self, field: str) -> str | None:
        """Return what the metadata say of a field; None where they say nothing."""
        value = self.metadata.get(field)
        return None if value is None else str(value)


@dataclass(frozen=True)
class Dataset:
    """A collection with judgements.

    Attributes:
        name: In reports and files.
        corpus: The documents.
        queries: Those with a judgement, one at least, in the order of their file.
        judgements: Of those queries.
        notes: What a reader of its results should know.
    """

    name: str
    corpus: Corpus
    queries: tuple[Query, ...]
    judgements: Judgements
    notes: tuple[str, ...] = ()

    def groups(self) -> dict[str, dict[str, list[str]]]:
        """Return the ids of queries by ``kind`` and by ``language``, where their metadata say it.

        A field with less than two values makes no groups. ``answer`` is about the lengths of the
        relevant documents: ``long`` has the queries with a relevant one of more than
        :data:`LONG_CHARACTERS`.
        """
        found: dict[str, dict[str, list[str]]] = {}
        for field in ("kind", "language"):
            values: dict[str, list[str]] = {}
            for query in self.queries:
                value = query.group(field)
                if value is not None:
                    values.setdefault(value, []).append(query.id)
            if len(values) > 1:
                found[field] = dict(sorted(values.items()))
        long = self.long_queries()
        if long:
            short = [query.id for query in self.queries if query.id not in set(long)]
            found["answer"] = {"long": long} | ({"short": short} if short else {})
        return found

    def long_rows(self) -> list[int]:
        """Return the places of the documents of more than :data:`LONG_CHARACTERS`."""
        rows: list[int] = np.flatnonzero(self.corpus.characters > LONG_CHARACTERS).tolist()
        return rows

    def long_queries(self) -> list[str]:
        """Return the ids of the queries that a long document answers."""
        long = {self.corpus.ids[row] for row in self.long_rows()}
        return [
            query.id
            for query in self.queries
            if any(
                relevance > 0 and document in long
                for document, relevance in self.judgements[query.id].items()
            )
        ]


def checked_dataset(
    name: str, corpus: Corpus, queries: Sequence[Query], judgements: Judgements
) -> Dataset:
    """Return a dataset with the queries that are judged, and notes about what does not fit."""
    known = set(corpus.ids)
    judged = tuple(query for query in queries if judgements.get(query.id))
    names = {query.id for query in queries}
    notes = []
    if unasked := sum(query not in names for query in judgements):
        notes.append(f"judged queries that are not there, and left out: {unasked:,}")
    missing = sum(
        document not in known and relevance > 0
        for query in judged
        for document, relevance in judgements[query.id].items()
    )
    if missing:
        notes.append(
            f"relevant documents that are not in the corpus, so that nobody finds them: {missing:,}"
        )
    return Dataset(
        name, corpus, judged, {query.id: judgements[query.id] for query in judged}, tuple(notes)
    )
