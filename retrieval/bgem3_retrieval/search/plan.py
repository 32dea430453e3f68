"""What the queries of a call need."""

from __future__ import annotations

from dataclasses import dataclass

from bgem3_client.encode_request import Output
from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.query import Representation


@dataclass(frozen=True)
class Plan:
    """The same for all queries of a call.

    Attributes:
        spec: How the collection was made.
        options: As given.
        reranks: Whether ColBERT orders the best candidates anew.
        scored: The representations whose scores the candidates need.
    """

    spec: CollectionSpec
    options: SearchOptions
    reranks: bool
    scored: tuple[Representation, ...]

    @classmethod
    def of(cls, spec: CollectionSpec, options: SearchOptions) -> Plan:
        """Make a plan.

        Raises:
            InvalidInputError: ColBERT is asked of a collection without.
        """
        has_colbert = spec.colbert != "none"
        if (options.mode == "colbert" or options.rerank) and not has_colbert:
            raise InvalidInputError(
                f"collection {spec.name!r} keeps no ColBERT vectors: search it without "
                "re-ranking, or index the documents again with them"
            )
        reranks = options.mode != "colbert" and (
            options.mode == "hybrid" and has_colbert if options.rerank is None else options.rerank
        )
        scored = options.finds_by
        if options.explain:
            scored = ("dense", "sparse")
        if reranks or options.mode == "colbert" or (options.explain and has_colbert):
            scored = (*scored, "colbert")
        return cls(spec, options, reranks, scored)

    @property
    def outputs(self) -> frozenset[Output]:
        """What the server makes of the queries; the sparse weights are also for the marks."""
        return frozenset({*self.scored, "sparse"})
