"""``POST /index``: documents into a collection."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from starlette.responses import Response

from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.calls.errors import TooLargeError
from bgem3_server.gateway.dialects.index_schema import IndexAnswer, IndexRequest
from bgem3_server.gateway.dialects.search import PROBLEMS
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway

router = APIRouter(tags=["search"], route_class=BodyRoute)

_DESCRIPTION: Final = """\
Cuts documents into passages along their structure, encodes each for all three representations in
one pass, and puts them into a collection. A document that is there as it is, is not encoded again;
one of the same `source` is replaced. A request that ended early is sent again as it is: what was
written stays.

Needs a store: `--store` or `BGEM3_STORE`.
"""
_EXAMPLES: Final[dict[str, Any]] = {
    "documents": {
        "summary": "Two documents",
        "value": {
            "collection": "manuals",
            "documents": [
                {
                    "source": "passwords.md",
                    "text": "# Passwords\n\nTo reset your password, open the settings.",
                    "format": "markdown",
                    "metadata": {"language": "en"},
                },
                {"source": "密码", "text": "重置密码：打开设置。"},
            ],
        },
    },
}


@router.post(
    "/index",
    summary="Documents into a collection",
    description=_DESCRIPTION,
    response_class=Response,
    responses={200: {"model": IndexAnswer}, **PROBLEMS},
)
async def index(
    body: Annotated[IndexRequest, Body(openapi_examples=_EXAMPLES)],
    call: CurrentCall,
    gateway: CurrentGateway,
) -> Response:
    """Answer with what was done."""
    retrieval = gateway.needed_retrieval()
    count, limit = len(body.documents), gateway.settings.max_texts
    if count > limit:
        raise TooLargeError(
            f"the request has {count} documents, and this service takes {limit} at once: send them "
            "in several requests",
            figures={"request_documents": count, "limit_documents": limit},
        )
    given = [document.given() for document in body.documents]
    report = await retrieval.index(body.collection, given, body.options.options(), call)
    return Response(IndexAnswer.of(report).model_dump_json(), media_type="application/json")
