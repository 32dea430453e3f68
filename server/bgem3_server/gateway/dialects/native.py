"""``POST /embed``: this service's own dialect, and text-embeddings-inference's on the same path."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request
from pydantic import Discriminator, Tag
from starlette.responses import Response

from bgem3_client.encode_request import EncodeOptions
from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import NotAcceptableError
from bgem3_server.gateway.dialects import tei
from bgem3_server.gateway.dialects.native_answer import answer_arrays, answer_content
from bgem3_server.gateway.dialects.native_schema import (
    NativeEmbedAnswer,
    NativeEmbedRequest,
    NativeProblem,
)
from bgem3_server.gateway.dialects.tei.answers import Vectors
from bgem3_server.gateway.encoding.token_texts import with_token_texts
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway, Gateway
from bgem3_server.gateway.serialization.json import json_response
from bgem3_server.gateway.serialization.media_type import best_media_type
from bgem3_server.gateway.serialization.msgpack import msgpack_response
from bgem3_server.gateway.serialization.npz import NPZ, npz_response

router = APIRouter(tags=["native"], route_class=BodyRoute)

_JSON: Final = "application/json"
_MSGPACK: Final = "application/msgpack"
_MEDIA_TYPES: Final = (
    _JSON,
    NPZ,
    _MSGPACK,
    "application/x-msgpack",
    "application/vnd.msgpack",
)

_DESCRIPTION: Final = """\
Gives the representations of texts: dense vectors, sparse lexical weights and a ColBERT vector for
each token, whichever `mode` names, all from one forward pass.

The answer is JSON; with `Accept: application/x-npz` an archive that `numpy.load` reads, with
`Accept: application/msgpack` MessagePack, in which an array of numbers is
`{"data": bytes, "shape": [...], "dtype": "<f4"}`. ColBERT vectors are many: take one of these, or
base64, for more than a few texts.

A body with `inputs` instead of `texts` is answered as text-embeddings-inference does.
"""
_EXAMPLES: Final[dict[str, Any]] = {
    "dense": {
        "summary": "Dense vectors",
        "value": {"texts": ["如何重置密码", "How do I reset my password?"]},
    },
    "all": {
        "summary": "All three, and the tokens",
        "value": {
            "texts": ["Python 报错了怎么办"],
            "mode": ["dense", "sparse", "colbert"],
            "return_tokens": True,
        },
    },
    "base64": {
        "summary": "Half-precision vectors in base64; a longer text is an error",
        "value": {
            "texts": ["a text"],
            "mode": ["dense", "colbert"],
            "max_length": 512,
            "truncate": False,
            "encoding_format": "base64_float16",
        },
    },
    "tei": {
        "summary": "As to text-embeddings-inference",
        "value": {"inputs": ["如何重置密码"], "normalize": True},
    },
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": NativeEmbedAnswer | Vectors,
        "description": "The representations, as the `Accept` header wants them",
        "content": {media_type: _BINARY for media_type in _MEDIA_TYPES if media_type != _JSON},
    },
    "4XX": {"model": NativeProblem, "description": "The request cannot be answered as it stands"},
    "5XX": {"model": NativeProblem, "description": "The service cannot answer"},
}


_NATIVE: Final = "<texts>"
_TEI: Final = "<inputs>"


def _form(body: Any) -> str:  # noqa: ANN401 - whatever JSON holds, or a model
    """Whose request it is; what is neither's is ours, which says what is missing."""
    is_tei = isinstance(body, tei.TeiEmbedRequest) or (
        isinstance(body, dict) and "inputs" in body and "texts" not in body
    )
    return _TEI if is_tei else _NATIVE


EmbedRequest = Annotated[
    Annotated[NativeEmbedRequest, Tag(_NATIVE)] | Annotated[tei.TeiEmbedRequest, Tag(_TEI)],
    Discriminator(_form),
    Body(openapi_examples=_EXAMPLES),
]


@router.post(
    "/embed",
    summary="Texts to dense, sparse and ColBERT representations",
    description=_DESCRIPTION,
    response_class=Response,
    responses=_RESPONSES,
)
async def embed(
    body: EmbedRequest, request: Request, call: CurrentCall, gateway: CurrentGateway
) -> Response:
    """Answer in the dialect of the body."""
    if isinstance(body, tei.TeiEmbedRequest):
        return await tei.embed(body, call, gateway)
    return await _embed(body, ",".join(request.headers.getlist("accept")), call, gateway)


async def _embed(body: NativeEmbedRequest, accept: str, call: Call, gateway: Gateway) -> Response:
    call.modes = "+".join(body.mode)
    gateway.model.check_name(body.model)
    media_type = best_media_type(accept, _MEDIA_TYPES)
    if media_type is None:
        raise NotAcceptableError(
            f"the Accept header {accept!r:.80} takes nothing that is offered here: "
            f"{', '.join(_MEDIA_TYPES)}"
        )
    embeddings = await gateway.encoder.encode(body.texts, _options(body, gateway), call)
    embeddings = await with_token_texts(embeddings, gateway.counter)
    if media_type == NPZ:
        return npz_response(await asyncio.to_thread(answer_arrays, embeddings, body))
    if media_type == _JSON:
        base64 = body.encoding_format != "float"
        return json_response(answer_content(embeddings, body, gateway.model.name, base64=base64))
    content = answer_content(embeddings, body, gateway.model.name, base64=False)
    return msgpack_response(content, media_type)


def _options(body: NativeEmbedRequest, gateway: Gateway) -> EncodeOptions:
    triton_tells_texts = "sparse" in body.mode and not gateway.counter.workers
    return EncodeOptions(
        frozenset(body.mode),
        body.max_length,
        body.truncate,
        return_tokens=body.return_tokens or triton_tells_texts,
        colbert_dtype="float16" if body.encoding_format == "base64_float16" else "float32",
        return_hidden_states="dense" in body.mode and not body.normalize,
    )
