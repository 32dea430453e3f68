"""The interface of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.query import (
    Candidate,
    Condition,
    QueryVectors,
    Representation,
    StoredSource,
)


class Store(Protocol):
    """Collections of chunks with their vectors.

    It is the only record of what is indexed: nothing is kept beside it. A point written again
    replaces the one with its id. Methods block, and any thread may call them.

    All of them raise `StoreError` when the store fails or cannot be reached, and all that take a
    name `CollectionNotFoundError` when there is none of that name.
    """

    @property
    def address(self) -> str:
        """Where it is, for messages: a folder, a file or a URL without secrets."""

    def create(self, spec: CollectionSpec) -> None:
        """Make an empty collection.

        Raises:
            CollectionExistsError: There is one of that name.
        """

    def spec(self, name: str) -> CollectionSpec:
        """Return how a collection was made.

        Raises:
            ForeignCollectionError: It was not made by this project.
        """

    def names(self) -> list[str]:
        """The collections that this project made, sorted."""

    def drop(self, name: str) -> None:
        """Remove a collection and all that is in it."""

    def count(self, name: str) -> int:
        """How many points there are."""

    def sources(self, name: str) -> Iterator[StoredSource]:
        """What is there: one for each document and state of it."""

    def put(self, name: str, points: Sequence[Point]) -> None:
        """Write points; they outlive a crash when this returns."""

    def remove_source(self, name: str, source: str, *, keep_fingerprint: str | None = None) -> None:
        """Remove the points of a document, except for those of one state of it."""

    def nearest(
        self, name: str, query: QueryVectors, limit: int, where: Sequence[Condition] = ()
    ) -> list[Candidate]:
        """Return the chunks nearest by the query's dense and sparse representations.

        Args:
            name: The collection's.
            query: Its ColBERT vectors find nothing here: see :meth:`scores`.
            limit: Chunks by each of the representations.
            where: All must hold.

        Returns:
            Each chunk once, by its best rank.

        Raises:
            InvalidInputError: A condition compares what cannot be compared.
        """

    def scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> Mapping[UUID, Mapping[Representation, float]]:
        """Return the scores of some chunks by each representation that the query has.

        Dense: the inner product. Sparse: the sum over common ids of the products of their
        weights, 0 where there is none. ColBERT: over the query's tokens the mean of each one's
        largest inner product with a token of the chunk. As in FlagEmbedding, and up to what the
        collection's storage rounds. Absent where the collection has no such representation.
        """

    def lexical_weights(self, name: str, ids: Sequence[UUID]) -> Mapping[UUID, SparseEmbedding]:
        """Return the lexical weights of some chunks, as they were put; absent of those not there.

        The products of the weights that a chunk shares with a query add up to its sparse score:
        they say which token contributes what.
        """

    def size_warning(self, name: str) -> str | None:
        """Return what to tell a user whose collection has outgrown this store, if it has."""

    def close(self) -> None:
        """Let go of the store. Again: nothing."""
