"""Scores, held against FlagEmbedding's definitions."""

from __future__ import annotations

import asyncio
import math
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgem3_client import (
    AsyncClient,
    Client,
    FakeTransport,
    InvalidInputError,
    SparseEmbedding,
    colbert_score,
    dense_score,
    lexical_score,
)
from bgem3_client.encode_request import ALL_OUTPUTS
from bgem3_client.pair_scores import score_pairs

weights_by_id = st.dictionaries(
    st.integers(0, 12), st.floats(0.0078125, 2.0, width=32), max_size=10
)


def sparse(weights):
    """Return the embedding with these weights by id."""
    return SparseEmbedding(
        np.array(list(weights), dtype=np.int32), np.array(list(weights.values()), dtype=np.float32)
    )


@given(weights_by_id, weights_by_id)
def test_lexical_score_is_the_sum_over_shared_ids(query, passage):
    """As `compute_lexical_matching_score`: products of the weights of shared ids; any order."""
    expected = sum(weight * passage[key] for key, weight in query.items() if key in passage)

    assert expected == pytest.approx(lexical_score(sparse(query), sparse(passage)))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_colbert_score_is_the_mean_best_match(query_tokens, passage_tokens, seed):
    """As `M3Embedder.colbert_score`: einsum, maximum over the passage, sum by query tokens."""
    random = np.random.default_rng(seed)
    query = random.standard_normal((query_tokens, 8)).astype(np.float32)
    passage = random.standard_normal((passage_tokens, 8)).astype(np.float32)
    expected = np.einsum("in,jn->ij", query, passage).max(-1).sum() / query_tokens

    assert expected == pytest.approx(colbert_score(query, passage), abs=1e-5)


def test_colbert_score_of_long_texts_is_cut_without_a_seam():
    """A query of more rows than are compared at once scores as a whole."""
    random = np.random.default_rng(0)
    query = random.standard_normal((2500, 4)).astype(np.float32)
    passage = random.standard_normal((30, 4)).astype(np.float32)

    assert (query @ passage.T).max(axis=1).mean() == pytest.approx(
        colbert_score(query, passage), rel=1e-5
    )


def test_colbert_score_of_half_precision_is_computed_in_single():
    """FP16 vectors do not make an FP16 sum: 4,000 ones add up."""
    ones = np.ones((4000, 1), dtype=np.float16)

    assert 1.0 == colbert_score(ones, ones)


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones(3), np.ones((2, 3))),
        (np.ones((0, 3)), np.ones((2, 3))),
        (np.ones((2, 3)), np.ones((0, 3))),
    ],
)
def test_colbert_score_needs_two_matrices(query, passage):
    """Widths must agree, and a text without vectors has no score."""
    with pytest.raises(InvalidInputError, match="colbert_score"):
        colbert_score(query, passage)


def test_dense_score_is_the_dot_product():
    """Of two vectors; a matrix is an error that shows the right form."""
    query, passage = np.array([0.6, 0.8], np.float32), np.array([1.0, 0.0], np.float32)

    assert pytest.approx(0.6) == dense_score(query, passage)
    with pytest.raises(InvalidInputError, match=r"query @ passage\.T"):
        dense_score(query[np.newaxis], passage[np.newaxis])


def scores_one_by_one(pairs, weights):
    """The definition: FlagEmbedding's `compute_score_single_device` without batches."""
    scores = {}
    with Client(transport=FakeTransport()) as client:
        for query, passage in pairs:
            both = client.encode([query, passage], {"dense", "sparse", "colbert"})
            dense = float(both.dense[0] @ both.dense[1])
            lexical = lexical_score(*both.sparse)
            colbert = colbert_score(*both.colbert)
            row = {
                "colbert": colbert,
                "sparse": lexical,
                "dense": dense,
                "sparse+dense": (lexical * weights[1] + dense * weights[0])
                / (weights[1] + weights[0]),
                "colbert+sparse+dense": (
                    colbert * weights[2] + lexical * weights[1] + dense * weights[0]
                )
                / sum(weights),
            }
            for name, score in row.items():
                scores.setdefault(name, []).append(score)
    return scores


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.4, 0.2, 0.4), (1, 0, 3)])
def test_compute_score_has_the_five_scores_of_flag_embedding(weights):
    """Names, order of weights and divisors are FlagEmbedding's, for more pairs than a block."""
    pairs = [(f"query {n % 7}", f"passage {n % 50} query {n % 3}") for n in range(150)]

    with Client(transport=FakeTransport()) as client:
        scores = client.compute_score(pairs, weights)

    expected = scores_one_by_one(pairs, weights)
    assert list(expected) == list(scores)
    for name, values in expected.items():
        assert values == pytest.approx(scores[name], abs=1e-6)


def test_each_distinct_text_is_encoded_once():
    """A query against many passages is one text; also when it comes back blocks later."""
    transport = FakeTransport()
    pairs = [("query", f"passage {n}") for n in range(200)] + [("query", "passage 0")]
    with Client(transport=transport) as client:
        client.compute_score(pairs)

    sent = sorted(text for request in transport.requests for text in request.texts)
    assert sorted({text.encode() for pair in pairs for text in pair}) == sent


def test_representations_are_dropped_after_their_last_pair():
    """Ten times the passages take no more memory: their vectors, 20 MB, are not kept."""

    def peak_bytes(pairs):
        transport = FakeTransport(colbert_size=1024)
        with Client(transport=transport) as client:
            tracemalloc.start()
            try:
                client.compute_score([("query", f"passage {n}") for n in range(pairs)])
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert peak_bytes(1280) < 1.5 * peak_bytes(128)


def test_text_that_stays_does_not_keep_its_block():
    """Of a block that was encoded together, only the query's own vectors outlive it."""
    owners = []
    most_alive = 0

    async def run():
        async with AsyncClient(transport=FakeTransport()) as client:

            async def encode(texts, max_length):
                nonlocal most_alive
                embeddings = await client.encode(texts, ALL_OUTPUTS)
                vectors = embeddings.colbert.vectors
                owners.append(weakref.ref(vectors if vectors.base is None else vectors.base))
                most_alive = max(most_alive, sum(owner() is not None for owner in owners))
                return embeddings

            pairs = [("query", f"passage {n}") for n in range(600)]
            await score_pairs(
                pairs, (1, 1, 1), encode, max_query_length=512, max_passage_length=512
            )

    asyncio.run(run())

    assert 10 == len(owners)
    assert most_alive <= 2


def test_queries_and_passages_have_lengths_of_their_own():
    """A text that is both is encoded for each length."""
    transport = FakeTransport()
    with Client(transport=transport) as client:
        client.compute_score([("a b c d", "a b c d")], max_query_length=3, max_passage_length=4)

    assert [3, 4] == sorted(request.parameters["max_length"] for request in transport.requests)


def test_weights_that_cancel_give_nan():
    """As in FlagEmbedding, `sparse+dense` without both is nothing by nothing."""
    with Client(transport=FakeTransport()) as client:
        scores = client.compute_score([("a", "b")], (0, 0, 1))

    assert math.isnan(scores["sparse+dense"][0])
    assert scores["colbert"] == scores["colbert+sparse+dense"]


@pytest.mark.parametrize(
    ("pairs", "weights", "words", "index"),
    [
        (("query", "passage"), (1, 1, 1), r"\[\(query, passage\)\]", None),
        ("query", (1, 1, 1), r"\[\(query, passage\)\]", None),
        ([("a", "b"), ("a",)], (1, 1, 1), "two strings", 1),
        ([("a", None)], (1, 1, 1), "two strings", 0),
        ([("a", "b")], (1, 1), "three numbers", None),
        ([("a", "b")], (1, 1, math.inf), "three numbers", None),
    ],
)
def test_wrong_pairs_are_named(pairs, weights, words, index):
    """The message shows the right form, `index` names the pair."""
    with (
        Client(transport=FakeTransport()) as client,
        pytest.raises(InvalidInputError, match=words) as caught,
    ):
        client.compute_score(pairs, weights)

    assert index == caught.value.index


def test_no_pairs_have_no_scores():
    """Five empty lists."""
    with Client(transport=FakeTransport()) as client:
        assert [[]] * 5 == list(client.compute_score([]).values())
