"""The service's own dialect: what `/embed` takes, answers and refuses."""

from __future__ import annotations

import base64
import io
from itertools import chain, combinations
from typing import Any

import msgpack
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from bgem3_backend.contract import SPARSE_INDICES, TOKEN_STATES, TOKENS
from bgem3_client import Client, FakeTransport, InternalServerError
from bgem3_client.encode_request import Output
from bgem3_client.transports import InferRequest, InferResponse
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

TEXTS = ["how do I reset my password", "", "密码 忘了 密码"]
MODES: list[Output] = ["dense", "sparse", "colbert"]
KEYS = {
    "dense": "embeddings",
    "sparse": "sparse_embeddings",
    "colbert": "colbert_embeddings",
}
COMBINATIONS = list(chain.from_iterable(combinations(MODES, size) for size in (1, 2, 3)))


def embed(service: TestClient, **body: Any) -> dict[str, Any]:
    """The answer to a request that is right."""
    answer = service.post("/embed", json={"texts": TEXTS, **body})
    assert 200 == answer.status_code, answer.text
    content: dict[str, Any] = answer.json()
    return content


def expected(**options: Any) -> Any:
    """What the client gets from the same transport."""
    with Client(transport=FakeTransport()) as client:
        return client.encode(TEXTS, set(MODES), return_tokens=True, **options)


def test_texts_alone_are_enough(fake_service: TestClient) -> None:
    """Dense vectors, and how long the texts are."""
    content = embed(fake_service)
    reference = expected()

    assert ["model", "embeddings", "token_lengths", "truncated", "usage"] == list(content)
    assert "bge-m3" == content["model"]
    assert np.array_equal(reference.dense, np.array(content["embeddings"], np.float32))
    assert reference.token_lengths.tolist() == content["token_lengths"]
    assert [False] * 3 == content["truncated"]
    assert {"prompt_tokens": 15, "total_tokens": 15} == content["usage"]


@pytest.mark.parametrize("modes", COMBINATIONS, ids="+".join)
def test_every_combination_of_modes(fake_service: TestClient, modes: tuple[Output, ...]) -> None:
    """What was asked for, in whatever order, once; and nothing else."""
    content = embed(fake_service, mode=[*reversed(modes), modes[0]])

    assert {KEYS[mode] for mode in modes} == content.keys() & set(KEYS.values())
    assert all(len(TEXTS) == len(content[KEYS[mode]]) for mode in modes)


def test_the_representations_are_those_of_the_client(fake_service: TestClient) -> None:
    """To the bit."""
    content = embed(fake_service, mode=MODES, return_tokens=True)
    reference = expected()

    assert np.array_equal(reference.dense, np.array(content["embeddings"], np.float32))
    assert [weights.indices.tolist() for weights in reference.sparse] == [
        item["indices"] for item in content["sparse_embeddings"]
    ]
    for weights, item in zip(reference.sparse, content["sparse_embeddings"], strict=True):
        assert np.array_equal(weights.values, np.array(item["values"], np.float32))
        assert weights.tokens() == pytest.approx(item["lexical_weights"], rel=1e-7)
    for vectors, rows in zip(reference.colbert, content["colbert_embeddings"], strict=True):
        assert np.array_equal(vectors, np.array(rows, np.float32).reshape(vectors.shape))
    assert reference.tokens == content["tokens"]
    assert [ids.tolist() for ids in reference.token_ids] == content["token_ids"]


def test_weights_have_the_digits_of_float32(fake_service: TestClient) -> None:
    """0.92, and not 0.9200000166893005."""
    content = embed(fake_service, mode="sparse")

    for item in content["sparse_embeddings"]:
        assert sorted(item["values"]) == sorted(item["lexical_weights"].values())


class TwoIdsOneText(FakeTransport):
    """Every token reads ``same``."""

    async def infer(self, request: InferRequest) -> InferResponse:
        response = await super().infer(request)
        if TOKENS.name in response.tensors:
            response.tensors[TOKENS.name][:] = b"same"
        return response


def test_tokens_that_read_the_same_are_merged_on_maximum() -> None:
    """In `lexical_weights`; ids and their weights stay as they are."""
    with TestClient(create_app(GatewaySettings(), TwoIdsOneText())) as service:
        first, empty, _ = embed(service, mode="sparse")["sparse_embeddings"]

    assert 6 == len(first["indices"])
    assert {"same": max(first["values"])} == first["lexical_weights"]
    assert {"lexical_weights": {}, "indices": [], "values": []} == empty


def test_only_what_is_asked_for_is_computed() -> None:
    """Tokens' texts for weights, hidden states for raw vectors, half precision for float16."""
    transport = FakeTransport()
    with TestClient(create_app(GatewaySettings(), transport)) as service:

        def outputs(**body: Any) -> set[str]:
            embed(service, **body)
            return {output.name for output in transport.requests[-1].outputs}

        lengths = {"token_lengths", "full_token_lengths"}
        assert lengths | {"dense"} == outputs()
        assert lengths | {"colbert"} == outputs(mode="colbert", normalize=False)
        assert lengths | {"colbert_fp16"} == outputs(
            mode="colbert", encoding_format="base64_float16"
        )
        assert {TOKENS.name, SPARSE_INDICES.name} <= outputs(mode="sparse")
        assert TOKEN_STATES.name in outputs(normalize=False)


def test_vectors_as_they_are() -> None:
    """Without normalisation: the first token's hidden state."""
    with Client(transport=FakeTransport()) as client:
        states = client.encode(TEXTS, return_hidden_states=True).hidden_states
    with TestClient(create_app(GatewaySettings(), FakeTransport())) as service:
        raw = np.array(embed(service, normalize=False)["embeddings"], np.float32)

    assert np.array_equal(np.array([rows[0] for rows in states]), raw)
    assert not np.allclose(1, np.linalg.norm(raw, axis=1))


def test_long_texts_are_cut_and_said_to_be(fake_service: TestClient) -> None:
    """`max_length` counts the special tokens."""
    content = embed(fake_service, max_length=5, mode=["dense", "colbert"])

    assert [5, 2, 5] == content["token_lengths"]
    assert [True, False, False] == content["truncated"]
    assert [4, 1, 4] == [len(rows) for rows in content["colbert_embeddings"]]


@pytest.mark.parametrize("max_length", [1, 8192])
def test_the_ends_of_max_length(fake_service: TestClient, max_length: int) -> None:
    """Both are allowed."""
    content = embed(fake_service, max_length=max_length)

    assert max(content["token_lengths"]) == min(max_length, 8)


@pytest.mark.parametrize(("encoding", "dtype"), [("base64", "<f4"), ("base64_float16", "<f2")])
def test_base64(fake_service: TestClient, encoding: str, dtype: str) -> None:
    """The same numbers; in float16 the nearest ones. Weights stay numbers."""
    content = embed(fake_service, mode=MODES, encoding_format=encoding)
    reference = expected()

    dense = [np.frombuffer(base64.b64decode(item), dtype) for item in content["embeddings"]]
    assert np.array_equal(reference.dense.astype(dtype), np.array(dense))
    for vectors, item in zip(reference.colbert, content["colbert_embeddings"], strict=True):
        rows = np.frombuffer(base64.b64decode(item["data"]), dtype).reshape(item["shape"])
        assert np.array_equal(vectors.astype(dtype), rows)
    assert isinstance(content["sparse_embeddings"][0]["values"][0], float)


@pytest.mark.parametrize(("encoding", "dtype"), [("float", "<f4"), ("base64_float16", "<f2")])
@pytest.mark.parametrize(
    "media_type", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"]
)
def test_messagepack(fake_service: TestClient, media_type: str, encoding: str, dtype: str) -> None:
    """JSON's structure, with arrays as bytes."""
    body = {"texts": TEXTS, "mode": MODES, "return_tokens": True, "encoding_format": encoding}
    answer = fake_service.post("/embed", json=body, headers={"Accept": media_type})
    content = msgpack.unpackb(answer.content)
    reference = expected()

    def array(packed: dict[str, Any]) -> Any:
        return np.frombuffer(packed["data"], packed["dtype"]).reshape(packed["shape"])

    assert media_type == answer.headers["content-type"]
    assert list(embed(fake_service, mode=MODES, return_tokens=True)) == list(content)
    assert dtype == content["embeddings"]["dtype"]
    assert np.array_equal(reference.dense.astype(dtype), array(content["embeddings"]))
    for vectors, item in zip(reference.colbert, content["colbert_embeddings"], strict=True):
        assert np.array_equal(vectors.astype(dtype), array(item))
    for weights, item in zip(reference.sparse, content["sparse_embeddings"], strict=True):
        assert weights.tokens() == item["lexical_weights"]
        assert np.array_equal(weights.values, array(item["values"]))
    assert reference.tokens == content["tokens"]
    assert reference.token_lengths.tolist() == array(content["token_lengths"]).tolist()


def test_npz_is_that_of_the_encode_command(fake_service: TestClient) -> None:
    """Flat arrays, under the names of docs/encode.md."""
    body = {"texts": TEXTS, "mode": MODES, "return_tokens": True}
    answer = fake_service.post("/embed", json=body, headers={"Accept": "application/x-npz"})
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as read:
        arrays = dict(read)
    reference = expected()

    assert "application/x-npz" == answer.headers["content-type"]
    assert np.array_equal(reference.dense, arrays["dense"])
    assert np.array_equal(reference.colbert.vectors, arrays["colbert"])
    assert np.array_equal(reference.colbert.offsets, arrays["colbert_offsets"])
    assert np.array_equal(reference.sparse.indices, arrays["sparse_indices"])
    assert np.array_equal(reference.sparse.values, arrays["sparse_values"])
    assert np.array_equal(reference.sparse.offsets, arrays["sparse_offsets"])
    assert np.array_equal(reference.token_lengths, arrays["token_lengths"])
    assert np.array_equal(reference.truncated, arrays["truncated"])
    assert reference.model_version == str(arrays["model_version"])
    texts = dict(zip(arrays["token_ids"].tolist(), arrays["token_texts"].tolist(), strict=True))
    assert list(chain(*reference.tokens)) == [texts[i] for i in arrays["input_ids"].tolist()]


def test_npz_of_dense_vectors_alone(fake_service: TestClient) -> None:
    """Nothing that was not asked for."""
    answer = fake_service.post(
        "/embed",
        json={"texts": TEXTS, "encoding_format": "base64_float16"},
        headers={"Accept": "application/x-npz"},
    )
    with np.load(io.BytesIO(answer.content)) as arrays:
        assert {"token_lengths", "truncated", "model_version", "dense"} == arrays.keys()
        assert np.float16 == arrays["dense"].dtype


def test_a_model_is_checked_by_its_names(fake_service: TestClient) -> None:
    """Another one is refused, with the names that are known."""
    answer = fake_service.post("/embed", json={"texts": TEXTS, "model": "gpt-4"})

    assert 404 == answer.status_code
    assert "'BAAI/bge-m3', 'bge-m3', 'bge_m3'" in answer.json()["error"]
    assert "bge-m3" == embed(fake_service, model="BAAI/bge-m3")["model"]


RIGHT_FORM = '"texts" must be a list: send {"texts": ["…"]}'


@pytest.mark.parametrize(
    ("body", "message", "index"),
    [
        ({"texts": "a text"}, RIGHT_FORM, None),
        ({"texts": None}, RIGHT_FORM, None),
        ({"texts": {"a": 1}}, RIGHT_FORM, None),
        ([], 'the body must be a JSON object: send {"texts": ["…"]}', None),
        ({}, 'the body has neither "texts" nor "inputs"', None),
        ({"mode": "dense"}, 'the body has neither "texts" nor "inputs"', None),
        ({"texts": ["a"], "inputs": ["a"]}, 'the body has "texts" and "inputs"', None),
        ({"text": ["a"]}, 'unknown field "text": did you mean "texts"?', None),
        ({"texts": ["a"], "normalise": True}, 'did you mean "normalize"?', None),
        ({"texts": ["a"], "pooling": 1}, 'unknown field "pooling": the fields are texts', None),
        ({"texts": []}, '"texts" is empty', None),
        ({"texts": ["a", 3]}, "texts[1]: input should be a valid string, not 3", 1),
        ({"texts": ["a"], "mode": "denze"}, "or a list of them, not 'denze'", None),
        ({"texts": ["a"], "mode": ["dense", ["x"]]}, "or a list of them, not ['x']", None),
        ({"texts": ["a"], "mode": []}, '"mode" is an empty list', None),
        ({"texts": ["a"], "max_length": 0}, "max_length: input should be greater", None),
        ({"texts": ["a"], "max_length": 8193}, "equal to 8192, not 8193", None),
        ({"texts": ["a"], "max_length": "512"}, "a valid integer, not '512'", None),
        ({"texts": ["a"], "max_length": True}, "a valid integer, not True", None),
        ({"texts": ["a"], "truncate": "no"}, "truncate: input should be a valid boolean", None),
        ({"texts": ["a"], "encoding_format": "hex"}, "'base64_float16', not 'hex'", None),
        (
            {"texts": ["a", "b c d"], "max_length": 4, "truncate": False},
            "the text has 5 tokens, and max_length is 4",
            1,
        ),
    ],
)
def test_refusals(fake_service: TestClient, body: Any, message: str, index: int | None) -> None:
    """422, with what is wrong and what to send."""
    answer = fake_service.post("/embed", json=body)
    error = answer.json()

    assert 422 == answer.status_code
    assert message in error["error"]
    assert index == error.get("index")
    assert "Validation" == error["error_type"] or body == {"texts": []}


def test_a_form_that_is_not_offered(fake_service: TestClient) -> None:
    """Said before anything is computed, and in JSON."""
    answer = fake_service.post("/embed", json={"texts": TEXTS}, headers={"Accept": "text/csv"})

    assert 406 == answer.status_code
    assert "application/x-npz" in answer.json()["error"]
    assert "not_acceptable" == answer.json()["code"]


def test_inputs_are_answered_as_to_text_embeddings_inference(fake_service: TestClient) -> None:
    """One path, two dialects."""
    answer = fake_service.post("/embed", json={"inputs": TEXTS})

    assert embed(fake_service)["embeddings"] == answer.json()


class LastPartFails(FakeTransport):
    """Fails at the part with the text ``fail``, after it has answered the others."""

    async def infer(self, request: InferRequest) -> InferResponse:
        response = await super().infer(request)
        if b"fail" in request.texts and len(request.outputs) > 1:
            raise InternalServerError("the last part failed")
        return response


@pytest.mark.parametrize("accept", ["application/json", "application/x-npz", "application/msgpack"])
def test_nothing_of_a_failed_answer_is_sent(accept: str) -> None:
    """However much of it was there already: the answer is an error, and nothing else."""
    texts = [f"{number} " + "word " * 99 for number in range(10)] + ["fail"]
    transport = LastPartFails(colbert_size=256)
    headers = {"Accept": accept, "X-Priority": "bulk"}
    with TestClient(create_app(GatewaySettings(), transport)) as service:
        answer = service.post("/embed", json={"texts": texts, "mode": "colbert"}, headers=headers)

    assert sum(len(request.outputs) > 1 for request in transport.requests) > 2
    assert 500 == answer.status_code
    assert {"error", "error_type", "code", "request_id"} == answer.json().keys()


def test_the_examples_of_the_documentation_work(fake_service: TestClient) -> None:
    """As they stand."""
    app = fake_service.app
    assert isinstance(app, FastAPI)
    route = app.openapi()["paths"]["/embed"]["post"]
    examples = route["requestBody"]["content"]["application/json"]["examples"]
    answers = route["responses"]["200"]["content"]

    assert {"dense", "all", "base64", "tei"} == examples.keys()
    assert {"application/json", "application/x-npz", "application/msgpack"} <= answers.keys()
    for example in examples.values():
        assert 200 == fake_service.post("/embed", json=example["value"]).status_code
