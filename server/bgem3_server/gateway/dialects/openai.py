"""Embeddings for OpenAI's clients."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import repeat
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path
from starlette.responses import Response

from bgem3_client import Embeddings
from bgem3_client.encode_request import Output
from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.dialects.dimensions import check_dimensions
from bgem3_server.gateway.dialects.items import base64_matrix, sparse_item
from bgem3_server.gateway.dialects.openai_schema import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    ModelItem,
    ModelList,
    OpenAIError,
)
from bgem3_server.gateway.dialects.texts import text_list
from bgem3_server.gateway.encoding.token_texts import with_token_texts
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway
from bgem3_server.gateway.model_card import ModelCard
from bgem3_server.gateway.scoring.ranking import OUTPUTS
from bgem3_server.gateway.serialization.json import json_response
from bgem3_server.gateway.serialization.vectors import EncodingFormat, vectors

router = APIRouter(tags=["openai"], route_class=BodyRoute)

_OWNER: Final = "bgem3-triton"

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "model": OpenAIError,
        "description": "The request: 400 it is wrong, 401 key, 404 another model, 408 body too "
        "slow, 413 too much at once, 429 busy (Retry-After says for how long)",
    },
    "5XX": {
        "model": OpenAIError,
        "description": "The service: 500 it failed, 503 not ready or no memory, 504 deadline "
        "passed",
    },
}

_EXAMPLES: Final[dict[str, Any]] = {
    "dense": {
        "summary": "Dense vectors",
        "value": {"model": "bge_m3", "input": ["如何重置密码", "a text"]},
    },
    "all": {
        "summary": "Dense, sparse and ColBERT from one pass",
        "value": {
            "model": "bge_m3",
            "input": "如何重置密码",
            "outputs": ["dense", "sparse", "colbert"],
        },
    },
    "cut": {
        "summary": "Base64, long texts cut to 512 tokens",
        "value": {
            "model": "bge_m3",
            "input": ["如何重置密码"],
            "encoding_format": "base64",
            "max_length": 512,
        },
    },
}

_DESCRIPTION: Final = """\
OpenAI's route and schema. `outputs` adds the sparse and the ColBERT representation to each item;
all of them come from one pass. A text of more than 8192 tokens is an error, as OpenAI has it,
unless `truncate` or `max_length` says otherwise.
"""


@router.post("/embeddings", include_in_schema=False)
@router.post(
    "/v1/embeddings",
    summary="Embed texts, for OpenAI's clients",
    description=_DESCRIPTION,
    response_class=Response,
    responses={200: {"model": EmbeddingsAnswer}, **_ERRORS},
)
async def create_embeddings(
    body: Annotated[EmbeddingsRequest, Body(openapi_examples=_EXAMPLES)],
    call: CurrentCall,
    gateway: CurrentGateway,
) -> Response:
    """Answer with one item a text."""
    call.modes = "+".join(output for output in OUTPUTS if output in body.outputs)
    gateway.model.check_name(body.model)
    texts = text_list(body.input, "input")
    await check_dimensions(body.dimensions, gateway)
    options = body.options(
        auto_truncate=gateway.settings.auto_truncate,
        local_tokenizer=gateway.counter.workers > 0,
    )
    embeddings = await gateway.encoder.encode(texts, options, call)
    embeddings = await with_token_texts(embeddings, gateway.counter)
    tokens = int(embeddings.token_lengths.sum())
    answer: dict[str, Any] = {
        "object": "list",
        "data": _items(embeddings, body.outputs, body.encoding_format or "float"),
        "model": gateway.model.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if embeddings.truncated.any():
        answer["truncated"] = embeddings.truncated
    return json_response(answer)


@router.get(
    "/v1/models",
    summary="The names of the served model",
    response_model=ModelList,
    responses=_ERRORS,
)
async def list_models(gateway: CurrentGateway) -> ModelList:
    """Answer with every name that requests may use, the model's own first."""
    card = gateway.model
    names = [card.name, *sorted(card.names - {card.name})]
    return ModelList(object="list", data=[_model(name, card) for name in names])


@router.get(
    "/v1/models/{model:path}",
    summary="One name of the served model",
    response_model=ModelItem,
    responses=_ERRORS,
)
async def retrieve_model(
    model: Annotated[str, Path(description="One of its names.", examples=["bge_m3"])],
    gateway: CurrentGateway,
) -> ModelItem:
    """Answer whether the model has this name."""
    gateway.model.check_name(model)
    return _model(model, gateway.model)


def _items(
    embeddings: Embeddings, outputs: Collection[Output], encoding_format: EncodingFormat
) -> Iterator[dict[str, Any]]:
    """Give the item of each text; a large answer is made while it is sent."""
    # Null, not absent: OpenAI's client reads it whatever was asked for.
    dense: Iterable[Any] = repeat(None)
    if "dense" in outputs:
        dense = vectors(embeddings.dense, encoding_format)
    for embedding, values in zip(embeddings, dense, strict=False):
        item = {"object": "embedding", "index": embedding.index, "embedding": values}
        if "sparse" in outputs:
            item["sparse_embedding"] = sparse_item(embedding.sparse)
        if "colbert" in outputs:
            colbert = embedding.colbert
            item["colbert_embedding"] = (
                colbert if encoding_format == "float" else base64_matrix(colbert)
            )
        yield item


def _model(name: str, card: ModelCard) -> ModelItem:
    return ModelItem(id=name, object="model", created=card.created_seconds, owned_by=_OWNER)
