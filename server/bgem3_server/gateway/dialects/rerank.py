"""Reranking for the clients of Cohere (v1 and v2) and Jina."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import APIRouter, Body
from numpy.typing import NDArray
from pydantic import Discriminator, Tag
from starlette.responses import Response

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.dialects import tei
from bgem3_server.gateway.dialects.rerank_schema import (
    JsonDocument,
    RerankAnswer,
    RerankProblem,
    RerankRequest,
)
from bgem3_server.gateway.dialects.tei import TeiRerankRequest
from bgem3_server.gateway.dialects.tei.answers import Ranks, TeiError
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway, Gateway
from bgem3_server.gateway.scoring.ranking import RankOptions, Scores, rank, weighted_outputs
from bgem3_server.gateway.serialization.json import json_response

router = APIRouter(tags=["rerank"], route_class=BodyRoute)

_TEXT_FIELD: Final = ("text",)
# Cohere counts a query with up to so many documents as one unit.
_DOCUMENTS_A_SEARCH_UNIT: Final = 100
_NAMED_TEXTS: Final = 10

_EXAMPLES: Final[dict[str, Any]] = {
    "documents": {
        "summary": "Strings",
        "value": {
            "query": "如何重置微信支付密码",
            "documents": [
                "今天天气很好",
                "微信支付密码忘了怎么办",
                "How do I reset my WeChat Pay password?",
            ],
            "top_n": 2,
        },
    },
    "weights": {
        "summary": "70% dense and 30% sparse, with each score",
        "value": {
            "query": "如何重置微信支付密码",
            "documents": [{"text": "今天天气很好"}, {"text": "微信支付密码忘了怎么办"}],
            "weights": {"dense": 0.7, "sparse": 0.3},
            "return_scores": True,
        },
    },
}

_TEI_EXAMPLES: Final[dict[str, Any]] = {
    "texts": {
        "summary": "Texts, as for text-embeddings-inference",
        "value": {"query": "如何重置密码", "texts": ["今天天气很好", "密码忘了怎么办"]},
    },
}

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": RerankAnswer},
    "4XX": {
        "model": RerankProblem,
        "description": "The request: 401 key, 404 another model, 408 body too slow, 413 too large, "
        "422 anything else that is wrong with it, 429 busy (Retry-After says for how long)",
    },
    "5XX": {
        "model": RerankProblem,
        "description": "The service: 503 not ready or no memory, 504 deadline passed",
    },
}
_EITHER_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": RerankAnswer | Ranks},
    "4XX": _RESPONSES["4XX"] | {"model": RerankProblem | TeiError},
    "5XX": _RESPONSES["5XX"] | {"model": RerankProblem | TeiError},
}
_DESCRIPTION: Final = """\
Puts documents in the order in which they answer a query. Schemas and answers are those of Cohere
(`/v1/rerank`, `/v2/rerank`) and of Jina (`/v1/rerank`).

Each document is encoded once. Its score is the weighted mean of its dense score (a cosine), its
sparse score (the sum over shared tokens of the product of their weights: 0 or more, seldom above
1) and its ColBERT score (the mean over the query's tokens of the best cosine): `weights`. So it
lies between -1 and about 1. It is no probability; compare scores of one query only.
"""


def _form(body: object) -> str:
    return "<texts>" if isinstance(body, dict) and "texts" in body else "<documents>"


RerankBody = Annotated[RerankRequest, Body(openapi_examples=_EXAMPLES)]
EitherBody = Annotated[
    Annotated[RerankRequest, Tag("<documents>")] | Annotated[TeiRerankRequest, Tag("<texts>")],
    Discriminator(_form),
    Body(openapi_examples=_EXAMPLES | _TEI_EXAMPLES),
]


@router.post(
    "/rerank",
    summary="Rerank documents, or texts",
    description=_DESCRIPTION
    + "\nWith `texts` instead of `documents` it answers as text-embeddings-inference does.\n",
    response_class=Response,
    responses=_EITHER_RESPONSES,
)
async def rerank_either(body: EitherBody, call: CurrentCall, gateway: CurrentGateway) -> Response:
    """Answer by what the body holds."""
    if isinstance(body, TeiRerankRequest):
        return await tei.rerank(body, call, gateway)
    return await rerank_v1(body, call, gateway)


@router.post(
    "/v1/rerank",
    summary="Rerank documents, for Jina's clients and Cohere's v1",
    description=_DESCRIPTION,
    response_class=Response,
    responses=_RESPONSES,
)
async def rerank_v1(body: RerankBody, call: CurrentCall, gateway: CurrentGateway) -> Response:
    """Answer Jina's clients and Cohere's v1."""
    return await _rerank(body, call, gateway, version="1", return_documents=True)


@router.post(
    "/v2/rerank",
    summary="Rerank documents, for Cohere's clients",
    description=_DESCRIPTION,
    response_class=Response,
    responses=_RESPONSES,
)
async def rerank_v2(body: RerankBody, call: CurrentCall, gateway: CurrentGateway) -> Response:
    """Answer Cohere's v2 clients."""
    return await _rerank(body, call, gateway, version="2", return_documents=False)


async def _rerank(
    body: RerankRequest, call: Call, gateway: Gateway, *, version: str, return_documents: bool
) -> Response:
    gateway.model.check_name(body.model)
    fields = body.rank_fields or _TEXT_FIELD
    documents = [_text(document, fields, index) for index, document in enumerate(body.documents)]
    if body.return_documents is not None:
        return_documents = body.return_documents
    if return_documents:
        _check_repeatable(body.documents)
    scores = await rank(body.query, documents, _options(body), gateway, call)
    relevance = scores.weighted(body.weights)
    best = np.argsort(-relevance, kind="stable")[: body.top_n]
    meta: dict[str, Any] = {
        "api_version": {"version": version},
        "billed_units": {"search_units": -(-len(documents) // _DOCUMENTS_A_SEARCH_UNIT)},
    }
    if warnings := _warnings(body, scores):
        meta["warnings"] = warnings
    return json_response(
        {
            "id": call.request_id,
            "model": gateway.model.name,
            "object": "list",
            "results": [
                _result(index, relevance, scores, body, return_documents=return_documents)
                for index in best.tolist()
            ],
            "meta": meta,
            "usage": {"prompt_tokens": call.tokens, "total_tokens": call.tokens},
        }
    )


def _options(body: RerankRequest) -> RankOptions:
    return RankOptions(
        weighted_outputs(body.weights),
        body.max_query_length or body.max_length,
        # A document may be longer than the model takes only in what a client says of it.
        min(body.max_tokens_per_doc or body.max_length, MAX_POSITIONS_TOKENS),
    )


def _text(document: str | JsonDocument, fields: Sequence[str], index: int) -> str:
    if isinstance(document, str):
        return document
    for field in fields:
        if not isinstance(document.get(field), str):
            problem = "is no string" if field in document else "is missing"
            raise InvalidInputError(
                f"documents[{index}]: {field!r} {problem}; a document is a string, or an object "
                f"with a string for each of the fields to score ({', '.join(map(repr, fields))})",
                index,
            )
    return "\n".join(document[field] for field in fields)


def _check_repeatable(documents: Sequence[str | JsonDocument]) -> None:
    """Refuse now what could not be sent back later."""
    for index, document in enumerate(documents):
        if isinstance(document, str):
            continue
        try:
            orjson.dumps(document)
        except orjson.JSONEncodeError as error:
            raise InvalidInputError(
                f"documents[{index}]: the object cannot be sent back ({error}): send "
                "return_documents false, or leave out what is not to be scored",
                index,
            ) from error


def _result(
    index: int,
    relevance: NDArray[np.float64],
    scores: Scores,
    body: RerankRequest,
    *,
    return_documents: bool,
) -> Mapping[str, Any]:
    result: dict[str, Any] = {"index": index, "relevance_score": float(relevance[index])}
    if return_documents:
        document = body.documents[index]
        result["document"] = {"text": document} if isinstance(document, str) else document
    if body.return_scores:
        result["scores"] = {
            output: float(values[index]) for output, values in scores.by_output.items()
        }
    return result


def _warnings(body: RerankRequest, scores: Scores) -> list[str]:
    """What a caller may not expect, in words."""
    cut = [f"documents[{index}]" for index in np.flatnonzero(scores.truncated[:, 1]).tolist()]
    if scores.truncated[0, 0]:
        cut.insert(0, "query")
    warnings = []
    if cut:
        more = f" and {len(cut) - _NAMED_TEXTS} more" if len(cut) > _NAMED_TEXTS else ""
        warnings.append(f"longer than allowed, and cut: {', '.join(cut[:_NAMED_TEXTS])}{more}")
    if body.model_extra:
        warnings.append(f"fields unknown here, and ignored: {', '.join(sorted(body.model_extra))}")
    return warnings
