"""The requests that other products send, replayed against the service.

``requests/<product>.json`` holds them as data, each with the place in the product's public sources
that says so: headers, path and body as they go over the wire, what the product reads of the
answer, and what a user types into its form. ``{model}``, ``{key}``, ``{question}`` and
``{corpus.<i>}`` (the texts of :mod:`corpus`) are filled in.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from corpus import TEXTS

QUESTION = "如何重置微信支付密码"
"""What reranking is asked; ``corpus.ANSWERS`` says which text answers it."""

_FOLDER = Path(__file__).parent / "requests"
_PLACE = re.compile(r"\{(\w+)(?:\.(\d+))?\}")


@dataclass(frozen=True)
class Replay:
    """One request of one product."""

    record: Mapping[str, Any]

    def __str__(self) -> str:
        return self.record["name"]

    @property
    def texts(self) -> list[str]:
        """The texts of its body, filled in."""
        texts = _filled(self.record["body"][self.record["texts"]], {})
        return [texts] if isinstance(texts, str) else texts

    def send(self, service: httpx.Client, **values: str) -> httpx.Response:
        """Send it as the product does; ``values`` are the model and the key."""
        record = self.record
        return service.request(
            record["method"],
            record["path"],
            headers=_filled(record["headers"], values),
            json=_filled(record["body"], values) if "body" in record else None,
        )

    def vectors(self, answer: Any) -> np.ndarray:
        """The vectors where the product reads them, decoded as its library does."""
        found = [_numbers(vector) for vector in read(answer, self.record["vectors"])]
        return np.array(found, dtype=np.float32)

    def scores(self, answer: Any) -> np.ndarray:
        """The score of each text, put in the texts' order by ``index`` as the products do."""
        results = answer[self.record["results"]] if self.record["results"] else answer
        scores = np.zeros(len(self.texts))
        for result in results:
            scores[result["index"]] = result[self.record["score"]]
        return scores

    def check_reads(self, answer: Any) -> None:
        """Fail with the path of the first thing that the product would miss."""
        for path in self.record["reads"]:
            assert list(read(answer, path)), f"nothing at {path}"


def load(product: str) -> list[Replay]:
    """Return the requests of ``requests/<product>.json``."""
    records = json.loads((_FOLDER / f"{product}.json").read_text(encoding="utf-8"))
    return [Replay(record) for record in records]


def of_kind(product: str, kind: str) -> list[Replay]:
    """Return the product's requests of a kind: ``embedding``, ``rerank`` or ``read``."""
    return [replay for replay in load(product) if kind == replay.record["kind"]]


def read(answer: Any, path: str) -> Iterator[Any]:
    """Give what is at a path like ``data.*.embedding``, in which ``*`` is every item.

    Raises:
        KeyError: There is nothing.
    """
    first, _, rest = path.partition(".")
    for item in answer if first == "*" else [answer[first]]:
        if rest:
            yield from read(item, rest)
        else:
            yield item


def _numbers(vector: list[float] | str) -> Any:
    if isinstance(vector, str):
        return np.frombuffer(base64.b64decode(vector), dtype="<f4")
    return vector


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, index = match.groups()
        if name == "corpus":
            return TEXTS[int(index)]
        return QUESTION if name == "question" else values[name]

    return _PLACE.sub(fill, value)
