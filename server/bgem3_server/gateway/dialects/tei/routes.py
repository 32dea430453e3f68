"""The routes of text-embeddings-inference; ``/embed`` and ``/rerank`` are shared with others."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from starlette.responses import Response

from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.dialects.tei import embedding, tokenization
from bgem3_server.gateway.dialects.tei.answers import (
    ERRORS,
    DecodedTexts,
    Info,
    Similarities,
    SparseVectors,
    TokenizedTexts,
    TokenStates,
    Vectors,
    responses,
)
from bgem3_server.gateway.dialects.tei.info import info
from bgem3_server.gateway.dialects.tei.requests import (
    TeiDecodeRequest,
    TeiRootRequest,
    TeiSimilarityRequest,
    TeiTexts,
    TeiTokenizeRequest,
)
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway

router = APIRouter(tags=["text-embeddings-inference"], route_class=BodyRoute)

_ROOT_EXAMPLES: Final[dict[str, Any]] = {
    "embed": {"summary": "As /embed", "value": {"inputs": ["如何重置密码", "a text"]}},
    "similarity": {
        "summary": "As /similarity",
        "value": {
            "inputs": {
                "source_sentence": "如何重置密码",
                "sentences": ["密码忘了怎么办", "今天天气很好"],
            }
        },
    },
}


@router.post(
    "/",
    summary="Embed or compare texts, by the body",
    description="With texts as `inputs` the same as `/embed`, with a `source_sentence` and "
    "`sentences` the same as `/similarity`: for clients that know the service's URL alone.",
    response_model=Vectors | Similarities,
    responses=responses("As `/embed` or `/similarity`"),
)
async def post_root(
    body: Annotated[TeiRootRequest, Body(openapi_examples=_ROOT_EXAMPLES)],
    call: CurrentCall,
    gateway: CurrentGateway,
) -> Response:
    """Answer by what the body holds."""
    if isinstance(body, TeiSimilarityRequest):
        return await embedding.similarity(body, call, gateway)
    return await embedding.embed(body, call, gateway)


@router.post(
    "/embed_sparse",
    summary="Lexical weights of texts",
    description="The weight of each token that a text has, by token id. Special tokens have none.",
    response_model=SparseVectors,
    responses=responses("For each text its weights, by rising token id"),
)
async def post_embed_sparse(body: TeiTexts, call: CurrentCall, gateway: CurrentGateway) -> Response:
    """Answer with lexical weights."""
    return await embedding.embed_sparse(body, call, gateway)


@router.post(
    "/embed_all",
    summary="Hidden states of all tokens",
    description="The last layer's state of each token, special tokens included, not normalised. "
    "For late interaction use ColBERT vectors instead: `/embed` with `texts` and the mode "
    "`colbert`.",
    response_model=TokenStates,
    responses=responses("For each text a vector for each token"),
)
async def post_embed_all(body: TeiTexts, call: CurrentCall, gateway: CurrentGateway) -> Response:
    """Answer with hidden states."""
    return await embedding.embed_all(body, call, gateway)


@router.post(
    "/similarity",
    summary="Compare a text with others",
    description="The cosine of the texts' dense vectors. In an error, `index` 0 is the source "
    "sentence, and 1 the first of the others.",
    response_model=Similarities,
    responses=responses("A cosine for each sentence, in their order"),
)
async def post_similarity(
    body: TeiSimilarityRequest, call: CurrentCall, gateway: CurrentGateway
) -> Response:
    """Answer with cosines."""
    return await embedding.similarity(body, call, gateway)


@router.post(
    "/tokenize",
    summary="Tokens of texts",
    description="The tokens as the model sees them, however many there are.",
    response_model=TokenizedTexts,
    responses={200: {"description": "For each text its tokens"}, **ERRORS},
)
async def post_tokenize(
    body: TeiTokenizeRequest, call: CurrentCall, gateway: CurrentGateway
) -> Response:
    """Answer with tokens."""
    return await tokenization.tokenize(body, call, gateway)


@router.post(
    "/decode",
    summary="Texts of token ids",
    description="The text that token ids stand for. It is not always the text they came from: the "
    "tokenizer brings characters into a normal form.",
    response_model=DecodedTexts,
    responses={200: {"description": "A text for each row of ids"}, **ERRORS},
)
async def post_decode(
    body: TeiDecodeRequest, call: CurrentCall, gateway: CurrentGateway
) -> Response:
    """Answer with texts."""
    return await tokenization.decode(body, call, gateway)


@router.get(
    "/info",
    summary="The model and the limits",
    response_model=Info,
    responses=ERRORS,
)
async def get_info(gateway: CurrentGateway) -> Info:
    """Answer with what is served."""
    return info(gateway)
