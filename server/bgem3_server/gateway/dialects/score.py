"""Scores of pairs: the five of FlagEmbedding's ``compute_score``."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from starlette.responses import Response

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.pair_scores import Weights
from bgem3_server.gateway.calls.body_route import BodyRoute
from bgem3_server.gateway.calls.errors import EmptyInputError
from bgem3_server.gateway.dialects.tei.answers import ERRORS
from bgem3_server.gateway.dialects.weights import WeightsField
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway
from bgem3_server.gateway.scoring.pair_plan import Pair
from bgem3_server.gateway.scoring.ranking import RankOptions, score_pairs
from bgem3_server.gateway.serialization.json import json_response

router = APIRouter(tags=["score"], route_class=BodyRoute)

_EQUAL_WEIGHTS: Final[Weights] = (1.0, 1.0, 1.0)


def _check_list(pairs: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(pairs, list) or (pairs and all(isinstance(pair, str) for pair in pairs)):
        raise ValueError('write a list of pairs: [["query", "passage"]] for a single one')
    if not pairs:
        raise EmptyInputError("pairs is empty: send one at least")
    return pairs


def _check_pair(pair: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(t, str) for t in pair):
        raise ValueError(f'a pair is ["query", "passage"], two strings, not {pair!r:.80}')
    return pair


class ScoreRequest(BaseModel):
    """Queries and passages to compare, pair by pair."""

    model_config = ConfigDict(extra="forbid")

    pairs: Annotated[
        list[Annotated[Pair, BeforeValidator(_check_pair)]], BeforeValidator(_check_list)
    ] = Field(
        min_length=1,
        description="Each a query and a passage. Texts may come as often as wanted; each distinct "
        "one is encoded once.",
        examples=[[["如何重置微信支付密码", "微信支付密码忘了怎么办"]]],
    )
    weights: WeightsField = Field(
        _EQUAL_WEIGHTS,
        description="How much dense, sparse and ColBERT count in `sparse+dense` and in "
        "`colbert+sparse+dense`: three numbers in this order, or an object with some of the names. "
        "Dense or sparse must have a weight above 0.",
        examples=[[0.4, 0.2, 0.4]],
    )
    max_query_length: int = Field(
        MAX_POSITIONS_TOKENS,
        ge=2,
        le=MAX_POSITIONS_TOKENS,
        description="Tokens a query is cut to, special tokens included (FlagEmbedding: 512).",
        examples=[512],
    )
    max_passage_length: int = Field(
        MAX_POSITIONS_TOKENS,
        ge=2,
        le=MAX_POSITIONS_TOKENS,
        description="Tokens a passage is cut to (FlagEmbedding: 512).",
        examples=[MAX_POSITIONS_TOKENS],
    )
    model: str | None = Field(
        None,
        description="A name of the served model, as `GET /v1/models` lists them; another one is "
        "refused. May be left out.",
        examples=["bge_m3"],
    )

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: Weights) -> Weights:
        if not weights[0] + weights[1]:
            raise ValueError(
                "dense and sparse have no weight, and sparse+dense is divided by their sum: give "
                "one of them a weight, and read the score of ColBERT alone from colbert"
            )
        return weights


class PairScores(BaseModel):
    """The five scores; each list has one number a pair."""

    colbert: list[float] = Field(
        description="The mean over the query's tokens of the best cosine.", examples=[[0.896]]
    )
    sparse: list[float] = Field(
        description="The sum over shared tokens of the product of their weights.",
        examples=[[0.124]],
    )
    dense: list[float] = Field(description="The cosine.", examples=[[0.951]])
    sparse_dense: list[float] = Field(
        alias="sparse+dense", description="The weighted mean of two.", examples=[[0.5375]]
    )
    colbert_sparse_dense: list[float] = Field(
        alias="colbert+sparse+dense",
        description="The weighted mean of all three.",
        examples=[[0.657]],
    )


class ScoreUsage(BaseModel):
    """What was computed."""

    prompt_tokens: int = Field(description="The same as `total_tokens`.", examples=[23])
    total_tokens: int = Field(
        description="Tokens that were encoded, of each distinct text once.", examples=[23]
    )


class ScoreAnswer(BaseModel):
    """The scores of the pairs, in their order."""

    model: str = Field(description="The served model.", examples=["bge-m3"])
    scores: PairScores
    truncated: list[bool] = Field(
        description="For each pair, whether its query or its passage was cut.", examples=[[False]]
    )
    usage: ScoreUsage


_EXAMPLES: Final[dict[str, Any]] = {
    "pairs": {
        "summary": "Two pairs",
        "value": {
            "pairs": [
                ["如何重置微信支付密码", "微信支付密码忘了怎么办"],
                ["如何重置微信支付密码", "今天天气很好"],
            ]
        },
    },
    "weights": {
        "summary": "With weights, as for reranking",
        "value": {
            "pairs": [["How do I reset my password?", "Click on 'Forgot password'."]],
            "weights": [0.4, 0.2, 0.4],
            "max_query_length": 512,
        },
    },
}
_DESCRIPTION: Final = """\
Gives for each pair of a query and a passage the five scores of FlagEmbedding's `compute_score`:
`dense`, `sparse`, `colbert`, and two weighted means of them. They are no probabilities: dense and
ColBERT lie between -1 and 1, sparse is 0 or more and seldom above 1.
"""


@router.post(
    "/score",
    summary="Score pairs of texts",
    description=_DESCRIPTION,
    response_class=Response,
    responses={200: {"model": ScoreAnswer}, **ERRORS},
)
async def score(
    body: Annotated[ScoreRequest, Body(openapi_examples=_EXAMPLES)],
    call: CurrentCall,
    gateway: CurrentGateway,
) -> Response:
    """Answer with all five scores, whatever their weights."""
    gateway.model.check_name(body.model)
    options = RankOptions(
        max_query_length=body.max_query_length, max_passage_length=body.max_passage_length
    )
    scores = await score_pairs(body.pairs, options, gateway, call)
    dense_weight, sparse_weight, _ = body.weights
    return json_response(
        {
            "model": gateway.model.name,
            "scores": {
                "colbert": scores.by_output["colbert"],
                "sparse": scores.by_output["sparse"],
                "dense": scores.by_output["dense"],
                "sparse+dense": scores.weighted((dense_weight, sparse_weight, 0.0)),
                "colbert+sparse+dense": scores.weighted(body.weights),
            },
            "truncated": scores.truncated.any(axis=1),
            "usage": {"prompt_tokens": call.tokens, "total_tokens": call.tokens},
        }
    )
