"""Records gathered into batches, each of them one request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bgem3_client.limits import Limits
from bgem3_client.splitting import estimated_tokens
from bgem3_retrieval.bulk.records import Record, Rejection


@dataclass(frozen=True)
class Batch:
    """Some neighbouring lines; there is at least one.

    Attributes:
        records: The texts among them.
        rejections: The others.
        end_bytes: Bytes of all inputs up to the end of the last line.
    """

    records: tuple[Record, ...]
    rejections: tuple[Rejection, ...]
    end_bytes: int


def batches(
    items: Iterable[Record | Rejection], limits: Limits, max_length: int
) -> Iterator[Batch]:
    """Yield all items in order, as many at a time as fit in one request.

    Args:
        items: From the reader.
        limits: What fits in one request.
        max_length: Tokens a text is cut to, special tokens included.
    """
    records: list[Record] = []
    rejections: list[Rejection] = []
    tokens = 0
    end_bytes = 0

    def batch() -> Batch:
        return Batch(tuple(records), tuple(rejections), end_bytes)

    for item in items:
        item_tokens = (
            estimated_tokens(item.text.encode(), max_length) if isinstance(item, Record) else 0
        )
        gathered = len(records) + len(rejections)
        if gathered and (
            gathered == limits.max_texts_per_request
            or tokens + item_tokens > limits.max_tokens_per_request
        ):
            yield batch()
            records, rejections, tokens = [], [], 0
        if isinstance(item, Record):
            records.append(item)
        else:
            rejections.append(item)
        tokens += item_tokens
        end_bytes = item.line.end_bytes
    if records or rejections:
        yield batch()
