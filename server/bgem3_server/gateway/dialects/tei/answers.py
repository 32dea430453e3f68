"""What text-embeddings-inference's routes answer: for the documentation, and for what is small."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, RootModel


class Vectors(RootModel[list[list[float]]]):
    """A vector for each text."""

    model_config = ConfigDict(json_schema_extra={"examples": [[[0.0123, -0.0456, 0.0789]]]})


class TokenStates(RootModel[list[list[list[float]]]]):
    """For each text a vector for each token, special tokens included, not normalised."""

    model_config = ConfigDict(json_schema_extra={"examples": [[[[0.61, -0.2], [0.05, 1.3]]]]})


class SparseValue(BaseModel):
    """One token's weight in a text."""

    index: int = Field(description="The token's id.", examples=[138295])
    value: float = Field(description="Its weight, above 0.", examples=[0.175])


class SparseVectors(RootModel[list[list[SparseValue]]]):
    """For each text the weights of its tokens, by rising id."""


class Similarities(RootModel[list[float]]):
    """The cosine of each sentence's vector with the source sentence's."""

    model_config = ConfigDict(json_schema_extra={"examples": [[0.951, 0.324]]})


class Rank(BaseModel):
    """A text's place in the order."""

    index: int = Field(description="Which of the texts it is.", examples=[1])
    score: float = Field(description="How well it answers the query.", examples=[0.83])
    text: str | None = Field(
        default=None, description="The text, where return_text is true.", examples=["a text"]
    )


class Ranks(RootModel[list[Rank]]):
    """The texts, best first."""


class SimpleToken(BaseModel):
    """One token of a text."""

    id: int = Field(examples=[33600])
    text: str = Field(
        description="The characters it covers; of a special token, its name.", examples=["hello"]
    )
    special: bool = Field(
        description="Whether the tokenizer added it: the first and the last one.", examples=[False]
    )
    start: int | None = Field(
        description="The first character it covers, counted in characters of the text. Null for "
        "special tokens, and where the service has no tokenizer of its own.",
        examples=[0],
    )
    stop: int | None = Field(description="The first character behind it.", examples=[5])


class TokenizedTexts(RootModel[list[list[SimpleToken]]]):
    """The tokens of each text."""


class DecodedTexts(RootModel[list[str]]):
    """The text of each row of ids."""


class EmbeddingModel(BaseModel):
    """How a text's vector is made of its tokens' states."""

    pooling: Literal["cls"] = Field(description="The first token's state.")


class ModelType(BaseModel):
    """What the model does."""

    embedding: EmbeddingModel


class Info(BaseModel):
    """The served model and the service's limits."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str = Field(examples=["BAAI/bge-m3"])
    model_sha: str | None = Field(description="The revision of its source, where it is known.")
    model_dtype: str = Field(description="The trunk's precision.", examples=["float16"])
    model_type: ModelType
    max_concurrent_requests: int = Field(
        description="How many requests of 512 tokens may wait or run at once. The true limit is "
        "in tokens."
    )
    max_input_length: int = Field(description="The longest text, in tokens.", examples=[8192])
    max_batch_tokens: int = Field(description="Tokens that are computed at once.")
    max_batch_requests: int | None = Field(description="There is no such limit: null.")
    max_client_batch_size: int = Field(
        description="So many texts are taken however long they are. More shorter ones are taken "
        "too."
    )
    auto_truncate: bool = Field(
        description="Whether long texts are cut where a request does not say."
    )
    tokenization_workers: int = Field(description="0 where Triton alone tokenizes.")
    version: str = Field(description="Of this service.")
    sha: str | None = Field(description="Not known: null.")
    docker_label: str | None = Field(description="Not known: null.")


class TeiError(BaseModel):
    """Why a request was not answered."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(
        description="What was wrong with what, and what to do.",
        examples=["the text has 9001 tokens, and max_length is 8192: shorten it, or …"],
    )
    error_type: Literal[
        "Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty", "Unauthorized"
    ] = Field(description="The original's word for it.", examples=["Validation"])
    code: str = Field(description="This service's own.", examples=["text_too_long"])
    request_id: str = Field(description="The log knows the request by it.")
    index: int | None = Field(
        default=None, description="Which of the texts was wrong, where one was.", examples=[3]
    )


Responses: TypeAlias = dict[int | str, dict[str, Any]]

ERRORS: Final[Responses] = {
    "4XX": {
        "model": TeiError,
        "description": "The request: 400 no texts, 401 key, 408 body too slow, 413 a text too "
        "long or too many of them, 422 anything else that is wrong with it, 424 it could not be "
        "computed, 429 busy (Retry-After says for how long)",
    },
    "5XX": {
        "model": TeiError,
        "description": "The service: 501 not set up for this, 503 not ready or no memory, 504 "
        "deadline passed",
    },
}

_HEADERS: Final = {
    "x-compute-characters": {
        "description": "Characters of the texts",
        "schema": {"type": "string"},
    },
    "x-compute-tokens": {
        "description": "Tokens that were computed, special tokens included",
        "schema": {"type": "string"},
    },
    "x-queue-time": {
        "description": "Milliseconds that the request waited for its turn",
        "schema": {"type": "string"},
    },
}


def responses(description: str) -> Responses:
    """Return what a route that computes something may answer, for its documentation."""
    return {200: {"description": description, "headers": _HEADERS}, **ERRORS}
