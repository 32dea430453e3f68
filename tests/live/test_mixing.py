"""A text's representations do not depend on what else is in the request or in flight."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from texts import load_texts, long_text

from bgem3_client import Client, Embeddings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

ALL = {"dense", "sparse", "colbert"}
TEXTS = load_texts()[:96]


def assert_same(expected: Embeddings, actual: Embeddings) -> None:
    """All three representations are equal to 1e-5."""
    np.testing.assert_allclose(actual.dense, expected.dense, atol=1e-5)
    for wanted, found in zip(expected.sparse, actual.sparse, strict=True):
        np.testing.assert_array_equal(found.indices, wanted.indices)
        np.testing.assert_allclose(found.values, wanted.values, atol=1e-5)
    for wanted, found in zip(expected.colbert, actual.colbert, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.fixture(scope="module")
def alone(client: Client) -> list[Embeddings]:
    """Every text in a request of its own, one after the other."""
    return [client.encode([text], ALL) for text in TEXTS]


def test_together_equals_alone(client: Client, alone: list[Embeddings]) -> None:
    together = client.encode(TEXTS, ALL)

    for number, expected in enumerate(alone):
        assert_same(expected, together[number : number + 1])


def test_shuffled_equals_alone(client: Client, alone: list[Embeddings]) -> None:
    order = random.Random(1).sample(range(len(TEXTS)), len(TEXTS))
    shuffled = client.encode([TEXTS[number] for number in order], ALL)

    for position, number in enumerate(order):
        assert_same(alone[number], shuffled[position : position + 1])


def test_split_over_32_clients_beside_a_long_text_equals_alone(
    triton: Addresses, alone: list[Embeddings]
) -> None:
    """32 connections at once, while a text of 8,192 tokens is in flight."""

    def encode(numbers: list[int]) -> Embeddings:
        with Client(triton.grpc) as client:
            return client.encode([TEXTS[number] for number in numbers], ALL)

    parts = [list(range(first, len(TEXTS), 32)) for first in range(32)]
    with ThreadPoolExecutor(33) as pool, Client(triton.grpc) as other:
        long = pool.submit(other.encode, [long_text(8192)], ALL)
        results = list(pool.map(encode, parts))

        assert long.result().token_lengths.tolist() == [8192]
    for numbers, result in zip(parts, results, strict=True):
        for position, number in enumerate(numbers):
            assert_same(alone[number], result[position : position + 1])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(numbers=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=8))
def test_any_small_batch_equals_alone(
    client: Client, alone: list[Embeddings], numbers: list[int]
) -> None:
    batch = client.encode([TEXTS[number] for number in numbers], ALL)

    for position, number in enumerate(numbers):
        assert_same(alone[number], batch[position : position + 1])
