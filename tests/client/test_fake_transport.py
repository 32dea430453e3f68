"""The fake transport that users test with."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from bgem3_client import (
    Client,
    ClientClosedError,
    FakeTransport,
    InvalidInputError,
    RetryPolicy,
    UnavailableError,
    colbert_score,
)
from bgem3_client.transports import fake


def encode(*texts, transport=None, **options):
    """Return embeddings of the texts, with all outputs."""
    with Client(transport=transport or FakeTransport()) as client:
        return client.encode(list(texts), {"dense", "sparse", "colbert"}, **options)


def test_docstring_example_runs():
    """What the documentation shows is what happens."""
    assert (0, 4) == doctest.testmod(fake)


def test_answers_are_always_the_same_and_of_length_one():
    """No randomness between runs, and vectors as a server's."""
    first, second = encode("one two", ""), encode("one two", "")

    np.testing.assert_array_equal(first.dense, second.dense)
    np.testing.assert_allclose(np.linalg.norm(first.dense, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(first.colbert.vectors, axis=1), 1, rtol=1e-6)


def test_dense_is_the_first_hidden_state_brought_to_length_one():
    """As a model's, also where a text is cut to CLS."""
    for max_length in (8192, 1):
        embeddings = encode("one two", "", max_length=max_length, return_hidden_states=True)
        first = np.stack([states[0] for states in embeddings.hidden_states])

        np.testing.assert_allclose(
            embeddings.dense, first / np.linalg.norm(first, axis=1, keepdims=True), rtol=1e-6
        )


def test_texts_that_share_words_are_alike():
    """A search test has something to find."""
    query, near, far = encode("reset my password", "my password", "sunny weather")

    assert query.dense @ near.dense > query.dense @ far.dense
    assert colbert_score(query.colbert, near.colbert) > colbert_score(query.colbert, far.colbert)
    assert set(query.sparse.as_dict()) & set(near.sparse.as_dict())


def test_max_length_and_truncate_are_honoured():
    """Too long a text is cut, or refused with its index."""
    embeddings = encode("a b", "a b c d", max_length=5, return_tokens=True)

    assert [4, 5] == embeddings.token_lengths.tolist()
    assert [False, True] == embeddings.truncated.tolist()
    assert ["<s>", "a", "b", "c", "</s>"] == embeddings.tokens[1]
    with pytest.raises(InvalidInputError) as caught:
        encode("a b", "a b c d", max_length=5, truncate=False)
    assert 1 == caught.value.index


def test_script_comes_first():
    """One entry a request: an error, a usual answer, an answer of its own."""
    with Client(transport=FakeTransport()) as client:
        client.encode(["elsewhere"])
    transport = FakeTransport(script=[UnavailableError("busy"), None])

    with Client(transport=transport, retries=RetryPolicy(attempts=1)) as client:
        with pytest.raises(UnavailableError):
            client.encode(["a"])
        assert 1 == len(client.encode(["a"]))
        assert 1 == len(client.encode(["a"]))


def test_closed_transport_refuses():
    """As a real one does."""
    transport = FakeTransport()
    client = Client(transport=transport)
    client._thread.run(transport.close())

    with pytest.raises(ClientClosedError):
        client.encode(["a"])
    client.close()
