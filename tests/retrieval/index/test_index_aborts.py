"""Whatever happens to the files and to the runs: the next whole run puts everything right."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from index_run import COLLECTION, Notes, WatchedTransport, state, words
from memory_store import MemoryStore

from bgem3_client import InternalServerError
from bgem3_retrieval.errors import StoreError
from bgem3_retrieval.stores.point import Point

NAMES = ["a.txt", "b.md", "deep/c.txt", "t.jsonl", "deep/u.jsonl"]

Edit: TypeAlias = tuple[str, str, int]
"""Which file, and what becomes of it: a length, below 0 for its end."""


class Trap:
    """Fails at the n-th thing that is done, and at all that follow."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.done = 0
        self._lock = Lock()

    @property
    def sprung(self) -> bool:
        """Whether it has failed."""
        return self.done > self.at

    def step(self) -> bool:
        """Count; return whether this one is to fail."""
        with self._lock:
            self.done += 1
            return self.sprung


class TrappedStore(MemoryStore):
    """Shares what another store has, and fails in the middle of what it does."""

    def __init__(self, store: MemoryStore, trap: Trap) -> None:
        super().__init__()
        self._collections = store._collections
        self._trap = trap

    def put(self, name: str, points: Sequence[Point]) -> None:
        """Write half of the points, and fail, or write them all."""
        sprung = self._trap.step()
        super().put(name, points[: len(points) // 2] if sprung else points)
        if sprung:
            raise StoreError("killed in the middle of a write")

    def remove_source(self, name: str, source: str, *, keep_fingerprint: str | None = None) -> None:
        """Fail before it or after it."""
        if self._trap.step():
            if self._trap.at % 2:
                super().remove_source(name, source, keep_fingerprint=keep_fingerprint)
            raise StoreError("killed while it removed something")
        super().remove_source(name, source, keep_fingerprint=keep_fingerprint)


def abort(notes: Notes, at: int) -> bool:
    """Run until the n-th thing that is done; return whether it came so far."""
    trap = Trap(at)

    def fail(request: Any) -> None:
        if trap.step():
            raise InternalServerError("killed while it encoded")

    notes.transport = WatchedTransport(before=fail)
    try:
        notes.index(store=TrappedStore(notes.store, trap))
    except (InternalServerError, StoreError):
        return True
    finally:
        notes.transport = WatchedTransport()
    return False


def edit(notes: Notes, name: str, seed: str, length: int) -> None:
    """Write a file, or a table, or remove it."""
    if length < 0:
        (notes.folder / name).unlink(missing_ok=True)
    elif name.endswith(".jsonl"):
        rows = [
            {"id": str(number), "text": words(f"{seed}{number}", 1 + 7 * (number % 5))}
            for number in range(length % 7 + 1)
        ]
        notes.write({name: "".join(json.dumps(row) + "\n" for row in rows)})
    else:
        notes.write({name: words(seed, length)})


# Few words and few lengths, so that a file often becomes again what it was.
edits = st.tuples(st.sampled_from(NAMES), st.sampled_from("xy"), st.sampled_from([-1, 5, 90, 600]))
runs = st.one_of(st.integers(0, 40), st.none())


@given(history=st.lists(st.tuples(st.lists(edits, max_size=3), runs), min_size=1, max_size=5))
@example([([("a.txt", "x", 90)], None), ([("a.txt", "y", 600)], 5), ([("a.txt", "x", 90)], None)])
@settings(max_examples=30, deadline=None)
def test_a_whole_run_gives_what_a_fresh_index_gives(
    history: list[tuple[list[Edit], int | None]],
) -> None:
    """After any edits, and any runs that were aborted anywhere; only whole runs are None."""
    folder = Path(tempfile.mkdtemp())
    try:
        notes = Notes(folder)
        notes.write({"always.txt": "This one stays."})
        for changes, run in history:
            for change in changes:
                edit(notes, *change)
            if run is None:
                notes.index()
            else:
                abort(notes, run)
        notes.index()

        assert state(notes.fresh()) == state(notes.store)
    finally:
        shutil.rmtree(folder)


def _add(notes: Notes) -> None:
    notes.write({"new.txt": words("new", 200)})


def _change(notes: Notes) -> None:
    notes.write({"a.txt": words("changed", 200)})


def _remove(notes: Notes) -> None:
    (notes.folder / "a.txt").unlink()


@pytest.mark.parametrize("happens", [_add, _change, _remove])
def test_an_abort_anywhere_loses_nothing(notes: Notes, happens: Callable[[Notes], None]) -> None:
    """At each of the things that a run does: what was findable and is still there stays so.

    And what has changed is findable in its old state until it is in its new one.
    """
    notes.write({"a.txt": words("a", 200), "b.txt": words("b", 50)})
    notes.index()
    start = dict(notes.store._collections[COLLECTION].points)
    happens(notes)
    steps = 0
    while True:
        notes.store._collections[COLLECTION].points = dict(start)
        if not abort(notes, steps):
            break
        complete = {s.source for s in notes.store.sources(COLLECTION) if s.complete}
        # The check of the model asks for a vector before anything is done.
        expected = {notes.source("b.txt")}
        if happens is not _remove:
            expected.add(notes.source("a.txt"))

        assert expected <= complete
        notes.index()
        assert state(notes.fresh()) == state(notes.store)
        steps += 1

    assert steps > (1 if happens is _remove else 4)
