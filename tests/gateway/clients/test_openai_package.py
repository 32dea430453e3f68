"""The `openai` package."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import openai
import pytest
from example_texts import TEXTS
from live_service import live_app
from numpy.testing import assert_allclose

from bgem3_client import FakeTransport, UnavailableError
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings


@pytest.fixture
def openai_client(service_url):
    with openai.OpenAI(base_url=f"{service_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@contextmanager
def openai_of(
    settings: GatewaySettings, transport: FakeTransport, **options: object
) -> Iterator[tuple[openai.OpenAI, object]]:
    """A client of a service without a Triton, and its application."""
    app = create_app(settings, transport)
    options = {"api_key": "none", "max_retries": 0, **options}
    with live_app(app) as url, openai.OpenAI(base_url=f"{url}/v1", **options) as client:
        yield client, app


def test_vectors_by_default(openai_client, embeddings):
    """The package asks for base64 and decodes it: the vectors are those of our own client."""
    answer = openai_client.embeddings.create(model="bge_m3", input=TEXTS)
    raw = openai_client.embeddings.with_raw_response.create(model="bge_m3", input=TEXTS[0])

    assert ["list", "bge-m3-demo"] == [answer.object, answer.model]
    assert [0, 1, 2] == [item.index for item in answer.data]
    assert_allclose([item.embedding for item in answer.data], embeddings.dense, atol=1e-5)
    assert int(embeddings.token_lengths.sum()) == answer.usage.prompt_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str)


def test_vectors_as_numbers(openai_client, embeddings):
    """A single text, as numbers."""
    answer = openai_client.embeddings.create(
        model="bge_m3", input=TEXTS[0], encoding_format="float", dimensions=384, user="somebody"
    )

    assert_allclose([item.embedding for item in answer.data], embeddings.dense[:1], atol=1e-5)


def test_all_three_representations(openai_client, embeddings):
    """`outputs` adds the others to each item, from one pass."""
    outputs = {"outputs": ["dense", "sparse", "colbert"]}
    answer = openai_client.embeddings.create(
        model="bge_m3", input=TEXTS, encoding_format="float", extra_body=outputs
    )

    for item, expected in zip(answer.data, embeddings, strict=True):
        assert_allclose(item.embedding, expected.dense, atol=1e-5)
        assert expected.sparse.indices.tolist() == item.sparse_embedding["indices"]
        assert_allclose(item.sparse_embedding["values"], expected.sparse.values, atol=1e-5)
        assert expected.sparse.tokens() == pytest.approx(
            item.sparse_embedding["lexical_weights"], abs=1e-5
        )
        assert_allclose(item.colbert_embedding, expected.colbert, atol=1e-5)


def test_without_dense_in_base64(openai_client, embeddings):
    """What is not asked for is null, and the package reads past it; matrices have their shape."""
    answer = openai_client.embeddings.create(
        model="bge_m3", input=TEXTS, extra_body={"outputs": ["colbert"]}
    )

    for item, expected in zip(answer.data, embeddings, strict=True):
        matrix = item.colbert_embedding
        vectors = np.frombuffer(base64.b64decode(matrix["data"]), "<f4").reshape(matrix["shape"])
        assert item.embedding is None
        assert_allclose(vectors, expected.colbert, atol=1e-5)


def test_half_precision(openai_client, embeddings):
    """base64_float16 is ours, so the package hands the string on as it is."""
    answer = openai_client.embeddings.create(
        model="bge_m3", input=TEXTS[0], encoding_format="base64_float16"
    )

    vector = np.frombuffer(base64.b64decode(answer.data[0].embedding), "<f2")
    assert_allclose(vector, embeddings.dense[0], atol=1e-3)


async def _create(service_url):
    async with openai.AsyncOpenAI(base_url=f"{service_url}/v1", api_key="none") as client:
        return await client.embeddings.create(model="bge_m3", input=TEXTS)


def test_async(service_url, embeddings):
    """The asyncio client."""
    import asyncio

    answer = asyncio.run(_create(service_url))

    assert_allclose([item.embedding for item in answer.data], embeddings.dense, atol=1e-5)


def test_models(openai_client):
    """Every name is listed, the one that answers use first, and each can be asked for."""
    models = openai_client.models.list().data

    assert ["bge-m3-demo", "bge_m3"] == [model.id for model in models]
    assert [*models] == [openai_client.models.retrieve(model.id) for model in models]
    assert models[0].created > 1_700_000_000
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'"):
        openai_client.models.retrieve("gpt-4")


@pytest.mark.parametrize(
    ("arguments", "error", "message", "code"),
    [
        ({"model": "text-embedding-3-small"}, openai.NotFoundError, "'bge_m3'", "model_not_found"),
        ({"input": [1, 2, 3]}, openai.BadRequestError, "check_embedding_ctx_length=False", None),
        ({"input": [[1, 2], [3]]}, openai.BadRequestError, "takes text only", "invalid_input"),
        ({"input": []}, openai.BadRequestError, "input is empty", "empty_input"),
        ({"input": ["a", 1.5]}, openai.BadRequestError, r"input\[1\] must be a text", None),
        ({"dimensions": 256}, openai.BadRequestError, "have 384 numbers", "invalid_input"),
        ({"input": "word " * 9000}, openai.BadRequestError, "max_length is 8192", "text_too_long"),
        ({"input": ["a"] * 2049}, openai.APIStatusError, "takes 2048 at once", "too_large"),
    ],
)
def test_mistakes(openai_client, arguments, error, message, code):
    """Each becomes the exception that the package has for it, with what to do in its message."""
    with pytest.raises(error, match=message) as raised:
        openai_client.embeddings.create(**{"model": "bge_m3", "input": "a"} | arguments)

    assert code in (None, raised.value.code)
    assert "request_id" in raised.value.body


def test_long_texts_are_cut_on_request(openai_client, client):
    """And the answer says which."""
    text = "one two three four five"
    answers = [
        openai_client.embeddings.create(model="bge_m3", input=["a", text], extra_body=extra)
        for extra in ({"max_length": 4}, {"truncate_prompt_tokens": 4})
    ]

    for answer in answers:
        assert [False, True] == answer.truncated
        assert_allclose(
            answer.data[1].embedding, client.encode([text], max_length=4).dense[0], atol=1e-5
        )


def test_busy():
    """More than the budget is a RateLimitError that says when to come back."""
    with openai_of(GatewaySettings(max_load_tokens=8192), FakeTransport()) as (client, app):
        app.state.gateway.scheduler.admit(8192)
        with pytest.raises(openai.RateLimitError, match="is busy") as raised:
            client.embeddings.create(model="bge_m3", input="a")

    assert int(raised.value.response.headers["Retry-After"]) >= 1
    assert "rate_limit_error" == raised.value.type
    assert 8192 == raised.value.body["budget_tokens"]


def test_key():
    """The package's key is the service's."""
    settings = GatewaySettings(api_keys="right")
    with (
        openai_of(settings, FakeTransport(), api_key="wrong") as (client, _),
        pytest.raises(openai.AuthenticationError, match="key"),
    ):
        client.embeddings.create(model="bge_m3", input="a")
    with openai_of(settings, FakeTransport(), api_key="right") as (client, _):
        answer = client.embeddings.create(model="bge_m3", input="a")

    assert 16 == len(answer.data[0].embedding)


def test_triton_away():
    """A server's fault, which the package would try again by default."""
    transport = FakeTransport(script=[UnavailableError("connection refused")] * 100)
    with (
        openai_of(GatewaySettings(), transport) as (client, _),
        pytest.raises(openai.InternalServerError) as raised,
    ):
        client.embeddings.create(model="bge_m3", input="a")

    assert 503 == raised.value.status_code
