"""The CPU trunk in each of its engines, through the server, beside the one that is exact."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from live_server import live_triton
from texts import load_texts, long_text

from bgem3_backend.trunk.processor import BF16_FEATURES, processor_features
from bgem3_client import Client, Embeddings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

ALL = {"dense", "sparse", "colbert"}
TEXTS = [*load_texts(), long_text(1500, "zh"), long_text(700, "en")]


@dataclass(frozen=True)
class Tolerance:
    """How far an engine may be from the exact one.

    Attributes:
        dense: The smallest cosine of a text's dense vector.
        dense_mean: The mean over the texts.
        token: The mean cosine of a text's token vectors; a single token can be further off.
        weight: The largest difference of a lexical weight, as a share of the text's largest.
    """

    dense: float
    dense_mean: float
    token: float
    weight: float


# FP32 engines differ by rounding alone. In BF16 texts of one odd character are the worst.
TOLERANCES = {
    "onnxruntime-fp32": Tolerance(0.999999, 0.999999, 0.999999, 1e-4),
    "openvino-bf16": Tolerance(0.995, 0.9999, 0.99, 0.05),
}
ENGINES = [
    name
    for name in TOLERANCES
    if name != "openvino-bf16" or processor_features().intersection(BF16_FEATURES)
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """An engine that this processor can run; its twin, FP32 in OpenVINO, serves all other tests."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def server(engine: str, demo_repository: Path) -> Iterator[Addresses]:
    """A server whose trunk runs in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BGEM3_TRUNK_ENGINE", engine)
        with live_triton(demo_repository) as addresses:
            yield addresses


@pytest.fixture(scope="module")
def expected(client: Client) -> Embeddings:
    """What the exact engine gives."""
    return client.encode(TEXTS, ALL)


@pytest.fixture(scope="module")
def actual(server: Addresses) -> Embeddings:
    """What this engine gives."""
    with Client(server.grpc) as client:
        return client.encode(TEXTS, ALL)


def cosines(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Of vectors that are normalised: [n, D] to [n]."""
    return (expected * actual).sum(axis=1)


def test_dense_vectors_are_the_same(engine, expected, actual):
    """Within the engine's tolerance: on average, and for every text."""
    found = cosines(expected.dense, actual.dense)

    assert found.mean() >= TOLERANCES[engine].dense_mean
    assert found.min() >= TOLERANCES[engine].dense, TEXTS[found.argmin()]


def test_token_vectors_are_the_same(engine, expected, actual):
    """In every text."""
    for number, (wanted, found) in enumerate(zip(expected.colbert, actual.colbert, strict=True)):
        assert cosines(wanted, found).mean() >= TOLERANCES[engine].token, TEXTS[number]


def test_weights_are_the_same(engine, expected, actual):
    """A token that only one side has weighs next to nothing."""
    for number, (wanted, found) in enumerate(zip(expected.sparse, actual.sparse, strict=True)):
        one, other = wanted.as_dict(), found.as_dict()
        differences = [abs(one.get(i, 0.0) - other.get(i, 0.0)) for i in one.keys() | other.keys()]
        allowed = TOLERANCES[engine].weight * max(one.values(), default=0.0)
        assert max(differences, default=0.0) <= allowed, TEXTS[number]


def test_a_text_alone_equals_itself_among_others(engine, server, actual):
    """Also where the precision is lower: the batch is no part of the answer."""
    with Client(server.grpc) as client:
        for number in range(0, len(TEXTS), 37):
            alone = client.encode([TEXTS[number]], ALL)

            assert cosines(alone.dense, actual.dense[number][None]).min() >= 0.9999
            assert cosines(alone.colbert[0], actual.colbert[number]).mean() >= 0.9999


def test_the_engine_is_in_the_metrics(engine, server):
    """Whoever watches a fleet sees which servers compute in BF16."""
    with urllib.request.urlopen(server.metrics) as answer:
        metrics = answer.read().decode()

    assert f'bgem3_trunk_engine_info{{engine="{engine}",model="bge_m3_trunk",version="' in metrics
