"""``Searcher``: candidates, their scores, one score, and what is said when it cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from memory_store import MemoryStore
from search_texts import COLLECTION, fill, stored

from bgem3_client import (
    Client,
    FakeTransport,
    InternalServerError,
    InvalidInputError,
    colbert_score,
    dense_score,
    lexical_score,
)
from bgem3_client.sparse import SparseEmbedding, SparseEmbeddings
from bgem3_retrieval.errors import CollectionMismatchError, CollectionNotFoundError, StoreError
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.query import Condition, QueryVectors, Representation

TEXTS = [
    "how to reset a lost password",
    "the weather is fine today",
    "reset the pump AX-4711 before use",
    "a password must have twelve letters",
    "annual leave can be carried over",
]
QUERY = "reset my password"


@pytest.fixture
def searcher(fake_client: Client, memory: MemoryStore) -> Searcher:
    """Over five passages, ``a`` to ``e``."""
    fill(
        memory,
        fake_client,
        TEXTS,
        metadata=[{"language": "en", "year": 2000 + number} for number in range(5)],
    )
    return Searcher(fake_client, memory)


def sources(hits: Sequence[Any]) -> list[str]:
    """The documents of hits, in order."""
    return [hit.stored.chunk.source for hit in hits]


def test_every_hit_has_every_score(searcher: Searcher, fake_client: Client) -> None:
    """As the client's own functions compute them from the texts."""
    hits = searcher.search(COLLECTION, QUERY).hits
    query, *passages = fake_client.encode(
        [QUERY, *(hit.stored.chunk.text for hit in hits)], {"dense", "sparse", "colbert"}
    )

    assert len(TEXTS) == len(hits)
    for hit, passage in zip(hits, passages, strict=True):
        assert hit.scores == pytest.approx(
            {
                "dense": dense_score(query.dense, passage.dense),
                "sparse": lexical_score(query.sparse, passage.sparse),
                "colbert": colbert_score(query.colbert, passage.colbert),
            },
            abs=1e-6,
        )


def test_default_is_weighted_and_re_ranked(searcher: Searcher) -> None:
    """Half of the score is ColBERT's, the other is 70% dense and 30% sparse."""
    result = searcher.search(COLLECTION, QUERY)

    assert 5 == result.candidates == result.reranked
    assert [1, 2, 3, 4, 5] == [hit.rank for hit in result.hits]
    for hit in result.hits:
        dense, sparse, colbert = (hit.scores[name] for name in ("dense", "sparse", "colbert"))
        assert pytest.approx(0.35 * dense + 0.15 * sparse + 0.5 * colbert) == hit.score
        assert pytest.approx(hit.score) == sum(part.amount for part in hit.parts.values())
    assert sorted(result.hits, key=lambda hit: -hit.score) == list(result.hits)


def test_weights_as_compute_score_has_them(searcher: Searcher, fake_client: Client) -> None:
    """Without re-ranking the score is FlagEmbedding's ``sparse+dense``."""
    hits = searcher.search(COLLECTION, QUERY, SearchOptions(rerank=False)).hits
    expected = fake_client.compute_score(
        [(QUERY, hit.stored.chunk.text) for hit in hits], weights=(0.7, 0.3, 0)
    )["sparse+dense"]

    assert pytest.approx(expected) == [hit.score for hit in hits]


def test_reciprocal_rank_fusion(searcher: Searcher) -> None:
    """The sum of 1 / (60 + rank) by dense and, where a token is shared, by sparse."""
    result = searcher.search(COLLECTION, QUERY, SearchOptions(fusion="rrf", rerank=False))

    assert 0 == result.reranked
    for hit in result.hits:
        expected = sum(
            1 / (60 + hit.ranks[name]) for name in ("dense", "sparse") if name in hit.ranks
        )
        assert pytest.approx(expected) == hit.score
    assert {"sparse"} == set(result.hits[0].ranks) - {"dense", "colbert"}
    assert "sparse" not in result.hits[-1].ranks


def test_reciprocal_ranks_are_of_what_was_found(searcher: Searcher) -> None:
    """Who was not among the candidates of a representation gets nothing by it."""
    options = SearchOptions(limit=1, candidates=1, fusion="rrf", rerank=False)
    both = searcher.search(COLLECTION, "weather password leave", options)
    (hit,) = both.hits

    assert 2 == both.candidates
    assert {"dense", "sparse"} == set(hit.ranks)
    assert pytest.approx(1 / 61) == hit.score
    assert {0.0, 1 / 61} == {part.value for part in hit.parts.values()}


@pytest.mark.parametrize("mode", ["dense", "sparse", "colbert"])
def test_one_representation_alone(searcher: Searcher, mode: Representation) -> None:
    """The score is that of the representation, and the order its order."""
    result = searcher.search(COLLECTION, QUERY, SearchOptions(mode=mode, normalization="minmax"))
    scores = [hit.scores[mode] for hit in result.hits]

    assert scores == [hit.score for hit in result.hits] == sorted(scores, reverse=True)
    assert list(range(1, len(scores) + 1)) == [hit.ranks[mode] for hit in result.hits]
    assert (3 if mode == "sparse" else 5) == len(scores)


def test_colbert_alone_orders_what_hybrid_finds(searcher: Searcher) -> None:
    """Its share may be all of the score."""
    whole = searcher.search(COLLECTION, QUERY, SearchOptions(colbert_weight=1.0))
    colbert = searcher.search(COLLECTION, QUERY, SearchOptions(mode="colbert"))

    assert [hit.score for hit in colbert.hits] == pytest.approx([hit.score for hit in whole.hits])
    assert sources(colbert.hits) == sources(whole.hits)


def test_only_the_best_are_re_ranked(searcher: Searcher) -> None:
    """What is not among them is no hit: its score is another."""
    first = searcher.search(COLLECTION, QUERY, SearchOptions(rerank=False)).hits
    result = searcher.search(
        COLLECTION, QUERY, SearchOptions(limit=2, rerank_candidates=2, colbert_weight=1.0)
    )

    assert 2 == result.reranked
    assert set(sources(first[:2])) == set(sources(result.hits))


def test_nothing_is_asked_for_that_nobody_needs(
    searcher: Searcher,
    transport: FakeTransport,
    memory: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dense alone asks for no ColBERT vectors, and once of the store."""
    monkeypatch.setattr(memory, "scores", None)
    searcher.search(COLLECTION, QUERY, SearchOptions(mode="dense"))
    names = {tensor.name for tensor in transport.requests[-1].outputs}

    assert {"dense", "sparse_indices", "tokens"} <= names
    assert "colbert" not in names


def test_equal_scores_are_in_the_order_of_their_sources(
    fake_client: Client, memory: MemoryStore
) -> None:
    """The same question has the same answer."""
    fill(memory, fake_client, ["same words", "other thing", "same words", "same words"])
    hits = Searcher(fake_client, memory).search(COLLECTION, "same words").hits

    assert ["a", "c", "d", "b"] == sources(hits)
    assert [1, 1, 1, 4] == [hit.ranks["dense"] for hit in hits]


def test_limit_conditions_and_least_score(searcher: Searcher) -> None:
    """All three leave out hits."""

    def found(**options: Any) -> list[str]:
        return sources(searcher.search(COLLECTION, QUERY, SearchOptions(**options)).hits)

    everything = found()
    assert everything[:2] == found(limit=2)
    assert {"d", "e"} == set(found(where=(Condition("year", ">=", 2003),)))
    assert [] == found(where=(Condition("year", ">=", 2003), Condition("source", "==", "a")))
    least = searcher.search(COLLECTION, QUERY).hits[1].score
    assert everything[:2] == found(min_score=least)


def test_a_condition_without_sense_is_the_callers_mistake(searcher: Searcher) -> None:
    """The store says what is wrong with it."""
    with pytest.raises(InvalidInputError):
        searcher.search(COLLECTION, QUERY, SearchOptions(where=(Condition("language", "<", "zh"),)))


def test_marks_are_where_the_words_are(searcher: Searcher) -> None:
    """And there are none without a common token."""
    hits = {hit.stored.chunk.source: hit for hit in searcher.search(COLLECTION, QUERY).hits}

    def words(source: str) -> list[str]:
        text = hits[source].stored.chunk.text
        return [text[mark.begin : mark.end] for mark in hits[source].marks]

    assert ["reset", "password"] == words("a")
    assert ["password"] == words("d")
    assert [] == words("e")
    assert hits["a"].tokens is None


def test_what_reads_alike_is_not_marked_without_a_common_token(
    searcher: Searcher, fake_client: Client, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passage's own weights know better: ``▁reset`` and ``reset`` are two tokens."""
    weather = fake_client.encode(["weather password"], {"sparse"})[0].sparse
    monkeypatch.setattr(memory, "lexical_weights", lambda name, ids: dict.fromkeys(ids, weather))
    first = searcher.search(COLLECTION, QUERY).hits[0]

    assert TEXTS[0] == first.stored.chunk.text
    assert ["password"] == [TEXTS[0][mark.begin : mark.end] for mark in first.marks]


@pytest.mark.parametrize("explain", [False, True])
def test_words_are_marked_with_one_question(
    searcher: Searcher, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch, explain: bool
) -> None:
    """About the hits alone, however many words the query has."""
    asked: list[Sequence[UUID]] = []
    lexical_weights = memory.lexical_weights

    def noted(name: str, ids: Sequence[UUID]) -> Mapping[UUID, SparseEmbedding]:
        asked.append(ids)
        return lexical_weights(name, ids)

    monkeypatch.setattr(memory, "lexical_weights", noted)
    hits = searcher.search(COLLECTION, QUERY, SearchOptions(limit=2, explain=explain)).hits

    assert [[hit.id for hit in hits]] == asked


def test_explained_tokens_sum_up_to_the_sparse_score(searcher: Searcher) -> None:
    """Each is the product of its two weights; the weightiest is first."""
    result = searcher.search(COLLECTION, QUERY, SearchOptions(mode="dense", explain=True))
    first = result.hits[0]

    assert {"dense", "sparse", "colbert"} == set(first.scores)
    assert {"dense"} == set(first.parts)
    for hit in result.hits:
        assert hit.tokens is not None
        contributions = [token.contribution for token in hit.tokens]
        assert pytest.approx(hit.scores["sparse"], abs=1e-6) == sum(contributions)
        assert sorted(contributions, reverse=True) == contributions
    tokens = first.tokens or ()
    assert {"reset", "password"} == {token.text for token in tokens}
    assert sum(mark.weight for mark in first.marks) == pytest.approx(first.scores["sparse"])


def test_many_queries_are_encoded_together(searcher: Searcher, transport: FakeTransport) -> None:
    """Each answer is what the query alone would get."""
    queries = [QUERY, "annual leave", "pump", *(f"word {number}" for number in range(70))]
    asked = len(transport.requests)
    results = searcher.search_many(COLLECTION, queries)

    assert 3 > len(transport.requests) - asked
    assert queries == [result.query for result in results]
    alone = searcher.search(COLLECTION, "annual leave")
    assert [(hit.id, hit.score) for hit in alone.hits] == [
        (hit.id, hit.score) for hit in results[1].hits
    ]
    assert [] == searcher.search_many(COLLECTION, [])


def test_timings_cover_the_stages(searcher: Searcher) -> None:
    """Every stage takes some time, and all of them no more than the whole."""
    timings = searcher.search(COLLECTION, QUERY).timings
    stages = (
        timings.encode_seconds,
        timings.candidates_seconds,
        timings.scores_seconds,
        timings.fuse_seconds,
    )

    assert min(stages) > 0
    assert sum(stages) <= timings.total_seconds


@pytest.mark.parametrize("query", ["", " \n\t"])
def test_an_empty_query_is_refused(searcher: Searcher, query: str) -> None:
    """With its place among the queries."""
    with pytest.raises(InvalidInputError, match="the query is empty") as caught:
        searcher.search_many(COLLECTION, ["fine"] * 65 + [query])

    assert 65 == caught.value.index


def test_a_query_that_is_too_long_is_refused(searcher: Searcher) -> None:
    """It is not searched for by its beginning."""
    with pytest.raises(InvalidInputError, match="more than 8,192 tokens"):
        searcher.search(COLLECTION, "word " * 8191)

    assert searcher.search(COLLECTION, "word " * 8190).hits


def test_a_query_without_weights_finds_by_dense(
    searcher: Searcher, fake_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text whose tokens have no weight shares none; alone, sparse finds nothing."""
    encode = fake_client.encode

    def weightless(*arguments: Any, **keywords: Any) -> Any:
        embeddings = encode(*arguments, **keywords)
        sparse = embeddings.parts.sparse
        assert sparse is not None
        nothing = SparseEmbeddings(
            sparse.indices[:0], sparse.values[:0], np.array([0, 0]), sparse.token_texts
        )
        return replace(embeddings, parts=replace(embeddings.parts, sparse=nothing))

    monkeypatch.setattr(fake_client, "encode", weightless)
    hybrid = searcher.search(COLLECTION, "?").hits
    sparse = searcher.search(COLLECTION, "?", SearchOptions(mode="sparse"))

    assert [0.0] * 5 == [hit.scores["sparse"] for hit in hybrid]
    assert () == sparse.hits


def test_a_collection_without_colbert_is_not_re_ranked(
    fake_client: Client, memory: MemoryStore
) -> None:
    """Unless it is asked for: then that is said."""
    fill(memory, fake_client, TEXTS, colbert="none")
    searcher = Searcher(fake_client, memory)
    result = searcher.search(COLLECTION, QUERY, SearchOptions(explain=True))

    assert 0 == result.reranked
    assert {"dense", "sparse"} == set(result.hits[0].scores)
    for options in (SearchOptions(rerank=True), SearchOptions(mode="colbert")):
        with pytest.raises(InvalidInputError, match="'notes' keeps no ColBERT vectors"):
            searcher.search(COLLECTION, QUERY, options)


def test_an_unknown_collection_names_its_neighbours(
    searcher: Searcher, fake_client: Client, memory: MemoryStore
) -> None:
    """Names that read alike, or else those that there are."""
    fill(memory, fake_client, [], name="Handbook")

    for name, hint in (
        ("note", r"did you mean notes\?"),
        ("handbok", r"did you mean Handbook\?"),
        ("zzz", "it has Handbook, notes"),
    ):
        with pytest.raises(CollectionNotFoundError, match=hint):
            searcher.search(name, QUERY)
    with pytest.raises(CollectionNotFoundError, match="no collection yet"):
        Searcher(fake_client, MemoryStore()).search("notes", QUERY)


def test_another_model_is_not_compared_with(searcher: Searcher, memory: MemoryStore) -> None:
    """The message has both, and what to do; the right server is then found right."""
    with Client(transport=FakeTransport(hidden_size=8)) as other:
        stranger = Searcher(other, memory)
        with pytest.raises(CollectionMismatchError) as caught:
            stranger.search(COLLECTION, QUERY)

    assert "(dense 16, ColBERT 16), and the server has 'bge_m3' (dense 8, ColBERT 16)" in str(
        caught.value
    )
    assert searcher.search(COLLECTION, QUERY).hits


def test_a_server_that_changes_its_model_is_noticed(
    fake_client: Client, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of another size are not sent to the store; the model is asked for again."""
    fill(memory, fake_client, TEXTS)
    searcher = Searcher(fake_client, memory)
    searcher.search(COLLECTION, QUERY)
    with Client(transport=FakeTransport(hidden_size=8)) as other:
        monkeypatch.setattr(fake_client, "encode", other.encode)
        with pytest.raises(CollectionMismatchError, match="dense 8"):
            searcher.search(COLLECTION, QUERY)
        fill(memory, other, TEXTS, name="anew")
        monkeypatch.setattr(fake_client, "model_info", other.model_info)
        assert searcher.search("anew", QUERY).hits


def test_an_empty_collection_has_no_hits(fake_client: Client, memory: MemoryStore) -> None:
    """That is an answer, and no error."""
    fill(memory, fake_client, [])
    result = Searcher(fake_client, memory).search(COLLECTION, QUERY, SearchOptions(explain=True))

    assert ((), 0, 0) == (result.hits, result.candidates, result.reranked)


def test_a_chunk_that_goes_in_between_is_no_hit(
    searcher: Searcher, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index run may remove a chunk while a search has found it."""
    scores = memory.scores

    def forgetful(
        name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> Mapping[UUID, Mapping[Representation, float]]:
        gone = stored("a", TEXTS[0]).id
        return {key: value for key, value in scores(name, query, ids).items() if key != gone}

    monkeypatch.setattr(memory, "scores", forgetful)

    assert {"b", "c", "d", "e"} == set(sources(searcher.search(COLLECTION, QUERY).hits))


def test_failures_of_server_and_store_are_their_own(
    searcher: Searcher, memory: MemoryStore, fake_client: Client
) -> None:
    """A user can do nothing about them, and reads what they say."""
    with (
        Client(transport=FakeTransport(script=[InternalServerError("broken")])) as broken,
        pytest.raises(InternalServerError, match="broken"),
    ):
        Searcher(broken, memory).search(COLLECTION, QUERY)
    memory.close()
    with pytest.raises(StoreError):
        searcher.search(COLLECTION, QUERY)
