"""What each representation has found, as one list."""

from __future__ import annotations

from some_points import chunk

from bgem3_retrieval.stores.nearest import Nearest, merged


def test_each_chunk_is_there_once_by_its_best_rank() -> None:
    """With the scores of all that found it, whichever of them found it sooner."""
    first, second, third = chunk("1.md"), chunk("2.md"), chunk("3.md")

    found = merged(
        {
            "dense": [Nearest(one.id, one, 0.5) for one in (first, second, third)],
            "sparse": [Nearest(one.id, one, 2.0) for one in (third, first)],
        }
    )

    assert [
        (first, {"dense": 0.5, "sparse": 2.0}),
        (third, {"dense": 0.5, "sparse": 2.0}),
        (second, {"dense": 0.5}),
    ] == [(one.stored, one.found_by) for one in found]
    assert [first.id, third.id, second.id] == [one.id for one in found]
