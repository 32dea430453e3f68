"""The service with a cache: what callers see of it, in each dialect and in front of Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from live.raw import executions
from live_service import live_service
from starlette.testclient import TestClient
from tritonclient.grpc import InferenceServerClient

from bgem3_client import FakeTransport, UnavailableError
from bgem3_client.transports import InferRequest, InferResponse
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

SETTINGS = GatewaySettings(cache_bytes=10_000_000, ready_interval_seconds=0)


class Triton(FakeTransport):
    """A fake that can go away, or load another version of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.version = "1"

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer as the version that is loaded."""
        if self.away:
            raise UnavailableError("connection refused")
        answer = await super().infer(request)
        return InferResponse(answer.tensors, self.version)

    @property
    def encoded(self) -> list[str]:
        """The texts whose representations were computed."""
        return [
            text.decode()
            for request in self.requests
            if len(request.outputs) > 1
            for text in request.texts
        ]


@pytest.fixture
def triton_fake() -> Triton:
    """What is behind the service."""
    return Triton()


@pytest.fixture
def service(triton_fake: Triton) -> Iterator[TestClient]:
    """A service with a cache."""
    with TestClient(create_app(SETTINGS, triton_fake)) as client:
        yield client


def embed(service: Any, *texts: str, **fields: Any) -> httpx.Response:
    """Send texts; ``headers`` is no field of the body."""
    headers = fields.pop("headers", {})
    answer: httpx.Response = service.post(
        "/embed", json={"texts": texts, **fields}, headers=headers
    )
    return answer


def test_answer_from_the_cache_is_the_same_answer(service: TestClient, triton_fake: Triton) -> None:
    """To the bit, in each form; and it says where it comes from."""
    modes = ["dense", "sparse", "colbert"]
    first = embed(service, "one two", "three", mode=modes, return_tokens=True)
    second = embed(service, "one two", "three", mode=modes, return_tokens=True)
    npz = {"Accept": "application/x-npz"}
    third = embed(service, "one two", "three", mode=modes, return_tokens=True, headers=npz)

    assert first.content == second.content
    assert ["bgem3; fwd=miss", "bgem3; hit", "bgem3; hit"] == [
        answer.headers["cache-status"] for answer in (first, second, third)
    ]
    assert ["one two", "three"] == triton_fake.encoded


def test_what_is_missing_is_computed(service: TestClient, triton_fake: Triton) -> None:
    """And put between what is there, in the order of the request."""
    embed(service, "b", "d")
    answer = embed(service, "a", "b", "c", "d", "a")
    alone = [embed(service, text).json()["embeddings"][0] for text in "abcda"]

    assert "bgem3; fwd=partial; collapsed" == answer.headers["cache-status"]
    assert alone == answer.json()["embeddings"]
    assert ["b", "d", "a", "c"] == triton_fake.encoded


def test_results_are_shared_by_all_dialects(service: TestClient, triton_fake: Triton) -> None:
    """They are the same results: of an answer with all of them each takes what it needs."""
    embed(service, "one two", "three", mode=["dense", "sparse", "colbert"])
    answers = [
        service.post("/v1/embeddings", json={"input": "one two"}),
        service.post("/embed", json={"inputs": "one two"}),
        service.post("/embed_sparse", json={"inputs": "one two"}),
        service.post("/rerank", json={"query": "one two", "documents": ["three"]}),
        service.post("/score", json={"pairs": [["one two", "three"]]}),
    ]

    assert ["bgem3; hit"] * 5 == [answer.headers.get("cache-status") for answer in answers]
    assert ["one two", "three"] == triton_fake.encoded


def test_what_is_there_needs_no_triton(service: TestClient, triton_fake: Triton) -> None:
    """Nor any room in the queue: nothing is counted, let in or sent."""
    embed(service, "a")
    triton_fake.away = True

    assert 200 == embed(service, "a").status_code
    assert 503 == embed(service, "a", "b").status_code


@pytest.mark.parametrize(
    ("directive", "statuses"),
    [
        ("no-cache", ["fwd=request", "hit", "fwd=request"]),
        ("no-store", ["fwd=request", "fwd=miss", "fwd=request"]),
    ],
)
def test_request_may_decline(
    service: TestClient, triton_fake: Triton, directive: str, statuses: list[str]
) -> None:
    """``no-cache`` computes anew for everybody, ``no-store`` for nobody else."""
    headers = {"Cache-Control": directive}
    answers = [
        embed(service, "a", headers=headers),
        embed(service, "a"),
        embed(service, "a", headers=headers),
    ]

    assert [f"bgem3; {status}" for status in statuses] == [
        answer.headers["cache-status"] for answer in answers
    ]
    assert 3 - statuses.count("hit") == len(triton_fake.encoded)


def test_text_that_must_not_be_cut_is_refused_as_ever(service: TestClient) -> None:
    """Also when it is there, cut for somebody else."""
    texts = ("one two three", "a b")
    cut = embed(service, *texts, max_length=4)
    refused = embed(service, *texts, max_length=4, truncate=False)

    assert [True, False] == cut.json()["truncated"]
    assert (422, "text_too_long") == (refused.status_code, refused.json()["code"])
    assert "bgem3; hit" == embed(service, *texts, max_length=4).headers["cache-status"]


def test_no_answer_mixes_two_versions_of_the_model(
    service: TestClient, triton_fake: Triton
) -> None:
    """What the old one has left is dropped, and computed again for the request that finds out."""
    embed(service, "a")
    triton_fake.version = "2"
    found_out = embed(service, "a", "b")
    again = embed(service, "a", "b")

    assert 200 == found_out.status_code
    assert (200, "bgem3; hit") == (again.status_code, again.headers["cache-status"])
    assert ["a", "b", "a", "b"] == triton_fake.encoded


def test_hits_need_memory_like_all_answers(triton_fake: Triton) -> None:
    """An answer counts until it is sent, wherever it comes from."""
    settings = SETTINGS.model_copy(update={"max_result_bytes": 1_048_576})
    text = "word " * 6000
    with TestClient(create_app(settings, triton_fake)) as service:
        one = embed(service, text, mode="colbert")
        many = embed(service, *[text] * 3, mode="colbert")

    assert (200, 413) == (one.status_code, many.status_code)


def test_figures(service: TestClient) -> None:
    """Hit rate, size, and what was joined, in the metrics; hits count as texts like others."""
    embed(service, "a", "b", "a")
    embed(service, "a", "b", "c", mode=["dense", "sparse"])
    embed(service, "a")
    lines = service.get("/metrics").text.splitlines()
    values = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }

    assert 1 == values["bgem3_cache_hits_total"]
    assert 5 == values["bgem3_cache_misses_total"]
    assert 0 == values["bgem3_cache_evictions_total"]
    assert 9 == values["bgem3_cache_entries"]  # dense, sparse and tokens of three texts
    assert 3000 < values["bgem3_cache_bytes"] < 15000
    assert 1 == values["bgem3_joined_texts_total"]
    assert 7 == values["bgem3_texts_total"]


def test_without_a_cache_nothing_is_said_of_it(triton_fake: Triton) -> None:
    """The default; equal texts on their way are computed once all the same."""
    settings = GatewaySettings(ready_interval_seconds=0)
    with TestClient(create_app(settings, triton_fake)) as service:
        answers = [embed(service, "a", "a") for _ in range(2)]

    assert "cache-status" not in answers[0].headers
    assert answers[0].content == answers[1].content
    assert ["a", "a"] == triton_fake.encoded


@pytest.mark.live
def test_triton_computes_a_text_once(triton: Addresses, demo_repository: Path) -> None:
    """Seen in its own statistics: 16 callers at once, and 16 more who come later."""
    texts = ["如何重置密码", "How do I reset my password?", "如何重置密码"]
    body = {"texts": texts, "mode": ["dense", "sparse", "colbert"]}
    settings = SETTINGS.model_copy(update={"triton": triton.grpc, "tokenizer": demo_repository})

    async def scenario(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            posts = [client.post("/embed", json=body) for _ in range(16)]
            answers = await asyncio.gather(*posts)
            answers += await asyncio.gather(*(client.post("/embed", json=body) for _ in range(16)))
            return answers

    with InferenceServerClient(triton.grpc) as connection:
        before, _ = executions(connection, "bge_m3_trunk")
        with live_service(settings) as url:
            answers = asyncio.run(scenario(url))
        after, _ = executions(connection, "bge_m3_trunk")

    assert 1 == after - before
    assert {200} == {answer.status_code for answer in answers}
    assert 1 == len({answer.content for answer in answers})
    assert "bgem3; hit" == answers[-1].headers["cache-status"]
    vectors = np.array(answers[-1].json()["embeddings"])
    np.testing.assert_array_equal(vectors[0], vectors[2])
