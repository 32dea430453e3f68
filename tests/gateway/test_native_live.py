"""The service's own dialect in front of a live Triton: the numbers are those of the client."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
from live_service import live_service
from texts import load_texts

from bgem3_client import Client, Embeddings
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

TEXTS = [*load_texts()[::12], "", "Python 报错了怎么办 python Python"]
MODES = ["dense", "sparse", "colbert"]
# A text's batch decides the order of a few additions in FP32.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def expected(client: Client) -> Embeddings:
    """What Triton answers to the client."""
    return client.encode(TEXTS, set(MODES), return_tokens=True)


def embed(service: httpx.Client, **body: Any) -> dict[str, Any]:
    """The answer to a request that is right."""
    answer = service.post("/embed", json={"texts": TEXTS, **body})
    assert 200 == answer.status_code, answer.text
    content: dict[str, Any] = answer.json()
    return content


def close(expected: Any, actual: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether numbers are the same, but for rounding."""
    return bool(np.allclose(expected, np.asarray(actual, np.float32), rtol=0, atol=tolerance))


def test_every_representation_in_json(service: httpx.Client, expected: Embeddings) -> None:
    """Numbers, tokens and lengths."""
    content = embed(service, mode=MODES, return_tokens=True)

    assert "bge-m3-demo" == content["model"]
    assert close(expected.dense, content["embeddings"])
    for vectors, rows in zip(expected.colbert, content["colbert_embeddings"], strict=True):
        assert close(vectors, rows)
    for weights, item in zip(expected.sparse, content["sparse_embeddings"], strict=True):
        assert dict(zip(item["indices"], item["values"], strict=True)) == pytest.approx(
            weights.as_dict(), abs=TOLERANCE
        )
        assert item["lexical_weights"] == pytest.approx(weights.tokens(), abs=TOLERANCE)
    assert expected.tokens == content["tokens"]
    assert [ids.tolist() for ids in expected.token_ids] == content["token_ids"]
    assert expected.token_lengths.tolist() == content["token_lengths"]


def test_token_texts_are_tritons_own(
    service: httpx.Client, triton: Addresses, expected: Embeddings
) -> None:
    """Whether the service has a tokenizer or not, and whether tokens were asked for or not."""
    asked = embed(service, mode="sparse", return_tokens=True)["sparse_embeddings"]
    not_asked = embed(service, mode="sparse")["sparse_embeddings"]
    with (
        live_service(GatewaySettings(triton=triton.grpc)) as url,
        httpx.Client(base_url=url, timeout=60) as without_tokenizer,
    ):
        by_triton = embed(without_tokenizer, mode="sparse")["sparse_embeddings"]

    texts = [sorted(weights.tokens()) for weights in expected.sparse]
    assert texts == [sorted(item["lexical_weights"]) for item in asked]
    assert texts == [sorted(item["lexical_weights"]) for item in not_asked]
    assert texts == [sorted(item["lexical_weights"]) for item in by_triton]


@pytest.mark.parametrize(
    ("encoding", "dtype", "tolerance"),
    [("base64", "<f4", TOLERANCE), ("base64_float16", "<f2", 1e-3)],
)
def test_base64(
    service: httpx.Client, expected: Embeddings, encoding: str, dtype: str, tolerance: float
) -> None:
    """Decodes to the numbers."""
    content = embed(service, mode=["dense", "colbert"], encoding_format=encoding)

    dense = [np.frombuffer(base64.b64decode(item), dtype) for item in content["embeddings"]]
    assert close(expected.dense, dense, tolerance)
    for vectors, item in zip(expected.colbert, content["colbert_embeddings"], strict=True):
        rows = np.frombuffer(base64.b64decode(item["data"]), dtype).reshape(item["shape"])
        assert close(vectors, rows, tolerance)


def test_npz(service: httpx.Client, expected: Embeddings) -> None:
    """NumPy reads it."""
    answer = service.post(
        "/embed", json={"texts": TEXTS, "mode": MODES}, headers={"Accept": "application/x-npz"}
    )
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        assert close(expected.dense, arrays["dense"])
        assert close(expected.colbert.vectors, arrays["colbert"])
        assert np.array_equal(expected.sparse.indices, arrays["sparse_indices"])
        assert close(expected.sparse.values, arrays["sparse_values"])


def test_messagepack(service: httpx.Client, expected: Embeddings) -> None:
    """`msgpack` reads it."""
    answer = service.post(
        "/embed", json={"texts": TEXTS, "mode": MODES}, headers={"Accept": "application/msgpack"}
    )
    dense = msgpack.unpackb(answer.content)["embeddings"]
    vectors = np.frombuffer(dense["data"], dense["dtype"]).reshape(dense["shape"])

    assert close(expected.dense, vectors)


def test_unnormalised_vectors_are_flag_embeddings(
    service: httpx.Client, flag_embedding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of FlagEmbedding's own model without normalisation, on the same checkpoint."""
    monkeypatch.setattr(flag_embedding.model, "normalize_embeddings", False)
    reference = flag_embedding.encode(TEXTS, batch_size=8, max_length=8192)["dense_vecs"]
    actual = np.array(embed(service, normalize=False)["embeddings"], np.float32)

    assert np.linalg.norm(reference, axis=1).min() > 1.5  # not of length 1
    assert np.abs(reference - actual).max() / np.abs(reference).max() < TOLERANCE
