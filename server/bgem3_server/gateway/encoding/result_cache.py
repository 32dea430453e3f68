"""Results that were computed before, for texts that come again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Final, TypeAlias

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from bgem3_client.embeddings import Embedding, Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_server.gateway.encoding.one_text import (
    TOKEN_WISE,
    Kept,
    Representation,
    put_back,
    representations,
    take_out,
)
from bgem3_server.gateway.operations.metrics import Metrics

# What Python takes for an entry beside its arrays: the key, and places in three maps.
_ENTRY_BYTES: Final = 480
# Two runs of one model differ by less, in whatever precision; two models by more.
_SAME_MODEL_COSINE: Final = 0.999

_Key: TypeAlias = tuple[bytes, int, Representation]
"""The digest of a text, the length it is cut to, and what is kept of it."""


class ResultCache:
    """Representations of texts, those used last, up to a number of bytes.

    Each representation of a text is an entry of its own: an answer with all of them also serves
    requests for some. ColBERT vectors and hidden states, of which one text can take as much as
    thousands of dense vectors, are dropped first while they hold more than half of the room.

    Results belong to one model: what answers with another version, or has another vector for the
    text of the probe, empties the cache.

    All methods run in one event loop. An object with a limit of 0 keeps nothing.

    Attributes:
        model_version: Of what is kept.
    """

    def __init__(self, limit_bytes: int, metrics: Metrics) -> None:
        self.model_version = ""
        self._limit_bytes = limit_bytes
        self._metrics = metrics
        self._probe: NDArray[np.float32] | None = None
        self._text_wise, self._token_wise = _shelf(), _shelf()

    @property
    def on(self) -> bool:
        """Whether anything is ever kept."""
        return self._limit_bytes > 0

    @property
    def used_bytes(self) -> int:
        """What the entries take."""
        return int(self._text_wise.currsize + self._token_wise.currsize)

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._text_wise) + len(self._token_wise)

    def find(self, texts: Iterable[str], options: EncodeOptions) -> dict[str, Embedding]:
        """Return the texts of which all is there that is asked for.

        Args:
            texts: Distinct ones.
            options: What is asked for. A text that was cut is not there for a request that
                forbids it.
        """
        if not self.on:
            return {}
        wanted = representations(options)
        found = {}
        missed = 0
        for text in texts:
            if kept := self._kept(text, wanted, options):
                found[text] = put_back(kept, self.model_version)
            else:
                missed += 1
        if found:
            self._metrics.cache_hits.inc(len(found))
        if missed:
            self._metrics.cache_misses.inc(missed)
        return found

    def keep(self, texts: Iterable[str], embeddings: Embeddings, options: EncodeOptions) -> None:
        """Keep what was computed, as far as there is room.

        Args:
            texts: As many as there are embeddings.
            embeddings: With all that the options ask for; copied.
            options: As they were computed.
        """
        if not self.on:
            return
        self._belong_to(embeddings.model_version)
        wanted = representations(options)
        for index, text in enumerate(texts):
            digest = _digest(text)
            for name in wanted:
                kept = take_out(embeddings[index], name)
                # What would push out everything else is not worth it.
                if _size_bytes(kept) <= self._limit_bytes / 2:
                    self._shelf(name)[digest, options.max_length, name] = kept
            self._make_room()

    def see_probe(self, embeddings: Embeddings) -> None:
        """Compare the model that answers now with the one whose results are kept.

        Args:
            embeddings: Of one text, always the same, with dense vectors.
        """
        self._belong_to(embeddings.model_version)
        probe, known = embeddings.dense[0], self._probe
        same = known is None or (
            known.shape == probe.shape and float(known @ probe) >= _SAME_MODEL_COSINE
        )
        if not same:
            self.clear()
        self._probe = probe

    def clear(self) -> None:
        """Drop everything."""
        self._text_wise, self._token_wise = _shelf(), _shelf()

    def _belong_to(self, model_version: str) -> None:
        if model_version != self.model_version:
            self.clear()
            self.model_version = model_version

    def _kept(
        self, text: str, wanted: Iterable[Representation], options: EncodeOptions
    ) -> dict[Representation, Kept] | None:
        digest = _digest(text)
        all_kept = {}
        for name in wanted:
            kept = self._shelf(name).get((digest, options.max_length, name))
            if kept is None or (kept.truncated and not options.truncate):
                return None
            all_kept[name] = kept
        return all_kept

    def _shelf(self, name: Representation) -> LRUCache[_Key, Kept]:
        return self._token_wise if name in TOKEN_WISE else self._text_wise

    def _make_room(self) -> None:
        while self.used_bytes > self._limit_bytes:
            token_wise = self._token_wise.currsize > self._limit_bytes / 2
            (self._token_wise if token_wise else self._text_wise).popitem()
            self._metrics.cache_evictions.inc()


def _shelf() -> LRUCache[_Key, Kept]:
    # Without a limit of its own: there is one for both.
    return LRUCache(math.inf, _size_bytes)


def _digest(text: str) -> bytes:
    # Not the text itself, which may be long; and nobody can make two texts of one digest.
    return hashlib.sha256(text.encode()).digest()


def _size_bytes(kept: Kept) -> int:
    return _ENTRY_BYTES + kept.size_bytes
