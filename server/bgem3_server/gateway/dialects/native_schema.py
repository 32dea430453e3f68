"""What ``POST /embed`` takes and answers in this service's own dialect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.encode_request import Output
from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.calls.errors import EmptyInputError
from bgem3_server.gateway.serialization.vectors import EncodingFormat

Modes: TypeAlias = tuple[Output, ...]
"""In the order dense, sparse, colbert, each once."""

_MODES: Final[Modes] = get_args(Output)
_MODE_NAMES: Final = ", ".join(f'"{mode}"' for mode in _MODES)
_MODE_SCHEMA: Final[dict[str, JsonValue]] = {"type": "string", "enum": list(_MODES)}
_RIGHT_FORM: Final = '{"texts": ["…"]}'


def _check_texts(texts: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(texts, list):
        raise InvalidInputError(f'"texts" must be a list: send {_RIGHT_FORM}')
    if not texts:
        raise EmptyInputError("\"texts\" is empty: send one text at least (it may be '')")
    return texts


def _checked_modes(mode: Any) -> Modes:  # noqa: ANN401 - whatever JSON holds
    names = mode if isinstance(mode, list) else [mode]
    for name in names:
        if name not in _MODES:
            raise InvalidInputError(f'"mode" is {_MODE_NAMES}, or a list of them, not {name!r:.80}')
    if not names:
        raise InvalidInputError(f'"mode" is an empty list: name some of {_MODE_NAMES}')
    return tuple(known for known in _MODES if known in names)


class NativeEmbedRequest(BaseModel):
    """Texts, and what is wanted of them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    texts: Annotated[list[str], BeforeValidator(_check_texts)] = Field(
        description="The texts: one at least; the empty text is one too.",
        examples=[["如何重置密码", "How do I reset my password?"]],
        json_schema_extra={"minItems": 1},
    )
    mode: Annotated[
        Modes,
        BeforeValidator(_checked_modes),
        WithJsonSchema(
            {
                "anyOf": [
                    _MODE_SCHEMA,
                    {"type": "array", "items": _MODE_SCHEMA, "minItems": 1},
                ]
            }
        ),
    ] = Field(
        ("dense",),
        description="The representations wanted, one or several; all come from one forward pass.",
        examples=["dense", ["dense", "sparse", "colbert"]],
        json_schema_extra={"default": "dense"},
    )
    max_length: int = Field(
        MAX_POSITIONS_TOKENS,
        ge=1,
        le=MAX_POSITIONS_TOKENS,
        description="Tokens that a text is cut to, special tokens included.",
        examples=[512],
    )
    truncate: bool = Field(
        True,
        description="Whether longer texts are cut; `truncated` in the answer says which were. "
        "With false a longer text is an error.",
        examples=[True],
    )
    normalize: bool = Field(
        True,
        description="Whether dense vectors have length 1. With false they are the first token's "
        "hidden states as they are, and cost the transport of all tokens' states.",
        examples=[True],
    )
    return_tokens: bool = Field(
        False,
        description="Whether the answer has `tokens` and `token_ids`, special tokens included.",
        examples=[False],
    )
    encoding_format: EncodingFormat = Field(
        "float",
        description="Dense and ColBERT vectors as numbers, or as base64 of little-endian float32 "
        "or float16. In NPZ and MessagePack `base64_float16` means float16 arrays, and the others "
        "float32.",
        examples=["float"],
    )
    model: str | None = Field(
        None,
        description="One of the served model's names (`GET /v1/models`), where the caller wants "
        "to be sure.",
        examples=[None],
    )

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, body: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
        if not isinstance(body, dict):
            raise InvalidInputError(f"the body must be a JSON object: send {_RIGHT_FORM}")
        if "texts" in body and "inputs" in body:
            raise InvalidInputError(
                'the body has "texts" and "inputs": send "texts", or "inputs" as to '
                "text-embeddings-inference"
            )
        for name in body:
            if name not in cls.model_fields:
                raise InvalidInputError(_unknown_field(name, cls.model_fields))
        if "texts" not in body:
            raise InvalidInputError(
                f'the body has neither "texts" nor "inputs": send {_RIGHT_FORM}, or {{"inputs": '
                '["…"]}} as to text-embeddings-inference'
            )
        return body


def _unknown_field(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    advice = f'did you mean "{nearest[0]}"?' if nearest else f"the fields are {', '.join(known)}"
    return f'unknown field "{name:.80}": {advice}'


Base64Text: TypeAlias = Annotated[str, Field(description="base64 of the numbers, little-endian.")]


class Base64Matrix(BaseModel):
    """A text's token vectors in base64."""

    data: Base64Text
    shape: list[int] = Field(
        description="Vectors and their size.", min_length=2, max_length=2, examples=[[7, 1024]]
    )


class SparseWeights(BaseModel):
    """A text's lexical weights, twice."""

    lexical_weights: dict[str, float] = Field(
        description="The weight of each token by the token's text; the larger one where two "
        "tokens read the same.",
        examples=[{"python": 0.92, "error": 0.31}],
    )
    indices: list[int] = Field(description="Token ids, rising.", examples=[[18, 1657]])
    values: list[float] = Field(description="The weight of each id.", examples=[[0.31, 0.92]])


class Usage(BaseModel):
    """What was computed."""

    prompt_tokens: int = Field(description="Tokens after truncation, special ones included.")
    total_tokens: int = Field(description="The same.")


class NativeEmbedAnswer(BaseModel):
    """A list for each mode asked for, with an item for each text, in their order."""

    model: str = Field(description="The served model's name.", examples=["BAAI/bge-m3"])
    embeddings: list[list[float]] | list[Base64Text] | None = Field(
        None, description="Mode dense: a vector for each text.", examples=[[[0.0123, -0.0456]]]
    )
    sparse_embeddings: list[SparseWeights] | None = Field(
        None, description="Mode sparse: lexical weights for each text."
    )
    colbert_embeddings: list[list[list[float]]] | list[Base64Matrix] | None = Field(
        None,
        description="Mode colbert: for each text a vector for each token but the first.",
        examples=[[[[0.0345, -0.0067], [0.0012, 0.0089]]]],
    )
    tokens: list[list[str]] | None = Field(
        None, description="With return_tokens: each text's tokens as text."
    )
    token_ids: list[list[int]] | None = Field(
        None, description="With return_tokens: each text's tokens as ids."
    )
    token_lengths: list[int] = Field(
        description="Tokens of each text after truncation, special tokens included."
    )
    truncated: list[bool] = Field(description="Which texts were cut to max_length.")
    usage: Usage


class NativeProblem(BaseModel):
    """Why a request was not answered."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(
        description="What was wrong with what, and what to do.",
        examples=['"texts" must be a list: send {"texts": ["…"]}'],
    )
    error_type: Literal[
        "Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty", "Unauthorized"
    ] = Field(description="text-embeddings-inference's word for it.", examples=["Validation"])
    code: str = Field(description="The kind of error, for programs.", examples=["invalid_input"])
    request_id: str = Field(description="The log knows the request by it.")
    index: int | None = Field(
        default=None,
        description="Which of the texts, or of a search's conditions, was wrong, where one was.",
        examples=[3],
    )
    field: str | None = Field(
        default=None, description="`where`, if a search's condition was wrong.", examples=["where"]
    )
    position: int | None = Field(
        default=None, description="Where in the condition, in characters.", examples=[5]
    )
