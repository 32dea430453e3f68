"""Queries against a collection."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, Protocol

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.embeddings import Embedding, Embeddings
from bgem3_client.encode_request import Output
from bgem3_client.errors import InvalidInputError
from bgem3_client.model_info import ModelInfo
from bgem3_retrieval.errors import CollectionMismatchError, CollectionNotFoundError
from bgem3_retrieval.search.matching import Matching
from bgem3_retrieval.search.names import not_found
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.plan import Plan
from bgem3_retrieval.search.ranking import rank
from bgem3_retrieval.search.result import Hit, SearchResult, Timings
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.query import Candidate, QueryVectors, Representation
from bgem3_retrieval.stores.store import Store

DEFAULT_OPTIONS: Final = SearchOptions()
# A query's ColBERT vectors are 4 KB a token; a block's are dropped before the next is encoded.
_QUERIES_AT_ONCE: Final = 64


class Encoder(Protocol):
    """What a search needs of a client; :class:`bgem3_client.Client` is one."""

    def encode(
        self,
        texts: Sequence[str],
        outputs: Collection[Output],
        *,
        return_tokens: bool,
    ) -> Embeddings:
        """Return the representations of texts, in their order."""

    def model_info(self) -> ModelInfo:
        """Return the model's name and sizes."""


class Searcher:
    """Searches the collections of a store; any thread may call it.

    Both stay the caller's to close:

        with Client("localhost:8001") as client:
            searcher = Searcher(client, open_store("index"))
            for hit in searcher.search("handbook", "annual leave").hits:
                print(hit.score, hit.stored.chunk.text)
    """

    def __init__(self, client: Encoder, store: Store) -> None:
        """Make one; nothing is asked yet.

        Args:
            client: Encodes the queries.
            store: Holds the collections.
        """
        self._client = client
        self._store = store
        self._model: ModelInfo | None = None

    def search(
        self, collection: str, query: str, options: SearchOptions = DEFAULT_OPTIONS
    ) -> SearchResult:
        """Return the chunks that answer a query best.

        Dense and sparse bring the nearest chunks, the store gives every candidate the scores that
        it was not found by, these become one (see :mod:`bgem3_retrieval.search.fusion`), and
        ColBERT orders the best anew. The hits' own lexical weights then say which words
        match. Equal scores are in the order of source and position.

        Args:
            collection: Its name.
            query: A question or some words; 8,192 tokens at most.
            options: How to search.

        Raises:
            InvalidInputError: The query is empty or too long, a condition compares what cannot
                be compared, or ColBERT is asked of a collection without.
            CollectionNotFoundError: There is none of that name.
            CollectionMismatchError: It was made with another model than the server's.
            StoreError: The store failed.
            ServerError: The server failed.
        """
        (result,) = self._search(collection, [query], options)
        return result

    def search_many(
        self, collection: str, queries: Sequence[str], options: SearchOptions = DEFAULT_OPTIONS
    ) -> list[SearchResult]:
        """Return the answer to each query, in order; the server encodes many at once.

        Raises:
            InvalidInputError: As :meth:`search`; ``index`` names the query.
            BgeM3Error: As :meth:`search`.
        """
        results: list[SearchResult] = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = queries[start : start + _QUERIES_AT_ONCE]
            try:
                results.extend(self._search(collection, block, options))
            except InvalidInputError as error:
                if error.index is not None:
                    error.index += start
                raise
        return results

    def _search(
        self, collection: str, queries: Sequence[str], options: SearchOptions
    ) -> Iterator[SearchResult]:
        begun = time.perf_counter()
        for index, query in enumerate(queries):
            _check_query(query, index)
        plan = Plan.of(self._spec(collection), options)
        planned = time.perf_counter()
        embeddings = self._client.encode(list(queries), plan.outputs, return_tokens=True)
        _check_lengths(embeddings)
        _check_sizes(embeddings, plan.spec)
        encoded = time.perf_counter()
        share = 1 / len(queries)
        for query, embedding in zip(queries, embeddings, strict=True):
            asked = time.perf_counter()
            found = self._nearest(plan, embedding)
            found_at = time.perf_counter()
            candidates, scores = self._scores(plan, embedding, found)
            scored_at = time.perf_counter()
            ranking = rank(plan, embedding.sparse, candidates, scores)
            hits = self._marked(plan, query, embedding, ranking.hits)
            done = time.perf_counter()
            timings = Timings(
                encode_seconds=(encoded - planned) * share,
                candidates_seconds=found_at - asked,
                scores_seconds=scored_at - found_at,
                fuse_seconds=done - scored_at,
                total_seconds=(encoded - begun) * share + done - asked,
            )
            yield SearchResult(
                query, collection, hits, len(candidates), ranking.reranked, options, timings
            )

    def _spec(self, collection: str) -> CollectionSpec:
        """Return how the collection was made, if the server's model is the one it was made with."""
        try:
            spec = self._store.spec(collection)
        except CollectionNotFoundError as error:
            raise not_found(self._store, collection) from error
        if self._model is None or not _fits(self._model, spec):
            # Also when it was asked before: a server may come to serve another model.
            self._model = self._client.model_info()
        model = self._model
        if not _fits(model, spec):
            raise _mismatch(spec, model.name, model.hidden_size, model.colbert_size)
        return spec

    def _nearest(self, plan: Plan, embedding: Embedding) -> list[Candidate]:
        options = plan.options
        vectors = _vectors(embedding, options.finds_by)
        if vectors.dense is None and vectors.sparse is None:
            return []
        return self._store.nearest(plan.spec.name, vectors, options.depth, where=options.where)

    def _scores(
        self, plan: Plan, embedding: Embedding, found: list[Candidate]
    ) -> tuple[list[Candidate], list[Mapping[Representation, float]]]:
        """Return the candidates that are still there, and the scores of each."""
        if all(candidate.found_by.keys() >= set(plan.scored) for candidate in found):
            return found, [candidate.found_by for candidate in found]
        vectors = _vectors(embedding, plan.scored)
        by_id = self._store.scores(plan.spec.name, vectors, [candidate.id for candidate in found])
        kept = [candidate for candidate in found if candidate.id in by_id]
        # A query without weights shares none.
        nothing: Mapping[Representation, float] = (
            {"sparse": 0.0} if "sparse" in plan.scored and vectors.sparse is None else {}
        )
        return kept, [{**nothing, **by_id[candidate.id]} for candidate in kept]

    def _marked(
        self, plan: Plan, query: str, embedding: Embedding, hits: Sequence[Hit]
    ) -> tuple[Hit, ...]:
        """Return the hits with what each shares with the query."""
        weights = self._store.lexical_weights(plan.spec.name, [hit.id for hit in hits])
        matching = Matching(query, embedding, explain=plan.options.explain)
        return tuple(matching.marked(hit, weights.get(hit.id)) for hit in hits)


def _vectors(embedding: Embedding, which: Collection[Representation]) -> QueryVectors:
    return QueryVectors(
        embedding.dense if "dense" in which else None,
        embedding.sparse if "sparse" in which and len(embedding.sparse) else None,
        embedding.colbert.astype("float32", copy=False) if "colbert" in which else None,
    )


def _check_query(query: str, index: int) -> None:
    if not isinstance(query, str):
        raise InvalidInputError(
            f"a query must be a str, not {type(query).__name__} ({query!r:.80})", index=index
        )
    if not query.strip():
        raise InvalidInputError("the query is empty: ask with a word at least", index=index)


def _check_lengths(embeddings: Embeddings) -> None:
    for index, truncated in enumerate(embeddings.truncated.tolist()):
        if truncated:
            raise InvalidInputError(
                f"the query has more than {MAX_POSITIONS_TOKENS:,} tokens, the most that the "
                "model reads: shorten it",
                index=index,
            )


def _fits(model: ModelInfo, spec: CollectionSpec) -> bool:
    return (model.name, model.hidden_size, model.colbert_size) == (
        spec.model,
        spec.dense_size,
        spec.colbert_size,
    )


def _check_sizes(embeddings: Embeddings, spec: CollectionSpec) -> None:
    """Notice a server that came to serve another model since it was asked."""
    parts = embeddings.parts
    dense = spec.dense_size if parts.dense is None else parts.dense.shape[1]
    colbert = spec.colbert_size if parts.colbert is None else parts.colbert.vectors.shape[1]
    if (dense, colbert) != (spec.dense_size, spec.colbert_size):
        raise _mismatch(spec, spec.model, dense, colbert)


def _mismatch(
    spec: CollectionSpec, model: str, dense_size: int, colbert_size: int
) -> CollectionMismatchError:
    def described(name: str, dense: int, colbert: int) -> str:
        return f"{name!r} (dense {dense}, ColBERT {colbert})"

    return CollectionMismatchError(
        f"collection {spec.name!r} was made with the model "
        f"{described(spec.model, spec.dense_size, spec.colbert_size)}, and the server has "
        f"{described(model, dense_size, colbert_size)}: their vectors do not go together. Ask "
        "the server that the collection was made with, or index the documents again into "
        "another collection"
    )
