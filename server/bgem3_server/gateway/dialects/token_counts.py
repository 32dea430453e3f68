"""``POST /count_tokens``: how many tokens texts have."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.dialects.tei.answers import ERRORS
from bgem3_server.gateway.dialects.texts import Texts, text_list
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway
from bgem3_server.gateway.serialization.json import json_response

router = APIRouter(tags=["native"], route_class=BodyRoute)

_DESCRIPTION: Final = """\
Counts the tokens of texts as the model does, before anything is cut: whoever divides documents into
passages needs nothing else. Only the tokenizer works, so it takes no share of the token budget.
"""


class CountTokensRequest(BaseModel):
    """Texts to count."""

    model_config = ConfigDict(strict=True, extra="forbid")

    texts: Texts = Field(
        description="A text, or a list of texts; the empty text is one too.",
        examples=[["如何重置密码", "How do I reset my password?"], "a text"],
    )
    model: str | None = Field(
        None,
        description="A name of the served model, as `GET /v1/models` lists them; another one is "
        "refused. May be left out.",
        examples=["bge_m3"],
    )


class CountTokensAnswer(BaseModel):
    """The number of tokens of each text, in their order."""

    model: str = Field(description="The served model.", examples=["bge-m3"])
    token_lengths: list[int] = Field(
        description="Special tokens included, nothing truncated.", examples=[[6, 10]]
    )


_EXAMPLES: Final[dict[str, Any]] = {
    "texts": {
        "summary": "Two texts",
        "value": {"texts": ["如何重置密码", "How do I reset my password?"]},
    },
}


@router.post(
    "/count_tokens",
    summary="Number of tokens of texts",
    description=_DESCRIPTION,
    response_class=Response,
    responses={200: {"model": CountTokensAnswer}, **ERRORS},
)
async def count_tokens(
    body: Annotated[CountTokensRequest, Body(openapi_examples=_EXAMPLES)],
    call: CurrentCall,
    gateway: CurrentGateway,
) -> Response:
    """Answer with the lengths."""
    gateway.model.check_name(body.model)
    async with call.deadline.enforced():
        lengths = await gateway.encoder.count(text_list(body.texts, "texts"))
    return json_response({"model": gateway.model.name, "token_lengths": lengths})
