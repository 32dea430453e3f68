"""text-embeddings-inference's dialect: what it takes, answers and refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_client.address import Address
from bgem3_client.transports import connect
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.calls.errors import NotOfferedError, TextTooLongError
from bgem3_server.gateway.encoding.token_counter import LocalTokenCounter, Token, TritonTokenCounter
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.tritons.role import Role
from bgem3_server.gateway.tritons.triton import Triton
from bgem3_server.gateway.tritons.tritons import Tritons

TEXT = "如何重置 deep learning</s>"


@pytest.fixture
def tokenizing_service(demo_repository: Path):
    """A service with the demo model's tokenizer, and no Triton."""
    settings = GatewaySettings(
        tokenizer=demo_repository, max_load_tokens=262_144, max_in_flight_tokens=16_384
    )
    with TestClient(create_app(settings, FakeTransport())) as service:
        yield service


@pytest.mark.parametrize(
    ("path", "body", "status", "error_type", "message"),
    [
        ("/embed", {"inputs": []}, 400, "Empty", "inputs is empty"),
        ("/embed_sparse", {"inputs": []}, 400, "Empty", "inputs is empty"),
        ("/decode", {"ids": []}, 400, "Empty", "ids is empty"),
        ("/rerank", {"query": "a", "texts": []}, 400, "Empty", "texts is empty"),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": []}},
            400,
            "Empty",
            "inputs.sentences is empty",
        ),
        ("/embed", {"inputs": "word " * 9000}, 413, "Validation", "max_length is 8192"),
        ("/embed_all", {"inputs": "word " * 9000}, 413, "Validation", "max_length is 8192"),
        ("/embed_sparse", {"inputs": "word " * 9000}, 413, "Validation", "max_length is 8192"),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["word " * 9000]}},
            413,
            "Validation",
            "max_length is 8192",
        ),
        (
            "/rerank",
            {"query": "a", "texts": ["b", "word " * 9000]},
            413,
            "Validation",
            "texts[1]: the text has 9002 tokens",
        ),
        ("/embed", {"inputs": ["a"] * 2049}, 413, "Validation", "takes 2048 at once"),
        ("/decode", {"ids": [[1]] * 2049}, 413, "Validation", "takes 2048 at once"),
        ("/embed", {"inputs": [[1, 2]]}, 422, "Validation", "holds token ids"),
        ("/embed", {"inputs": "a", "dimensions": 8}, 422, "Validation", "have 16 numbers"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "Validation", "no prompts"),
        ("/tokenize", {"inputs": "a", "prompt_name": "query"}, 422, "Validation", "no prompts"),
        (
            "/embed_sparse",
            {"inputs": "a", "truncation_direction": "Left"},
            422,
            "Validation",
            "at their end",
        ),
        (
            "/similarity",
            {
                "inputs": {"source_sentence": "a", "sentences": ["b"]},
                "parameters": {"truncation_direction": "left"},
            },
            422,
            "Validation",
            "parameters.truncation_direction: ",
        ),
        ("/", {"inputs": {"source_sentence": "a"}}, 422, "Validation", "inputs.sentences: field"),
        ("/", {"inputs": 3}, 422, "Validation", "inputs is a text or a list of texts, not 3"),
        ("/decode", {"ids": [[1], 2]}, 422, "Validation", "ids[1]: "),
    ],
)
def test_refusals(fake_service, path, body, status, error_type, message):
    """TEI's statuses and words, and beside them ours."""
    answer = fake_service.post(path, json=body)
    error = answer.json()

    assert (status, error_type) == (answer.status_code, error["error_type"])
    assert message in error["error"]
    assert {"code", "request_id"} <= error.keys()


def test_long_texts_are_cut_when_asked(fake_service):
    """By the request, or else by the service's setting, which /info shows."""
    body = {"inputs": "word " * 9000}
    with TestClient(create_app(GatewaySettings(auto_truncate=True), FakeTransport())) as cutting:
        cut = cutting.post("/embed", json=body)
        refused = cutting.post("/embed", json=body | {"truncate": False})
        told = cutting.get("/info").json()["auto_truncate"]

    assert "8192" == cut.headers["x-compute-tokens"]
    assert 413 == refused.status_code
    assert told
    assert 200 == fake_service.post("/embed", json=body | {"truncate": True}).status_code
    assert not fake_service.get("/info").json()["auto_truncate"]


def test_headers_of_computed_answers(fake_service):
    """Characters and tokens of all texts together."""
    answer = fake_service.post("/embed_sparse", json={"inputs": ["两个 words", ""]})

    assert ["8", "6"] == [answer.headers[f"x-compute-{name}"] for name in ("characters", "tokens")]


def test_all_states(fake_service):
    """One for each token, special tokens included; the first of them is /embed not normalised."""
    body = {"inputs": ["two words", ""]}
    states = fake_service.post("/embed_all", json=body).json()
    raw = fake_service.post("/embed", json=body | {"normalize": False}).json()
    dense = np.array(fake_service.post("/", json=body).json())

    assert [4, 2] == [len(rows) for rows in states]
    assert_allclose(raw, [rows[0] for rows in states], rtol=1e-6)
    assert_allclose(dense, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-5)


def test_sparse_by_rising_id(fake_service):
    """A text without words has no weights."""
    weights, none = fake_service.post("/embed_sparse", json={"inputs": ["b a c", ""]}).json()

    assert 3 == len(weights)
    assert weights == sorted(weights, key=lambda weight: weight["index"])
    assert [] == none


def test_rerank(service, client):
    """The best first, with the weights that /rerank has for others; text on request."""
    texts = ["今天天气很好", "微信支付密码忘了怎么办", "如何重置微信支付密码"]
    body = {"query": "如何重置微信支付密码", "texts": texts}
    ranks = service.post("/rerank", json=body).json()
    with_text = service.post("/rerank", json=body | {"return_text": True}).json()
    documents = {"query": body["query"], "documents": texts}
    others = service.post("/v1/rerank", json=documents).json()["results"]

    assert [2, 1, 0] == [rank["index"] for rank in ranks]
    assert [{"index", "score"}] * 3 == [rank.keys() for rank in ranks]
    assert [result["relevance_score"] for result in others] == pytest.approx(
        [rank["score"] for rank in ranks]
    )
    assert [texts[2], texts[1], texts[0]] == [rank["text"] for rank in with_text]


def test_tokenize(tokenizing_service):
    """Places are counted in characters; what the tokenizer adds is special, and has none."""
    [tokens] = tokenizing_service.post("/tokenize", json={"inputs": TEXT}).json()

    first, *middle, last = tokens
    special = {"special": True, "start": None, "stop": None}
    assert {"id": 0, "text": "<s>", **special} == first
    assert {"id": 2, "text": "</s>", **special} == last
    assert not any(token["special"] for token in middle)
    assert [token["text"] for token in middle] == [
        TEXT[token["start"] : token["stop"]] for token in middle
    ]
    assert ["如何", "重", "置", "deep", "learning", "</s>"] == [
        token["text"] for token in middle[-6:]
    ]


def test_tokenize_without_special_tokens(tokenizing_service):
    """Several texts, one of them empty."""
    body = {"inputs": ["deep learning", ""], "add_special_tokens": False}

    assert [["deep", "learning"], []] == [
        [token["text"] for token in tokens]
        for tokens in tokenizing_service.post("/tokenize", json=body).json()
    ]


def test_decode(tokenizing_service):
    """A row or several; ids that the model does not have are refused, not left out."""
    [tokens] = tokenizing_service.post("/tokenize", json={"inputs": "deep learning"}).json()
    ids = [token["id"] for token in tokens]

    def decode(**body):
        return tokenizing_service.post("/decode", json=body)

    assert ["deep learning"] == decode(ids=ids).json()
    assert ["<s> deep learning</s>"] == decode(ids=ids, skip_special_tokens=False).json()
    assert ["deep learning", ""] == decode(ids=[ids, []]).json()
    unknown = decode(ids=[ids, [250_002]])
    assert [422, 1] == [unknown.status_code, unknown.json()["index"]]
    assert "250002 is not a token id: this model's are 0 to 250001" in unknown.json()["error"]


def test_too_many_tokens(demo_repository):
    """As many as could be embedded at once, since each takes much memory to describe."""
    settings = GatewaySettings(tokenizer=demo_repository, max_load_tokens=8192)
    with TestClient(create_app(settings, FakeTransport())) as service:
        answer = service.post("/tokenize", json={"inputs": ["word " * 5000] * 2})

    assert [413, "too_large"] == [answer.status_code, answer.json()["code"]]


def test_tokenizer_in_triton(triton, demo_repository):
    """The same ids as the local one; places are not known, and ids cannot become text."""
    texts = [TEXT, ""]

    async def both():
        transport = connect(Address.parse(triton.grpc), {})
        primary = Triton(Role.PRIMARY, triton.grpc, transport)
        tritons = Tritons(primary, None, 10, Metrics(CollectorRegistry()))
        remote = TritonTokenCounter(tritons, 10)
        local = LocalTokenCounter(demo_repository)
        try:
            # Together more tokens than Triton takes in one request.
            long_texts = ["word " * 8000] * 6 + ["word " * 9000]
            for texts_to_count in (texts, long_texts):
                assert (await local.count(texts_to_count)).tolist() == (
                    await remote.count(texts_to_count)
                ).tolist()
            with pytest.raises(NotOfferedError, match="--tokenizer"):
                await remote.decode([[5]], skip_special_tokens=True)
            with pytest.raises(TextTooLongError, match="more than 8192") as raised:
                await remote.tokenize(["a", "word " * 9000], add_special_tokens=True)
            assert 1 == raised.value.index
            return [
                await counter.tokenize(texts, add_special_tokens=special)
                for special in (True, False)
                for counter in (remote, local)
            ]
        finally:
            await transport.close()

    remote, local, remote_bare, local_bare = asyncio.run(both())

    def ids(rows):
        return [[(token.id, token.special) for token in row] for row in rows]

    assert ids(local) == ids(remote)
    assert ids(local_bare) == ids(remote_bare)
    assert Token(0, "<s>", True, None, None) == remote[0][0] == local[0][0]
    assert all(token.start is None for row in remote for token in row)


def test_info(tokenizing_service):
    """What clients read; a batch of the size that it names always fits."""
    info = tokenizing_service.get("/info").json()

    assert {
        "model_id": "bge-m3-demo",
        "model_sha": info["model_sha"],
        "model_dtype": "float32",
        "model_type": {"embedding": {"pooling": "cls"}},
        "max_concurrent_requests": 512,
        "max_input_length": 8192,
        "max_batch_tokens": 16384,
        "max_batch_requests": None,
        "max_client_batch_size": 32,
        "auto_truncate": False,
        "tokenization_workers": 2,
        "version": info["version"],
        "sha": None,
        "docker_label": None,
    } == info
    assert 64 == len(info["model_sha"])
    # More texts of this length together would be refused, however long one waits.
    assert info["max_client_batch_size"] * info["max_input_length"] <= 262_144


def example_of(schema, components):
    """The body that the documentation shows: the first example of each field."""
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    if schema.get("examples"):
        return schema["examples"][0]
    return {name: example_of(field, components) for name, field in schema["properties"].items()}


def test_examples_of_the_documentation_work(tokenizing_service):
    """As they stand, on whatever model is served."""
    documentation = tokenizing_service.get("/openapi.json").json()
    statuses = {}
    for path in ("/embed_sparse", "/embed_all", "/similarity", "/tokenize", "/decode"):
        body = documentation["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        example = example_of(body["schema"], documentation["components"]["schemas"])
        statuses[path] = tokenizing_service.post(path, json=example).status_code
    root = documentation["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]
    for name, example in root["examples"].items():
        statuses[name] = tokenizing_service.post("/", json=example["value"]).status_code

    assert 7 == len(statuses)
    assert {200} == set(statuses.values()), statuses
