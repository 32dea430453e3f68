"""The client gives the same over gRPC, over HTTP and through shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bgem3_client import Client, Embeddings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

ALL = {"dense", "sparse", "colbert"}
TEXTS = ["如何重置微信支付密码", "", "How do I reset my WeChat Pay password?", "<mask>", "🙂"]


@pytest.fixture(scope="module")
def expected(client: Client) -> Embeddings:
    """By gRPC."""
    return client.encode(TEXTS, ALL, return_tokens=True)


@pytest.mark.parametrize(
    ("protocol", "shared_memory_bytes"), [("http", 0), ("grpc", 2**22), ("http", 2**22)]
)
def test_every_way_gives_the_same(
    triton: Addresses, expected: Embeddings, protocol: str, shared_memory_bytes: int
) -> None:
    """To the bit, and nothing is left in shared memory."""
    url = {"http": triton.http, "grpc": triton.grpc}[protocol]
    with Client(url, shared_memory_bytes=shared_memory_bytes) as client:
        actual = client.encode(TEXTS, ALL, return_tokens=True)
        vectors = actual.colbert.vectors.copy()

    np.testing.assert_array_equal(actual.dense, expected.dense)
    np.testing.assert_array_equal(vectors, expected.colbert.vectors)
    for wanted, found in zip(expected.sparse, actual.sparse, strict=True):
        assert wanted.tokens() == found.tokens()
    assert [list(row) for row in expected.tokens] == [list(row) for row in actual.tokens]
    assert not list(Path("/dev/shm").glob(f"bgem3-{os.getpid()}-*"))


def test_odd_texts_come_through(client: Client) -> None:
    """NUL, controls, right-to-left, combining marks, a million times one character."""
    texts = ["a\0b", "\x01\x02", "שלום \u202eabc", "e\u0301\u0302\u0303", "x" * 1_000_000]
    embeddings = client.encode(texts, {"dense"})

    assert np.isfinite(embeddings.dense).all()
    assert embeddings.truncated.tolist() == [False, False, False, False, True]
