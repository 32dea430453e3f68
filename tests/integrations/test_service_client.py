"""Our own client through the service, against the same client at Triton's gRPC port."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from texts import load_texts, long_text

from bgem3_client import Client
from bgem3_retrieval.bulk.command import encode

ALL = {"dense", "sparse", "colbert"}


@pytest.fixture(scope="module")
def service_client(keyed_service_url, key):
    """A client of the service with keys."""
    url = keyed_service_url.replace("http://", "bgem3://")
    with Client(url, headers={"authorization": f"Bearer {key}"}) as client:
        yield client


def test_numbers_are_triton_s(service_client, client):
    """All outputs and all tokens of ordinary and of strange texts."""
    texts = load_texts()[:60]

    expected = client.encode(texts, ALL, return_tokens=True)
    received = service_client.encode(texts, ALL, return_tokens=True)

    np.testing.assert_allclose(expected.dense, received.dense, atol=1e-5)
    np.testing.assert_allclose(expected.colbert.vectors, received.colbert.vectors, atol=1e-5)
    assert expected.tokens == received.tokens
    assert expected.token_lengths.tolist() == received.token_lengths.tolist()
    for wanted, given in zip(expected.sparse, received.sparse, strict=True):
        assert wanted.tokens() == pytest.approx(given.tokens(), abs=1e-5)
    assert expected.model_version == received.model_version


def test_scores_are_triton_s(service_client, client):
    """`compute_score` is built on `encode`, and goes the same way."""
    pairs = [("如何重置密码", "密码忘了怎么办"), ("reset password", "The weather is fine")]

    expected = client.compute_score(pairs, (0.4, 0.2, 0.4))
    received = service_client.compute_score(pairs, (0.4, 0.2, 0.4))

    assert expected.keys() == received.keys()
    for name, scores in expected.items():
        assert scores == pytest.approx(received[name], abs=1e-5)


def test_long_text_in_half_precision_comes_whole(service_client, client):
    """Megabytes of ColBERT vectors, and the text that was cut is named."""
    texts = [long_text(600), "short"]

    expected = client.encode(texts, {"colbert"}, max_length=512, colbert_dtype="float16")
    received = service_client.encode(texts, {"colbert"}, max_length=512, colbert_dtype="float16")

    assert [True, False] == received.truncated.tolist()
    assert expected.colbert.vectors.dtype == received.colbert.vectors.dtype
    np.testing.assert_allclose(
        expected.colbert.vectors.astype(np.float32),
        received.colbert.vectors.astype(np.float32),
        atol=1e-3,
    )


def test_bulk_command_goes_through_the_service(service_url, tmp_path):
    """`bgem3 encode --url bgem3://...` writes what it writes from Triton."""
    texts, output = tmp_path / "texts.txt", tmp_path / "out.npz"
    texts.write_text("如何重置密码\na text\n")
    url = service_url.replace("http://", "bgem3://")

    result = CliRunner().invoke(encode, [str(texts), "--url", url, "--output", str(output)])

    assert 0 == result.exit_code, result.output
    with np.load(output) as archive:
        assert 2 == len(archive["dense"])
