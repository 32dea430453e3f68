"""Texts to vectors, as text-embeddings-inference answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from bgem3_client.sparse import SparseEmbedding
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.dialects.dimensions import check_dimensions
from bgem3_server.gateway.dialects.tei.requests import (
    TeiEmbedRequest,
    TeiSimilarityRequest,
    TeiTexts,
    TruncationFields,
)
from bgem3_server.gateway.dialects.texts import text_list
from bgem3_server.gateway.encoding.cls_states import cls_states
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.serialization.json import json_response
from bgem3_server.gateway.serialization.vectors import JsonText


async def embed(body: TeiEmbedRequest, call: Call, gateway: Gateway) -> Response:
    """Answer ``/embed``: the dense vectors."""
    call.dialect = Dialect.TEI
    call.modes = "dense"
    texts = text_list(body.inputs, "inputs")
    await check_dimensions(body.dimensions, gateway)
    options = body.options(gateway.settings.auto_truncate, hidden_states=not body.normalize)
    embeddings = await gateway.encoder.encode(texts, options, call)
    vectors = embeddings.dense if body.normalize else cls_states(embeddings)
    return computed(vectors, texts, call)


async def embed_sparse(body: TeiTexts, call: Call, gateway: Gateway) -> Response:
    """Answer ``/embed_sparse``: the lexical weights, by token id."""
    call.modes = "sparse"
    texts = text_list(body.inputs, "inputs")
    options = body.options(gateway.settings.auto_truncate, frozenset({"sparse"}))
    embeddings = await gateway.encoder.encode(texts, options, call)
    return computed(map(_entries, embeddings.sparse), texts, call)


async def embed_all(body: TeiTexts, call: Call, gateway: Gateway) -> Response:
    """Answer ``/embed_all``: the hidden state of every token."""
    call.modes = "hidden_states"
    texts = text_list(body.inputs, "inputs")
    options = body.options(gateway.settings.auto_truncate, hidden_states=True)
    embeddings = await gateway.encoder.encode(texts, options, call)
    return computed(iter(embeddings.hidden_states), texts, call)


async def similarity(body: TeiSimilarityRequest, call: Call, gateway: Gateway) -> Response:
    """Answer ``/similarity``: cosines of the dense vectors."""
    call.modes = "dense"
    texts = [
        body.inputs.source_sentence,
        *text_list(body.inputs.sentences, "inputs.sentences"),
    ]
    parameters = body.parameters or TruncationFields.model_validate({})
    options = parameters.options(gateway.settings.auto_truncate)
    embeddings = await gateway.encoder.encode(texts, options, call)
    source, sentences = embeddings.dense[0], embeddings.dense[1:]
    return computed(sentences @ source, texts, call)


def computed(content: Any, texts: Sequence[str], call: Call) -> Response:  # noqa: ANN401 - for JSON
    """Return an answer with the headers that text-embeddings-inference puts on it.

    Args:
        content: As :func:`json_response` takes it.
        texts: What it was computed from.
        call: The request, answered.
    """
    response = json_response(content)
    response.headers["x-compute-characters"] = str(sum(map(len, texts)))
    response.headers["x-compute-tokens"] = str(call.tokens)
    response.headers["x-queue-time"] = str(round(call.queue_seconds * 1e3))
    return response


def _entries(weights: SparseEmbedding) -> JsonText:
    # NumPy's own numbers: JSON then has the digits of a float32, not of the same as a float64.
    entries = [
        {"index": index, "value": value}
        for index, value in zip(weights.indices.tolist(), weights.values, strict=True)
    ]
    return JsonText(orjson.dumps(entries, option=orjson.OPT_SERIALIZE_NUMPY))
