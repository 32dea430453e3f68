"""Through the live server, every representation equals FlagEmbedding's on the same checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from texts import load_records, load_texts, long_text

from bgem3_client import Client, Embeddings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

ALL = {"dense", "sparse", "colbert"}

# Beside the short ones: long texts in several scripts, up to and beyond what the model takes.
LONG_TEXTS = [
    long_text(300, "en"),
    long_text(600, "ar"),
    long_text(1000, "hi"),
    long_text(2000, "ja"),
    long_text(4000, "zh"),
    long_text(9500, "zh", seed=1),
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*load_texts(), *LONG_TEXTS]


@pytest.fixture(scope="module")
def expected(demo_model_directory: Path, texts: list[str]) -> dict[str, Any]:
    """What FlagEmbedding gives."""
    from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(str(demo_model_directory), use_fp16=False, devices="cpu")
    # It pads a batch to its longest text, so the long ones go alone: minutes less.
    short = len(texts) - len(LONG_TEXTS)
    parts = [
        model.encode(
            part,
            batch_size=batch_size,
            max_length=8192,
            return_dense=True,
            return_sparse=True,
            return_colbert_vecs=True,
        )
        for part, batch_size in ((texts[:short], 16), (texts[short:], 1))
    ]
    return {
        "dense_vecs": np.concatenate([part["dense_vecs"] for part in parts]),
        "lexical_weights": [row for part in parts for row in part["lexical_weights"]],
        "colbert_vecs": [row for part in parts for row in part["colbert_vecs"]],
    }


@pytest.fixture(scope="module")
def actual(client: Client, texts: list[str]) -> Embeddings:
    """What the server gives, with the defaults of the client."""
    return client.encode(texts, ALL)


def cosines(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Row by row."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / norms)


def test_the_texts_are_as_varied_as_the_claim(texts: list[str], actual: Embeddings) -> None:
    """300 texts and more, 12 languages and more, from no token of text to 8,192."""
    languages = {record.language for record in load_records()}

    assert len(texts) >= 300
    assert len(languages) >= 12
    assert "" in texts
    assert actual.token_lengths.max() == 8192
    assert actual.token_lengths.min() == 2


def test_dense_equals(expected: dict[str, Any], actual: Embeddings) -> None:
    """Cosine of at least 0.99999."""
    assert cosines(expected["dense_vecs"], actual.dense).min() >= 0.99999


def test_sparse_equals(expected: dict[str, Any], actual: Embeddings) -> None:
    """The same ids, and weights within 1e-4."""
    for number, (weights, sparse) in enumerate(
        zip(expected["lexical_weights"], actual.sparse, strict=True)
    ):
        found = sparse.as_dict()
        wanted = {int(token): float(weight) for token, weight in weights.items()}

        assert wanted.keys() == found.keys(), number
        assert all(abs(wanted[token] - found[token]) <= 1e-4 for token in wanted), number


def test_colbert_equals(expected: dict[str, Any], actual: Embeddings) -> None:
    """The same number of rows, each with a cosine of at least 0.99999."""
    for number, (wanted, found) in enumerate(
        zip(expected["colbert_vecs"], actual.colbert, strict=True)
    ):
        assert wanted.shape == found.shape, number
        assert cosines(wanted, found).min() >= 0.99999, number


@pytest.fixture(scope="module")
def some_texts() -> list[str]:
    """Every twelfth text, and two of some length."""
    return [*load_texts()[::12], *LONG_TEXTS[:2]]


@pytest.fixture(scope="module")
def expected_states(demo_model_directory: Path, some_texts: list[str]) -> list[Any]:
    """The last hidden states of the model that FlagEmbedding runs, each text alone: [t, H]."""
    import torch
    from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(str(demo_model_directory), use_fp16=False, devices="cpu")
    trunk = model.model.model.eval()
    with torch.inference_mode():
        return [
            trunk(**model.tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
            for text in some_texts
        ]


def test_hidden_states_equal(
    expected_states: list[Any], some_texts: list[str], client: Client
) -> None:
    """All tokens, CLS and EOS included: every number within 1e-4."""
    actual = client.encode(some_texts, return_hidden_states=True).hidden_states

    assert len(expected_states) == len(actual) > 20
    for number, (wanted, found) in enumerate(zip(expected_states, actual, strict=True)):
        assert wanted.shape == found.shape, number
        assert np.abs(wanted - found).max() <= 1e-4, number


def test_fp16_hidden_states_are_close_and_full_precision(
    fp16_triton: Addresses, expected_states: list[Any], some_texts: list[str]
) -> None:
    """An FP16 trunk's are answered in FP32 too, with cosines of at least 0.999."""
    with Client(fp16_triton.grpc) as client:
        actual = client.encode(some_texts, return_hidden_states=True).hidden_states

    assert np.float32 == actual.vectors.dtype
    for number, (wanted, found) in enumerate(zip(expected_states, actual, strict=True)):
        assert cosines(wanted, found).min() >= 0.999, number


def test_only_the_overlong_text_is_truncated(actual: Embeddings) -> None:
    """Said for each text, not silently done."""
    assert np.flatnonzero(actual.truncated).tolist() == [len(actual) - 1]


def test_fp16_is_close(fp16_triton: Addresses, texts: list[str], expected: dict[str, Any]) -> None:
    """In FP16, cosines of at least 0.999 and no other token of any weight.

    Of every third text, and of three long ones: a processor is slow at FP16.
    """
    numbers = [
        *range(0, len(texts) - len(LONG_TEXTS), 3),
        *range(len(texts) - len(LONG_TEXTS), len(texts) - 3),
    ]
    with Client(fp16_triton.grpc) as client:
        actual = client.encode([texts[number] for number in numbers], ALL)

    assert cosines(expected["dense_vecs"][numbers], actual.dense).min() >= 0.999
    for number, sparse, colbert in zip(numbers, actual.sparse, actual.colbert, strict=True):
        wanted = {int(i): float(w) for i, w in expected["lexical_weights"][number].items()}
        found = sparse.as_dict()
        differences = [
            abs(wanted.get(token, 0) - found.get(token, 0))
            for token in wanted.keys() | found.keys()
        ]

        assert max(differences, default=0) <= 1e-2, number
        assert cosines(expected["colbert_vecs"][number], colbert).min() >= 0.999, number


def test_scores_equal(demo_model_directory: Path, client: Client) -> None:
    """compute_score gives FlagEmbedding's five scores, weighted or not."""
    from FlagEmbedding import BGEM3FlagModel

    pairs = [
        ("如何重置微信支付密码", "微信支付密码忘了怎么办"),
        ("如何重置微信支付密码", "今天天气很好"),
        ("How do I reset my WeChat Pay password?", "微信支付密码忘了怎么办"),
        ("", "空"),
    ]
    model = BGEM3FlagModel(str(demo_model_directory), use_fp16=False, devices="cpu")

    for weights in ([1 / 3, 1 / 3, 1 / 3], [0.4, 0.2, 0.4]):
        expected = model.compute_score(pairs, weights_for_different_modes=weights)
        actual = client.compute_score(pairs, tuple(weights))

        assert expected.keys() == actual.keys()
        for name in expected:
            np.testing.assert_allclose(actual[name], expected[name], atol=1e-5)
