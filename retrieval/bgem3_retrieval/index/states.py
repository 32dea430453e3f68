"""What a store has of each document when a run begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bgem3_retrieval.stores.query import StoredSource


@dataclass(frozen=True)
class Known:
    """What is there of one document.

    Attributes:
        fingerprints: Of all its states, of which there are several where a run was interrupted.
        complete: Those of which all chunks are there.
    """

    fingerprints: frozenset[str] = frozenset()
    complete: frozenset[str] = frozenset()

    def has_others(self, fingerprint: str) -> bool:
        """Whether there are chunks of other states than this one."""
        return bool(self.fingerprints - {fingerprint})


_NOTHING = Known()


class StoredStates:
    """The documents of a collection, each of which is taken when the run comes to it.

    What is left at the end, the run has not seen. It takes about half a kilobyte a document.
    """

    def __init__(self, sources: Iterable[StoredSource]) -> None:
        self._known: dict[str, Known] = {}
        for state in sources:
            known = self._known.get(state.source, _NOTHING)
            complete = {state.fingerprint} if state.complete else frozenset[str]()
            self._known[state.source] = Known(
                known.fingerprints | {state.fingerprint}, known.complete | complete
            )

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, source: object) -> bool:
        return source in self._known

    def __iter__(self) -> Iterator[str]:
        """Yield the documents that were not taken."""
        return iter(self._known)

    def look(self, source: str) -> Known:
        """Return what is there of a document, and leave it to be taken."""
        return self._known.get(source, _NOTHING)

    def take(self, source: str) -> Known:
        """Return what is there of a document that the run has come to."""
        return self._known.pop(source, _NOTHING)
