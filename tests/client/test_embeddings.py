"""What `encode` returns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgem3_client import (
    Client,
    Embeddings,
    FakeTransport,
    InvalidInputError,
    Limits,
    UnavailableError,
)
from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Parts
from bgem3_client.hidden_states import HiddenStates
from bgem3_client.ragged import offsets_of
from bgem3_client.sparse import SparseEmbedding, SparseEmbeddings

TEXTS = ["one two three", "", "four five", "one"]
ALL = {"dense", "sparse", "colbert"}


def encode(texts, outputs, **options):
    """Return the fake transport's embeddings."""
    with Client(transport=FakeTransport()) as client:
        return client.encode(texts, outputs, **options)


@given(st.builds(slice, *[st.none() | st.integers(-6, 6)] * 2, st.sampled_from([None, 1, 2, -1])))
def test_slice_is_the_texts_of_a_slice(rows):
    """`embeddings[i:j:k]` has the same rows of everything, as a list would."""
    embeddings = Embeddings(
        np.array([4, 1, 3, 2], dtype=np.int32),
        np.array([True, False, False, True]),
        "1",
        Parts(
            np.arange(8, dtype=np.float32).reshape(4, 2),
            SparseEmbeddings(
                np.arange(6, dtype=np.int32),
                np.arange(6, dtype=np.float32),
                offsets_of(np.array([3, 0, 2, 1])),
            ),
            ColbertEmbeddings(
                np.arange(12, dtype=np.float32).reshape(6, 2), offsets_of(np.array([3, 0, 2, 1]))
            ),
            [["a"], ["b"], ["c"], ["d"]],
            HiddenStates(
                np.arange(20, dtype=np.float32).reshape(10, 2), offsets_of(np.array([4, 1, 3, 2]))
            ),
        ),
    )

    sliced = embeddings[rows]

    expected = list(embeddings)[rows]
    assert len(expected) == len(sliced)
    assert [row.token_length for row in expected] == [row.token_length for row in sliced]
    assert [row.truncated for row in expected] == [row.truncated for row in sliced]
    assert [row.dense.tolist() for row in expected] == sliced.dense.tolist()
    assert [row.sparse.as_dict() for row in expected] == [row.as_dict() for row in sliced.sparse]
    assert [row.colbert.tolist() for row in expected] == [row.tolist() for row in sliced.colbert]
    assert [row.tokens for row in expected] == sliced.tokens
    assert [row.hidden_states.tolist() for row in expected] == [
        row.tolist() for row in sliced.hidden_states
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dense", "outputs={'dense'}"),
        ("sparse", "outputs={'sparse'}"),
        ("colbert", "outputs={'colbert'}"),
        ("tokens", "return_tokens=True"),
        ("hidden_states", "return_hidden_states=True"),
    ],
)
def test_absent_representation_says_how_to_get_it(name, words):
    """Nothing is ever None: what was not asked for is an error, of one text as of all."""
    embeddings = encode(TEXTS, ALL - {name})

    for holder in (embeddings, embeddings[0]):
        with pytest.raises(InvalidInputError) as caught:
            getattr(holder, name)
        assert words in str(caught.value)


def test_colbert_rows_are_views_for_all_tokens_but_the_first():
    """One array holds all vectors; a text of n tokens has n - 1."""
    embeddings = encode(TEXTS, {"colbert"})

    assert [4, 1, 3, 2] == [len(row) for row in embeddings.colbert]
    assert [5, 2, 4, 3] == embeddings.token_lengths.tolist()
    assert all(np.shares_memory(row, embeddings.colbert.vectors) for row in embeddings.colbert)


def test_hidden_states_are_views_for_all_tokens():
    """One array holds all; a text of n tokens has n, over all requests of a call."""
    with Client(transport=FakeTransport(), limits=Limits(max_texts_per_request=3)) as client:
        embeddings = client.encode(TEXTS, return_hidden_states=True)
    states = embeddings.hidden_states

    assert embeddings.token_lengths.tolist() == [len(row) for row in states] == [5, 2, 4, 3]
    assert (14, 16) == states.vectors.shape
    assert np.float32 == states.vectors.dtype
    assert all(np.shares_memory(row, states.vectors) for row in states)
    np.testing.assert_array_equal(states[2], embeddings[2].hidden_states)
    np.testing.assert_array_equal(states[2:][1], states[3])


def test_arrays_are_read_only():
    """Embeddings are frozen, numbers included."""
    embeddings = encode(TEXTS, ALL, return_hidden_states=True)

    for array in (
        embeddings.dense,
        embeddings.colbert[0],
        embeddings.sparse[0].values,
        embeddings.hidden_states[0],
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_index_beyond_the_end_is_an_index_error():
    """A negative index counts from the end; beyond either end is IndexError, as for a list."""
    embeddings = encode(TEXTS, ALL)

    assert embeddings[-1].token_length == embeddings[3].token_length
    for sequence in (embeddings, embeddings.sparse, embeddings.colbert):
        with pytest.raises(IndexError):
            sequence[4]


def test_tokens_of_one_text_share_the_larger_weight():
    """Two ids that read the same are one token, with the larger weight."""
    embedding = SparseEmbedding(
        np.array([7, 8, 9], dtype=np.int32),
        np.array([0.5, 0.25, 0.75], dtype=np.float32),
        {7: "pay", 8: "pay", 9: "reset", 10: "other"},
    )

    assert {"pay": 0.5, "reset": 0.75} == embedding.tokens()
    assert {7: 0.5, 8: 0.25, 9: 0.75} == embedding.as_dict()


def test_tokens_need_to_be_asked_for():
    """Token texts are an output of their own."""
    with pytest.raises(InvalidInputError, match="return_tokens=True"):
        encode(TEXTS, {"sparse"}).sparse[0].tokens()


def test_answers_of_two_versions_do_not_mix():
    """Vectors of two models in one result would be compared: that is an error, worth a retry."""
    part = encode(TEXTS, {"dense"})
    other = Embeddings(part.token_lengths, part.truncated, "2", part.parts)

    with pytest.raises(UnavailableError, match="1, 2"):
        Embeddings.concatenate([part, other])


def test_token_ids_go_with_the_tokens():
    """One for each token's text, in slices and over several requests too."""
    with Client(transport=FakeTransport(), limits=Limits(max_texts_per_request=1)) as client:
        apart = client.encode(TEXTS, {"dense"}, return_tokens=True)
    together = encode(TEXTS, {"dense"}, return_tokens=True)

    assert [len(tokens) for tokens in together.tokens] == [len(ids) for ids in together.token_ids]
    assert [ids.tolist() for ids in together.token_ids] == [ids.tolist() for ids in apart.token_ids]
    assert together.token_ids[2].tolist() == together[2:][0].token_ids.tolist()
    assert {"<s>": 0, "</s>": 2}.items() <= dict(
        zip(together.tokens[0], together.token_ids[0].tolist(), strict=True)
    ).items()
    with pytest.raises(InvalidInputError, match="return_tokens=True"):
        encode(TEXTS, {"dense"}).token_ids  # noqa: B018
    with pytest.raises(ValueError, match="read-only"):
        together.token_ids[0][0] = 1
