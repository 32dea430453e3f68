"""The requests that perf_analyzer sends, round and round, and the file it reads them from."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from math import ceil
from pathlib import Path

from bgem3_backend.contract import TEXT
from bgem3_bench.real_texts import real_texts
from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.bulk.inputs import Inputs
from bgem3_retrieval.bulk.reader import RecordReader
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.errors import RejectedLineError


@dataclass(frozen=True)
class Texts:
    """Texts, and where they are from, in words."""

    texts: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class Work:
    """The requests of a measurement.

    Attributes:
        origin: Where the texts are from, in words.
        requests: The texts of each request.
        tokens: Of each request: the tokens of each of its texts, as the server cuts them.
    """

    origin: str
    requests: tuple[tuple[str, ...], ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def texts_per_request(self) -> int:
        """The same for every request."""
        return len(self.requests[0])

    @property
    def tokens_per_request(self) -> float:
        """On average; perf_analyzer sends each request as often as any other."""
        return sum(self._text_tokens) / len(self.requests)

    @property
    def most_tokens(self) -> int:
        """The tokens of the largest request."""
        return max(map(sum, self.tokens))

    def __str__(self) -> str:
        count = self.texts_per_request
        return (
            f"{len(self.requests)} requests of {count} text{'s' * (count > 1)} each: "
            f"{self.origin}, {min(self._text_tokens)} to {max(self._text_tokens)} tokens a text, "
            f"{sum(self._text_tokens) / len(self._text_tokens):.0f} on average"
        )

    @property
    def _text_tokens(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(self.tokens))


def read_texts(file: Path | None) -> Texts:
    """Read the texts to send.

    Args:
        file: A text a line, or a JSON object a line where the name ends in ``.jsonl``, its text
            in the field ``text``; None takes the project's own texts.

    Raises:
        InvalidInputError: The file cannot be read, holds no text, or a line that is none.
    """
    if file is None:
        return Texts(tuple(real_texts()), "real writing in twenty languages")
    texts = []
    for record in RecordReader(Inputs([str(file)])):
        if isinstance(record, Rejection):
            raise RejectedLineError(str(record))
        texts.append(record.text)
    if not texts:
        raise InvalidInputError(f"{file} holds no text")
    return Texts(tuple(texts), file.name)


def group_texts(texts: Sequence[str], texts_per_request: int) -> tuple[tuple[str, ...], ...]:
    """Make requests that all have as many texts; the last is filled with texts of the first.

    The order is shuffled, the same way each time: texts often come sorted by kind, and a window
    of a measurement would have all the long ones.
    """
    shuffled = random.Random(0).sample(list(texts), len(texts))
    endless = cycle(shuffled)
    return tuple(
        tuple(islice(endless, texts_per_request))
        for _ in range(ceil(len(shuffled) / texts_per_request))
    )


def write_input_data(requests: Sequence[Sequence[str]], file: Path) -> None:
    """Write requests as perf_analyzer reads them: shapes without the leading dimension.

    Raises:
        InvalidInputError: The file cannot be written.
    """
    data = [{TEXT.name: {"content": list(texts), "shape": [len(texts)]}} for texts in requests]
    try:
        file.write_text(json.dumps({"data": data}, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}") from error
