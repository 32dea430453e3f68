"""Records gathered into windows, and a window's texts into requests of like lengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bgem3_client.encode_request import EncodeOptions
from bgem3_client.limits import Limits
from bgem3_client.splitting import estimated_tokens, split
from bgem3_retrieval.bulk.records import START, Position, Record, Rejection

Rows = NDArray[np.intp]
"""Places of texts in a window."""


@dataclass(frozen=True)
class WindowLimits:
    """What is sorted by length together, and so held in memory together.

    Attributes:
        texts: So many at most.
        tokens: Estimated as :class:`bgem3_client.limits.Limits` says; a longer text is alone.
    """

    texts: int = 1024
    tokens: int = 1 << 18

    def requests(self, limits: Limits) -> int:
        """Return how many requests a full window makes, at least."""
        return max(
            1,
            min(
                self.texts // limits.max_texts_per_request,
                self.tokens // limits.max_tokens_per_request,
            ),
        )


def window_limits(options: EncodeOptions) -> WindowLimits:
    """Return limits that keep what is held in memory about the same, whatever is asked for."""
    # A token of a ColBERT representation weighs as much as a whole text's dense vector.
    return WindowLimits(tokens=1 << 16) if "colbert" in options.outputs else WindowLimits()


@dataclass
class Window:
    """Some neighbouring lines of one shard.

    Attributes:
        records: The texts among them.
        rejections: The others.
        ends_shard: Whether the shard is full with it.
        end: Where the inputs go on after it.
        end_bytes: Bytes of all inputs up to there.
        size_bytes: Bytes of the inputs from the window before to there.
    """

    records: list[Record] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    ends_shard: bool = False
    end: Position = START
    end_bytes: int = 0
    size_bytes: int = 0

    def __len__(self) -> int:
        return len(self.records) + len(self.rejections)


def windows(
    items: Iterable[Record | Rejection],
    shard_texts: int,
    limits: WindowLimits,
    max_length: int,
    begin_bytes: int = 0,
) -> Iterator[Window]:
    """Yield all items in order; where a window ends depends on the items and nothing else.

    Args:
        items: From the reader; the first one begins a shard.
        shard_texts: Items in a shard, rejections included.
        limits: What fits in one window.
        max_length: Tokens a text is cut to, special tokens included.
        begin_bytes: Bytes of the inputs before the first item.
    """
    window = Window()
    tokens = 0
    in_shard = 0
    for item in items:
        item_tokens = (
            estimated_tokens(item.text.encode(), max_length) if isinstance(item, Record) else 0
        )
        if window and (len(window) == limits.texts or tokens + item_tokens > limits.tokens):
            yield window
            begin_bytes, window, tokens = window.end_bytes, Window(), 0
        if isinstance(item, Record):
            window.records.append(item)
        else:
            window.rejections.append(item)
        tokens += item_tokens
        window.end, window.end_bytes = item.line.end, item.line.end_bytes
        window.size_bytes = window.end_bytes - begin_bytes
        in_shard += 1
        if in_shard == shard_texts:
            window.ends_shard = True
            yield window
            begin_bytes, window, tokens, in_shard = window.end_bytes, Window(), 0, 0
    if window:
        yield window


def requests_of(texts: Sequence[str], limits: Limits, max_length: int) -> list[Rows]:
    """Return which texts go together in a request: those of like lengths, the longest first.

    Texts of one length keep their order. The longest come first, so that at the end of the work
    no long request is waited for alone.

    Args:
        texts: Of a window.
        limits: What fits in one request.
        max_length: Tokens a text is cut to, special tokens included.
    """
    tokens = np.array([estimated_tokens(text.encode(), max_length) for text in texts])
    order = np.argsort(-tokens, kind="stable")
    return [order[part] for part in split(tokens[order].tolist(), limits)]
