"""What a query and its hits have in common, word for word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from bgem3_client.embeddings import Embedding
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.search.marks import Marker
from bgem3_retrieval.search.plan import Plan
from bgem3_retrieval.search.result import Hit, TokenContribution
from bgem3_retrieval.stores.query import QueryVectors
from bgem3_retrieval.stores.store import Store

# Each is a question to the store.
_EXPLAINED_TOKENS: Final = 64
# White space alone, a token of its own, reads as nothing.
_WHITE_SPACE: Final = "▁"


class Matching:
    """The words of one query."""

    def __init__(self, store: Store, plan: Plan, query: str, embedding: Embedding) -> None:
        """Read the query's tokens; nothing is asked yet.

        Args:
            store: Says, with ``explain``, what each token contributes.
            plan: What is asked of which collection.
            query: The text.
            embedding: Its sparse weights and its tokens.
        """
        self._store = store
        self._plan = plan
        self._sparse = embedding.sparse
        self._marker = Marker(query, embedding)

    def marked(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return the hits with their matched words, and with ``explain`` the shared tokens.

        Raises:
            StoreError: The store failed.
        """
        if not self._plan.options.explain:
            # Without a common token there is nothing to mark, whatever reads alike.
            return [
                replace(hit, marks=self._marker.marks(hit.stored.chunk.text))
                if hit.scores.get("sparse", 1.0) > 0
                else hit
                for hit in hits
            ]
        contributions = self._contributions(hits)
        return [self._explained(hit, contributions.get(hit.id, {})) for hit in hits]

    def _explained(self, hit: Hit, contributions: Mapping[int, float]) -> Hit:
        texts = self._sparse.token_texts or {}
        tokens = [
            TokenContribution(texts[token_id] or _WHITE_SPACE, amount)
            for token_id, amount in contributions.items()
        ]
        tokens.sort(key=lambda token: (-token.contribution, token.text))
        marks = self._marker.marks(hit.stored.chunk.text, contributions)
        return replace(hit, marks=marks, tokens=tuple(tokens))

    def _contributions(self, hits: Sequence[Hit]) -> dict[UUID, dict[int, float]]:
        """Return what each token adds to each hit's sparse score: the score of the token alone."""
        contributions: dict[UUID, dict[int, float]] = {}
        sharing = [hit.id for hit in hits if hit.scores.get("sparse", 0.0) > 0]
        if not sharing:
            return contributions
        indices, values = self._sparse.indices, self._sparse.values
        for place in (-values).argsort(kind="stable")[:_EXPLAINED_TOKENS].tolist():
            token = SparseEmbedding(indices[place : place + 1], values[place : place + 1])
            scores = self._store.scores(self._plan.spec.name, QueryVectors(sparse=token), sharing)
            for hit_id, of_hit in scores.items():
                if (amount := of_hit.get("sparse", 0.0)) > 0:
                    contributions.setdefault(hit_id, {})[int(indices[place])] = amount
        return contributions
