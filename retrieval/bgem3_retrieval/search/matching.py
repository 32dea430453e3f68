"""What a query and its hits have in common, word for word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bgem3_client.embeddings import Embedding
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.search.marks import Marker
from bgem3_retrieval.search.result import Hit, TokenContribution

# White space alone, a token of its own, reads as nothing.
_WHITE_SPACE: Final = "▁"


class Matching:
    """The words of one query."""

    def __init__(self, query: str, embedding: Embedding, *, explain: bool) -> None:
        """Read the query's tokens.

        Args:
            query: The text.
            embedding: Its sparse weights and its tokens.
            explain: Whether hits are to say which tokens they share, beside where these are.
        """
        self._weights = embedding.sparse.as_dict()
        self._texts = embedding.sparse.token_texts or {}
        self._marker = Marker(query, embedding)
        self._explain = explain

    def marked(self, hit: Hit, passage: SparseEmbedding | None) -> Hit:
        """Return a hit with its matched words, and with ``explain`` the shared tokens.

        Args:
            hit: The passage.
            passage: Its lexical weights; None where it has gone meanwhile.
        """
        contributions = {} if passage is None else self._contributions(passage)
        marks = self._marker.marks(hit.stored.chunk.text, contributions)
        tokens = self._tokens(contributions) if self._explain else None
        return replace(hit, marks=marks, tokens=tokens)

    def _contributions(self, passage: SparseEmbedding) -> dict[int, float]:
        """Return what each shared token adds to the sparse score."""
        weights = passage.as_dict()
        return {
            token_id: weight * weights[token_id]
            for token_id, weight in self._weights.items()
            if token_id in weights
        }

    def _tokens(self, contributions: Mapping[int, float]) -> tuple[TokenContribution, ...]:
        tokens = [
            TokenContribution(self._texts[token_id] or _WHITE_SPACE, amount)
            for token_id, amount in contributions.items()
        ]
        tokens.sort(key=lambda token: (-token.contribution, token.text))
        return tuple(tokens)
