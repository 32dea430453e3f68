"""What reranking takes and answers, in the schemas of Cohere (v1 and v2) and Jina."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.pair_scores import Weights
from bgem3_server.gateway.calls.errors import EmptyInputError
from bgem3_server.gateway.dialects.weights import WeightsField

DEFAULT_WEIGHTS: Final[Weights] = (0.4, 0.2, 0.4)
"""Of dense, sparse and ColBERT, where a request does not say."""

JsonDocument = dict[str, Any]


def _check_list(documents: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(documents, list):
        raise ValueError('write a list: ["a document"] for a single one')
    if not documents:
        raise EmptyInputError('documents is empty: send one at least (it may be "")')
    return documents


def _check_document(document: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(document, str | dict):
        raise ValueError(
            f'a document is a string or an object with a string "text", not {document!r:.80}'
        )
    return document


Document = Annotated[str | JsonDocument, BeforeValidator(_check_document)]


class RerankRequest(BaseModel):
    """A query, and documents to be put in the order in which they answer it.

    Fields of other services that mean nothing here are ignored, and named in the answer's
    ``meta.warnings``.
    """

    model_config = ConfigDict(extra="allow")

    query: str = Field(
        description="What the documents shall answer.", examples=["如何重置微信支付密码"]
    )
    documents: Annotated[list[Document], BeforeValidator(_check_list)] = Field(
        min_length=1,
        description="Strings, or objects with a string `text` (or what `rank_fields` names) whose "
        "other fields are left alone. A document may be empty.",
        examples=[["微信支付密码忘了怎么办", {"text": "今天天气很好"}]],
    )
    model: str | None = Field(
        None,
        description="A name of the served model, as `GET /v1/models` lists them; another one is "
        "refused. May be left out.",
        examples=["bge_m3"],
    )
    top_n: int | None = Field(
        None,
        ge=1,
        description="How many results to return, the best first; all of them when left out or when "
        "there are fewer documents.",
        examples=[2],
    )
    return_documents: bool | None = Field(
        None,
        description="Whether each result repeats its document. When left out: yes, as Jina's "
        "clients expect; no at `/v2/rerank`, which is Cohere's alone.",
        examples=[True],
    )
    rank_fields: list[str] | None = Field(
        None,
        min_length=1,
        description="Of documents that are objects, the fields to score, joined by line breaks in "
        "this order; `text` when left out.",
        examples=[["text"]],
    )
    weights: WeightsField = Field(
        DEFAULT_WEIGHTS,
        description="How much dense, sparse and ColBERT scores count: three numbers in this order, "
        "or an object with some of the names. What has no weight is not computed.",
        examples=[[0.4, 0.2, 0.4], {"dense": 0.7, "sparse": 0.3}],
    )
    return_scores: bool = Field(
        False,
        description="Whether each result has its scores by representation in `scores`.",
        examples=[True],
    )
    max_length: int = Field(
        MAX_POSITIONS_TOKENS,
        ge=2,
        le=MAX_POSITIONS_TOKENS,
        description="Tokens that the query and the documents are cut to, special tokens included.",
        examples=[MAX_POSITIONS_TOKENS],
    )
    max_query_length: int | None = Field(
        None,
        ge=2,
        le=MAX_POSITIONS_TOKENS,
        description="The same for the query alone.",
        examples=[512],
    )
    max_tokens_per_doc: int | None = Field(
        None,
        ge=2,
        description="The same for the documents alone; the model itself takes "
        f"{MAX_POSITIONS_TOKENS}.",
        examples=[4096],
    )
    max_chunks_per_doc: int | None = Field(
        None,
        ge=1,
        description="Taken because Cohere's v1 clients send it, and without effect: documents are "
        "scored whole.",
        examples=[10],
    )


class RerankResult(BaseModel):
    """One document's place."""

    index: int = Field(description="The document's place in the request.", examples=[0])
    relevance_score: float = Field(
        description="The weighted mean of its scores: comparable within one answer, no "
        "probability, and not held to 0 to 1.",
        examples=[0.7637],
    )
    document: JsonDocument | None = Field(
        None,
        description="The document, if asked for: as it was sent, a string as `text`.",
        examples=[{"text": "微信支付密码忘了怎么办"}],
    )
    scores: dict[str, float] | None = Field(
        None,
        description="Its score by each representation that has a weight, if asked for.",
        examples=[{"dense": 0.951, "sparse": 0.124, "colbert": 0.896}],
    )


class ApiVersion(BaseModel):
    """Whose version of Cohere's interface answered."""

    version: str = Field(examples=["2"])


class BilledUnits(BaseModel):
    """What Cohere would count; nothing is billed here."""

    search_units: int = Field(description="One for each 100 documents or part of it.", examples=[1])


class RerankMeta(BaseModel):
    """What Cohere's clients read beside the results."""

    api_version: ApiVersion
    billed_units: BilledUnits
    warnings: list[str] | None = Field(
        None,
        description="What was cut or ignored, in words.",
        examples=[["cut to max_length: documents[3]"]],
    )


class RerankUsage(BaseModel):
    """What Jina's clients read beside the results."""

    prompt_tokens: int = Field(description="The same as `total_tokens`.", examples=[23])
    total_tokens: int = Field(
        description="Tokens that were encoded: of the query, and of each distinct document once.",
        examples=[23],
    )


class RerankAnswer(BaseModel):
    """The documents in order."""

    id: str = Field(description="The request's id.", examples=["5f0c9a1e"])
    model: str = Field(description="The served model.", examples=["bge-m3"])
    object: str = Field(examples=["list"])
    results: list[RerankResult] = Field(
        description="The best first; equal scores in the order of the request."
    )
    meta: RerankMeta
    usage: RerankUsage


class RerankProblem(BaseModel):
    """What went wrong, for all clients that speak to these routes."""

    message: str = Field(
        description="In words; what Cohere's clients read.",
        examples=['documents[3]: a document is a string or an object with a string "text"'],
    )
    detail: str = Field(description="The same, for Jina's.")
    error: str = Field(description="The same, for those of text-embeddings-inference.")
    error_type: str = Field(
        description="Its kind in text-embeddings-inference's words.", examples=["Validation"]
    )
    code: str = Field(description="Its kind in ours.", examples=["invalid_input"])
    request_id: str = Field(description="The request's id, as in the log.", examples=["5f0c9a1e"])
    index: int | None = Field(None, description="The document it is about.", examples=[3])
