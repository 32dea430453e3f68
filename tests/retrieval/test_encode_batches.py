"""How records are gathered into requests."""

from __future__ import annotations

from bgem3_client import Limits
from bgem3_retrieval.bulk.batches import batches
from bgem3_retrieval.bulk.records import Line, Record, Rejection


def test_a_batch_ends_at_its_texts_or_its_tokens() -> None:
    """Rejections count as texts, a text as its bytes and 2, or max_length; a long one is alone."""
    records = [
        Record(Line("a", number, b"", number), str(number), "x" * length)
        for number, length in enumerate([1, 1, 1, 1, 5, 5, 100, 1], 1)
    ]
    rejection = Rejection(Line("a", 0, b"", 0), "bad")
    limits = Limits(max_texts_per_request=4, max_tokens_per_request=15)
    found = list(batches([rejection, *records], limits, max_length=20))

    assert [[1, 1, 1], [1, 5], [5], [100], [1]] == [
        [len(record.text) for record in batch.records] for batch in found
    ]
    assert [(rejection,), (), (), (), ()] == [batch.rejections for batch in found]
    assert [3, 5, 6, 7, 8] == [batch.end_bytes for batch in found]
    assert records == [record for batch in found for record in batch.records]
