"""``POST /search``: a query against a collection."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from starlette.responses import Response

from bgem3_retrieval.search.answer import SearchAnswer
from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.dialects.native_schema import NativeProblem
from bgem3_server.gateway.dialects.search_schema import SearchRequest
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway

router = APIRouter(tags=["search"], route_class=BodyRoute)

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": NativeProblem, "description": "The request cannot be answered as it stands"},
    "5XX": {"model": NativeProblem, "description": "The service, or its store, cannot answer"},
}

_DESCRIPTION: Final = """\
Finds the passages of a collection that answer a query best: dense and sparse bring candidates,
their scores become one, and ColBERT orders the best anew. The answer is what
`bgem3 search --json` prints.

Needs a store: `--store` or `BGEM3_STORE`.
"""
_EXAMPLES: Final[dict[str, Any]] = {
    "search": {
        "summary": "A question",
        "value": {"query": "how do I reset my password", "limit": 5},
    },
    "filtered": {
        "summary": "Some documents only, with reasons",
        "value": {"query": "reset", "where": ["page>=3"], "explain": True},
    },
}


@router.post(
    "/search",
    summary="The passages that answer a query",
    description=_DESCRIPTION,
    response_class=Response,
    responses={200: {"model": SearchAnswer}, **PROBLEMS},
)
async def search(
    body: Annotated[SearchRequest, Body(openapi_examples=_EXAMPLES)],
    call: CurrentCall,
    gateway: CurrentGateway,
) -> Response:
    """Answer with the hits."""
    retrieval = gateway.needed_retrieval()
    result = await retrieval.search(body.collection, body.query, body.options(), call)
    # Thousands of hits take a while to write.
    content = await asyncio.to_thread(lambda: SearchAnswer.of(result).model_dump_json())
    return Response(content, media_type="application/json")
