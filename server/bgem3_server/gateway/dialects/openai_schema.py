"""What OpenAI's embeddings route takes and answers, and what is added to it here."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.encode_request import EncodeOptions, Output
from bgem3_server.gateway.dialects.texts import Texts
from bgem3_server.gateway.serialization.vectors import EncodingFormat


class EmbeddingsRequest(BaseModel):
    """Texts to embed.

    Fields that are not listed are ignored, as clients send what other services know.
    """

    model_config = ConfigDict(strict=True)

    input: Texts = Field(
        description="A text, or a list of texts. Token ids are refused: they mean nothing without "
        "the tokenizer that made them. A text may be empty; the list may not.",
        examples=[["如何重置密码", "a text"], "a text"],
    )
    model: str | None = Field(
        None,
        description="A name of the served model, as `GET /v1/models` lists them; another one is "
        "refused. May be left out.",
        examples=["bge_m3"],
    )
    encoding_format: EncodingFormat | None = Field(
        "float",
        description="Vectors as numbers, or as base64 of little-endian float32, or of "
        "little-endian float16 (`base64_float16`, which OpenAI does not have).",
        examples=["float"],
    )
    dimensions: int | None = Field(
        None,
        description="Numbers in a vector. BGE-M3's vectors cannot be shortened, so only their own "
        "size is taken.",
        examples=[None],
    )
    user: Any = Field(None, description="Ignored.", examples=["somebody"])
    outputs: list[Output] = Field(
        ["dense"],
        min_length=1,
        description="The representations to answer with: `dense` is `embedding`, `sparse` adds "
        "`sparse_embedding`, `colbert` adds `colbert_embedding`. Without `dense`, `embedding` is "
        "null and not computed. Not OpenAI's.",
        examples=[["dense", "sparse", "colbert"]],
    )
    max_length: int | None = Field(
        None,
        ge=1,
        le=MAX_POSITIONS_TOKENS,
        description="Tokens a text may have, special tokens included; longer ones are cut to it, "
        "unless `truncate` is false. Not OpenAI's.",
        examples=[512],
    )
    truncate: bool | None = Field(
        None,
        description="Whether a text that is too long is cut; otherwise it is an error, as OpenAI "
        "has it. By default the service's setting auto_truncate says. Not OpenAI's.",
        examples=[True],
    )
    truncate_prompt_tokens: int | None = Field(
        None,
        ge=-1,
        le=MAX_POSITIONS_TOKENS,
        description="vLLM's way to say the same: the tokens to cut a text to, or -1 for as many "
        "as the model takes.",
        examples=[None],
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.truncate_prompt_tokens is None:
            return self
        if self.truncate_prompt_tokens == 0:
            raise ValueError("truncate_prompt_tokens is 0; send 1 or more, or -1")
        if self.max_length is not None or self.truncate is not None:
            raise ValueError(
                "truncate_prompt_tokens says the same as max_length and truncate: send one or the "
                "other"
            )
        return self

    def options(self, *, auto_truncate: bool, local_tokenizer: bool) -> EncodeOptions:
        """Return how the texts are to be encoded.

        Args:
            auto_truncate: Whether they are cut where the request does not say.
            local_tokenizer: Whether the tokens' texts are known here; else Triton tells them.
        """
        truncate, max_length = self.truncate, self.max_length
        if self.truncate_prompt_tokens is not None:
            truncate = True
            max_length = None if self.truncate_prompt_tokens < 0 else self.truncate_prompt_tokens
        if truncate is None:
            truncate = auto_truncate or max_length is not None
        return EncodeOptions(
            frozenset(self.outputs),
            max_length or MAX_POSITIONS_TOKENS,
            truncate,
            return_tokens="sparse" in self.outputs and not local_tokenizer,
            colbert_dtype="float16" if self.encoding_format == "base64_float16" else "float32",
        )


class EncodedMatrix(BaseModel):
    """A matrix in base64, row by row."""

    data: str = Field(description="Its numbers in base64.")
    shape: tuple[int, int] = Field(description="Rows and columns.", examples=[[5, 1024]])


class SparseVector(BaseModel):
    """A text's lexical weights."""

    lexical_weights: dict[str, float] = Field(
        description="The weight of each token's text; the larger one where two tokens read the "
        "same.",
        examples=[{"密码": 0.175}],
    )
    indices: list[int] = Field(description="Token ids, rising.", examples=[[138295]])
    values: list[float] = Field(description="Their weights, above 0.", examples=[[0.175]])


class EmbeddingItem(BaseModel):
    """One text's representations."""

    object: Literal["embedding"]
    index: int = Field(description="Which of the texts it is.", examples=[0])
    embedding: list[float] | str | None = Field(
        description="The dense vector, of length 1, in the encoding_format; null where `outputs` "
        "leaves it out.",
        examples=[[0.0123, -0.0456, 0.0789]],
    )
    sparse_embedding: SparseVector | None = Field(
        default=None, description="There where `outputs` has `sparse`."
    )
    colbert_embedding: list[list[float]] | EncodedMatrix | None = Field(
        default=None,
        description="There where `outputs` has `colbert`: a vector for each token but the first, "
        "in the encoding_format.",
    )


class Usage(BaseModel):
    """What was computed."""

    prompt_tokens: int = Field(description="Special tokens included.", examples=[11])
    total_tokens: int = Field(description="The same number.", examples=[11])


class EmbeddingsAnswer(BaseModel):
    """The texts' representations, in their order."""

    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str = Field(description="The served model.", examples=["bge-m3"])
    usage: Usage
    truncated: list[bool] | None = Field(
        default=None,
        description="Which texts were cut; there only where one was. Not OpenAI's.",
        examples=[[False, True]],
    )


class ModelItem(BaseModel):
    """A name of the served model."""

    id: str = Field(description="What requests may call it.", examples=["bge-m3"])
    object: Literal["model"]
    created: int = Field(
        description="When it was exported, in seconds since 1970; 0 where the service does not "
        "know.",
        examples=[1763802090],
    )
    owned_by: str = Field(examples=["bgem3-triton"])


class ModelList(BaseModel):
    """All names of the served model; answers use the first."""

    object: Literal["list"]
    data: list[ModelItem]


class OpenAIErrorBody(BaseModel):
    """Why a request was not answered."""

    model_config = ConfigDict(extra="allow")

    message: str = Field(
        description="What was wrong with what, and what to do.",
        examples=["there is no model 'x' here: send one of 'bge-m3', 'bge_m3'"],
    )
    type: str = Field(description="OpenAI's word for it.", examples=["invalid_request_error"])
    param: str | None = Field(description="Always null: the message names the field.")
    code: str = Field(description="This service's own word.", examples=["model_not_found"])
    request_id: str = Field(description="The log knows the request by it.")
    index: int | None = Field(
        default=None, description="Which of the texts was wrong, where one was.", examples=[3]
    )


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    error: OpenAIErrorBody
