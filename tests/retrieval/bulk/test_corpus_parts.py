"""Windows, requests, order and pace, each by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgem3_client import Client, FakeTransport, Limits
from bgem3_retrieval.bulk.corpus.in_order import in_order
from bgem3_retrieval.bulk.corpus.job import windows_ahead
from bgem3_retrieval.bulk.corpus.pace import Pace, duration
from bgem3_retrieval.bulk.corpus.windows import Window, WindowLimits, requests_of, windows
from bgem3_retrieval.bulk.records import Line, Position, Record, Rejection


def items(lengths: list[int | None]) -> list[Record | Rejection]:
    """Return a record of so many letters for each number, and a rejection for None."""
    found: list[Record | Rejection] = []
    for number, length in enumerate(lengths, 1):
        line = Line("a", number, b"", number * 10)
        found.append(
            Rejection(line, "bad") if length is None else Record(line, str(number), "x" * length)
        )
    return found


def sizes(found: list[Window]) -> list[tuple[int, int, bool]]:
    """Return records, rejections and whether a shard ends, of each window."""
    return [(len(w.records), len(w.rejections), w.ends_shard) for w in found]


def test_a_window_ends_at_its_texts_its_tokens_or_its_shard() -> None:
    """Rejections count as lines; a long text is alone."""
    limits = WindowLimits(texts=3, tokens=20)
    found = list(windows(items([1, None, 1, 1, 90, 1, 1]), 6, limits, 100, begin_bytes=4))

    assert [(2, 1, False), (1, 0, False), (1, 0, False), (1, 0, True), (1, 0, False)] == sizes(
        found
    )
    assert Position(0, 3) == found[0].end
    assert [26, 10, 10, 10, 10] == [window.size_bytes for window in found]
    assert 70 == found[-1].end_bytes


def test_a_shard_that_ends_with_the_inputs_has_no_empty_window_after_it() -> None:
    """Nor do no inputs have one."""
    assert [(2, 0, True)] == sizes(list(windows(items([1, 1]), 2, WindowLimits(), 9)))
    assert [] == list(windows([], 2, WindowLimits(), 9))


@given(st.lists(st.text(max_size=30), max_size=60))
def test_requests_are_the_texts_by_length(texts: list[str]) -> None:
    """Each text once, the longest first, within the limits."""
    limits = Limits(max_texts_per_request=7, max_tokens_per_request=50)
    requests = requests_of(texts, limits, 40)
    order = [int(row) for request in requests for row in request]
    tokens = [min(len(texts[row].encode()) + 2, 40) for row in order]

    assert list(range(len(texts))) == sorted(order)
    assert tokens == sorted(tokens, reverse=True)
    assert all(len(request) <= 7 for request in requests)


@given(st.permutations(range(8)), st.lists(st.integers(1, 7), max_size=3, unique=True))
def test_answers_are_put_in_order(order: list[int], cuts: list[int]) -> None:
    """Whatever went together in a request."""
    texts = ["", "one", "two words", "a a a", "so many more words", "x", "y y", "z z z z"]
    outputs = {"dense", "sparse", "colbert"}
    with Client(transport=FakeTransport()) as client:
        expected = client.encode(texts, outputs, return_tokens=True)  # type: ignore[arg-type]
        parts = np.split(np.array(order), sorted(cuts))
        answers = [
            (rows, client.encode([texts[row] for row in rows], outputs, return_tokens=True))  # type: ignore[arg-type]
            for rows in parts
        ]
    found = in_order(answers)

    np.testing.assert_array_equal(expected.dense, found.dense)
    np.testing.assert_array_equal(expected.sparse.indices, found.sparse.indices)
    np.testing.assert_array_equal(expected.sparse.values, found.sparse.values)
    np.testing.assert_array_equal(expected.sparse.offsets, found.sparse.offsets)
    np.testing.assert_array_equal(expected.colbert.vectors, found.colbert.vectors)
    np.testing.assert_array_equal(expected.colbert.offsets, found.colbert.offsets)
    np.testing.assert_array_equal(expected.token_lengths, found.token_lengths)
    assert expected.sparse.token_texts == found.sparse.token_texts


def test_more_servers_and_smaller_windows_need_more_of_them() -> None:
    """So that all are busy, and memory grows with the servers alone."""
    dense, colbert = WindowLimits(), WindowLimits(tokens=1 << 16)

    assert [3, 4, 10] == [windows_ahead(n, Limits(), dense) for n in (1, 4, 16)]
    assert [4, 10] == [windows_ahead(n, Limits(), colbert) for n in (1, 4)]


def test_the_time_left_is_that_of_the_last_minute() -> None:
    """A fast start long ago says nothing about the rest; nor does what an earlier run did."""
    pace = Pace()
    pace.add(0, 0, 5000)
    starting = (pace.texts_per_second, pace.seconds_left(10_000))
    pace.add(10, 1000, 6000)
    fast = (pace.texts_per_second, pace.seconds_left(10_000))
    for second in range(20, 200, 10):
        pace.add(second, 1000 + second, 6000 + second)

    assert (None, None) == starting
    assert (100, 40) == fast
    assert 1 == pace.texts_per_second
    assert 10_000 - 6190 == pace.seconds_left(10_000)


def test_a_server_that_hangs_has_no_end() -> None:
    """Rather than the end that was in sight before."""
    pace = Pace()
    for second in range(100):
        pace.add(second, min(second, 10), min(second, 10))

    assert 0 == pace.texts_per_second
    assert pace.seconds_left(1000) is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations_in_words(seconds: float, expected: str) -> None:
    """Two figures at most."""
    assert expected == duration(seconds)
