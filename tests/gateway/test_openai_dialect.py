"""OpenAI's dialect: schema, errors and what is ignored, without a Triton."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings


def embed(service, **body):
    return service.post("/v1/embeddings", json={"input": "a text", **body})


def test_answer_is_openais(fake_service):
    """No field more, none less; `/embeddings` is the same route, as it is in TEI."""
    answer = embed(fake_service, input=["a text", ""], model="bge-m3").json()

    assert ["list", "bge-m3"] == [answer["object"], answer["model"]]
    assert {"object", "data", "model", "usage"} == answer.keys()
    assert {"prompt_tokens": 6, "total_tokens": 6} == answer["usage"]
    assert [{"object", "index", "embedding"}] * 2 == [item.keys() for item in answer["data"]]
    assert [("embedding", 0, 16), ("embedding", 1, 16)] == [
        (item["object"], item["index"], len(item["embedding"])) for item in answer["data"]
    ]
    assert answer == fake_service.post("/embeddings", json={"input": ["a text", ""]}).json()


def test_what_is_ignored(fake_service):
    """`user`, null, and what other services know do not matter."""
    plain = embed(fake_service)
    body = {"user": 3, "encoding_format": None, "dimensions": None, "input_type": "query"}

    assert plain.json() == embed(fake_service, **body).json()


def test_models_are_named(fake_service):
    """A name may hold a slash; one that is not served gives OpenAI's error."""
    listed = fake_service.get("/v1/models").json()
    one = fake_service.get("/v1/models/BAAI/bge-m3")
    none = fake_service.get("/v1/models/gpt-4")

    assert ["bge-m3", "BAAI/bge-m3", "bge_m3"] == [model["id"] for model in listed["data"]]
    assert listed["data"][1] == one.json()
    assert 404 == none.status_code
    assert {
        "message": "there is no model 'gpt-4' here: send one of 'BAAI/bge-m3', 'bge-m3', 'bge_m3'; "
        "the service's setting model_names gives the model further names",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
        "request_id": none.headers["X-Request-Id"],
    } == none.json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"outputs": ["dens"]}, "outputs[0]: input should be 'dense', 'sparse' or 'colbert'"),
        ({"encoding_format": "hex"}, "encoding_format: input should be 'float', 'base64' or"),
        ({"max_length": 8193}, "max_length: input should be less than or equal to 8192"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens is 0; send 1 or more, or -1"),
        ({"truncate_prompt_tokens": 9, "max_length": 9}, "send one or the other"),
        ({"truncate": "yes"}, "truncate: input should be a valid boolean, not 'yes'"),
        ({"input": {"text": "a"}}, "input is a text or a list of texts, not {'text': 'a'}"),
        ({"input": ["a", True]}, "input[1] must be a text, not True"),
    ],
)
def test_mistakes(fake_service, body, message):
    """400, in OpenAI's shape, and it is said what to do."""
    answer = embed(fake_service, **body)

    assert 400 == answer.status_code
    assert message in answer.json()["error"]["message"]


def test_the_wrong_text_is_named(fake_service):
    """By its place in the list."""
    answer = embed(fake_service, input=["a", "b", "word " * 9000])

    assert 400 == answer.status_code
    assert [2, "text_too_long"] == [answer.json()["error"][key] for key in ("index", "code")]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"truncate": True}, 8192),
        ({"truncate_prompt_tokens": -1}, 8192),
        ({"truncate_prompt_tokens": 7}, 7),
        ({"max_length": 7}, 7),
        ({"max_length": 7, "truncate": True}, 7),
    ],
)
def test_long_texts_are_cut_when_asked(fake_service, body, tokens):
    """And the answer says so; a text that fits leaves no trace."""
    answer = embed(fake_service, input=["word " * 9000, "a"], **body).json()

    assert tokens + 3 == answer["usage"]["prompt_tokens"]
    assert [True, False] == answer["truncated"]


def test_long_texts_where_the_service_cuts():
    """The setting decides for requests that do not; they may still refuse."""
    settings = GatewaySettings(auto_truncate=True)
    with TestClient(create_app(settings, FakeTransport())) as service:
        cut = embed(service, input="word " * 9000)
        refused = embed(service, input="word " * 9000, truncate=False)

    assert [True] == cut.json()["truncated"]
    assert 400 == refused.status_code


def test_colbert_in_half_precision_comes_so_from_triton():
    """It would else travel in twice the bytes, to be halved here."""
    transport = FakeTransport()
    with TestClient(create_app(GatewaySettings(), transport)) as service:
        answer = embed(service, outputs=["colbert"], encoding_format="base64_float16").json()
        asked = [
            {tensor.name for tensor in request.outputs}
            for request in transport.requests
            if request.texts == (b"a text",)  # and no probe of the service's own
        ]

    assert [3, 16] == answer["data"][0]["colbert_embedding"]["shape"]
    assert any("colbert_fp16" in names for names in asked)
    assert not any(names & {"colbert", "tokens"} for names in asked)


def test_examples_of_the_documentation_work(fake_service):
    """Those of the request's body, as they stand."""
    operation = fake_service.get("/openapi.json").json()["paths"]["/v1/embeddings"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    answers = [
        fake_service.post("/v1/embeddings", json=example["value"]) for example in examples.values()
    ]

    assert [200] * 3 == [answer.status_code for answer in answers]
