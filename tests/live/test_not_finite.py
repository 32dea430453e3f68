"""A model that gives NaN for some texts: those are answered with an error, all others rightly."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from live.poisoned_model import POISON
from live_service import live_service
from prometheus_client.parser import text_string_to_metric_families

from bgem3_backend.contract import ENSEMBLE, TRUNK
from bgem3_client import Client, NotFiniteError
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

OUTPUTS: list[dict[str, Any]] = [
    {"outputs": {"dense"}},
    {"outputs": {"sparse"}},
    {"outputs": {"colbert"}},
    {"outputs": {"dense", "sparse", "colbert"}},
    {"outputs": {"sparse", "colbert"}, "colbert_dtype": "float16"},
    {"outputs": {"sparse"}, "return_hidden_states": True},
]
GOOD = ["the password", "knock knock", "and", "支付密码 and the password " * 8]


@pytest.fixture(scope="module")
def service(tiny_triton: Addresses, tiny_repository: Path) -> Iterator[str]:
    """The HTTP service in front of it."""
    settings = GatewaySettings(
        triton=tiny_triton.grpc, tokenizer=tiny_repository, ready_interval_seconds=0
    )
    with live_service(settings) as url:
        yield url


def nonfinite_texts(tiny_triton: Addresses) -> dict[str, float]:
    """Return the metric by model; what was not counted yet is not there."""
    with urllib.request.urlopen(tiny_triton.metrics) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            sample.labels["model"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "bgem3_nonfinite_texts_total"
        }


def test_the_text_is_named_and_counted(tiny_triton: Addresses) -> None:
    """Whatever is asked for; every such text of a request counts, once for each time."""
    before = nonfinite_texts(tiny_triton)[TRUNK.name]
    with Client(tiny_triton.grpc) as client:
        for options in OUTPUTS:
            with pytest.raises(NotFiniteError, match="NaN or infinity") as caught:
                client.encode([*GOOD, f"the {POISON}", "and", POISON * 3], **options)

            assert len(GOOD) == caught.value.index

    assert before + 2 * len(OUTPUTS) == nonfinite_texts(tiny_triton)[TRUNK.name]


def test_neighbours_are_answered_rightly(tiny_triton: Addresses) -> None:
    """Requests that share batches, and groups of like length, with it get their own answers."""
    wanted: dict[str, Any] = {"outputs": {"dense", "sparse", "colbert"}}
    with Client(tiny_triton.grpc) as client, ThreadPoolExecutor(24) as pool:
        expected = client.encode(GOOD, **wanted)
        good = [pool.submit(client.encode, GOOD, **wanted) for _ in range(8)]
        bad = [pool.submit(client.encode, ["and", POISON], **wanted) for _ in range(8)]
        good += [pool.submit(client.encode, GOOD, **wanted) for _ in range(8)]

        for future in bad:
            assert isinstance(future.exception(), NotFiniteError)
        for future in good:
            answer = future.result()
            for number, embedding in enumerate(answer):
                np.testing.assert_allclose(embedding.dense, expected[number].dense, atol=1e-5)
                np.testing.assert_allclose(embedding.colbert, expected[number].colbert, atol=1e-5)
                assert embedding.sparse.indices.tolist() == expected[number].sparse.indices.tolist()


def test_the_service_says_which_text_and_goes_on(service: str) -> None:
    """In each dialect an error of the server, once; the others of that request pass without it."""
    texts = ["and", "the", POISON, "the"]
    with httpx.Client(base_url=service, timeout=60) as http:
        native = http.post("/embed", json={"texts": texts, "mode": ["dense", "sparse"]})
        openai = http.post("/v1/embeddings", json={"input": texts, "model": ENSEMBLE.name})
        tei = http.post("/embed_sparse", json={"inputs": texts})
        rerank = http.post("/rerank", json={"query": "and", "texts": texts})
        others = http.post("/embed", json={"texts": [*texts[:2], texts[3]]})
        metrics = http.get("/metrics").text

    assert (500, "not_finite", 2) == (
        native.status_code,
        native.json()["code"],
        native.json()["index"],
    )
    assert "NaN or infinity" in native.json()["error"]
    assert "Retry-After" not in native.headers
    assert (500, "server_error", "not_finite", 2) == (
        openai.status_code,
        *(openai.json()["error"][key] for key in ("type", "code", "index")),
    )
    assert (424, "Backend", "not_finite", 2) == (
        tei.status_code,
        *(tei.json()[key] for key in ("error_type", "code", "index")),
    )
    assert ("not_finite", 2) == (rerank.json()["code"], rerank.json()["index"])
    assert 200 == others.status_code
    assert 'bgem3_triton_errors_total{kind="not_finite"} 4.0' in metrics


def test_the_services_client_raises_the_same(service: str) -> None:
    """Over HTTP and over gRPC one except clause will do."""
    with Client(service.replace("http://", "bgem3://")) as client:
        with pytest.raises(NotFiniteError) as caught:
            client.encode(["and", POISON])

        assert 1 == caught.value.index
        assert 1 == len(client.encode(["and"]))
