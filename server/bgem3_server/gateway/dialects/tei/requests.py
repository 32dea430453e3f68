"""What text-embeddings-inference's routes take."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    WithJsonSchema,
)

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.encode_request import EncodeOptions, Output
from bgem3_server.gateway.dialects.texts import Texts

# Empty lists are refused by the routes: they have a status of their own.
_NOT_EMPTY: Final[dict[str, JsonValue]] = {"minItems": 1}


def _refuse_left(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, str) and value.lower() == "left":
        raise ValueError(
            "this service cuts long texts at their end: leave truncation_direction out, or cut "
            "the text before you send it"
        )
    return value


def _refuse_prompt(value: object) -> None:
    if value is not None:
        raise ValueError(
            "this model has no prompts: leave prompt_name out, and put what is to go before a "
            "text into the text"
        )


TruncationDirection: TypeAlias = Annotated[
    Literal["Right", "right"],
    BeforeValidator(_refuse_left),
    Field(description="Where a long text is cut: at its end."),
]
PromptName: TypeAlias = Annotated[
    None,
    BeforeValidator(_refuse_prompt),
    Field(description="BGE-M3 has no prompts: null, or left out."),
]
Inputs: TypeAlias = Annotated[
    Texts,
    Field(
        description="A text, or a list of texts.", examples=[["如何重置密码", "a text"], "a text"]
    ),
]


class _Body(BaseModel):
    """Unknown fields are left alone, as in the original; values are not converted."""

    model_config = ConfigDict(strict=True)


class _Texts(_Body):
    inputs: Inputs


class TruncationFields(_Body):
    """What is to be done with long texts."""

    truncate: bool | None = Field(
        None,
        description=f"Whether a text of more than {MAX_POSITIONS_TOKENS} tokens is cut; otherwise "
        "it is an error (413). By default the service's auto_truncate, which /info shows, says.",
        examples=[False],
    )
    truncation_direction: TruncationDirection = Field("Right", examples=["Right"])
    prompt_name: PromptName = Field(None, examples=[None])

    def options(
        self,
        auto_truncate: bool,
        outputs: frozenset[Output] = frozenset({"dense"}),
        *,
        hidden_states: bool = False,
    ) -> EncodeOptions:
        """Return how the texts are to be encoded.

        Args:
            auto_truncate: Whether they are cut where the request does not say.
            outputs: What of them is wanted.
            hidden_states: Whether the tokens' hidden states are wanted too.
        """
        truncate = auto_truncate if self.truncate is None else self.truncate
        return EncodeOptions(outputs, truncate=truncate, return_hidden_states=hidden_states)


class TeiTexts(TruncationFields, _Texts):
    """The body of ``/embed_sparse`` and ``/embed_all``."""


class TeiEmbedRequest(TeiTexts):
    """The body of ``/embed`` with ``inputs``."""

    normalize: bool = Field(
        True,
        description="Bring the vectors to length 1. False gives the first token's hidden state as "
        "it is, and costs the transport of all tokens' states.",
        examples=[True],
    )
    dimensions: int | None = Field(
        None,
        description="Numbers in a vector. BGE-M3's vectors cannot be shortened, so only their own "
        "size is taken.",
        examples=[None],
    )


class SimilarityInputs(_Body):
    """A text, and those it is compared with."""

    source_sentence: str = Field(
        description="The text that the others are compared with.", examples=["如何重置密码"]
    )
    sentences: list[str] = Field(
        json_schema_extra=_NOT_EMPTY,
        description="The texts that are compared with it.",
        examples=[["密码忘了怎么办", "今天天气很好"]],
    )


class TeiSimilarityRequest(_Body):
    """The body of ``/similarity``."""

    inputs: SimilarityInputs
    parameters: TruncationFields | None = Field(
        None, description="What is to be done with long texts.", examples=[{"truncate": True}]
    )


class TeiRerankRequest(_Body):
    """The body of ``/rerank`` with ``texts``."""

    query: str = Field(description="What is asked.", examples=["如何重置密码"])
    texts: list[str] = Field(
        json_schema_extra=_NOT_EMPTY,
        description="The texts to put in order.",
        examples=[["今天天气很好", "密码忘了怎么办"]],
    )
    truncate: bool | None = Field(
        None,
        description=f"Whether a text of more than {MAX_POSITIONS_TOKENS} tokens is cut; otherwise "
        "it is an error (413). By default the service's auto_truncate says.",
        examples=[False],
    )
    truncation_direction: TruncationDirection = Field("Right", examples=["Right"])
    raw_scores: bool = Field(
        False,
        description="The scores are the same either way: they are weighted means of this model's "
        "dense, sparse and ColBERT scores, to which no sigmoid is applied.",
        examples=[False],
    )
    return_text: bool = Field(False, description="Put the text beside its score.", examples=[False])


class TeiTokenizeRequest(_Body):
    """The body of ``/tokenize``."""

    inputs: Inputs
    add_special_tokens: bool = Field(
        True, description="With the tokens that begin and end each text.", examples=[True]
    )
    prompt_name: PromptName = Field(None, examples=[None])


TokenId: TypeAlias = Annotated[int, Field(ge=0)]


def _rows(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Make a list of rows of a single row."""
    if isinstance(value, list) and value and not any(isinstance(row, list) for row in value):
        return [value]
    return value


_ROW: Final = {"type": "array", "items": {"type": "integer", "minimum": 0}}


class TeiDecodeRequest(_Body):
    """The body of ``/decode``."""

    ids: Annotated[
        list[list[TokenId]],
        BeforeValidator(_rows),
        WithJsonSchema(
            {"anyOf": [{**_ROW, "minItems": 1}, {"type": "array", "items": _ROW, "minItems": 1}]}
        ),
    ] = Field(description="Token ids of a text, or of several.", examples=[[[0, 10, 7986, 2]]])
    skip_special_tokens: bool = Field(
        True, description="Leave out the tokens that begin and end a text.", examples=[True]
    )


def _root_kind(value: object) -> str:
    inputs = value.get("inputs") if isinstance(value, dict) else None
    return "<similarity>" if isinstance(inputs, dict) else "<embed>"


TeiRootRequest: TypeAlias = Annotated[
    Annotated[TeiEmbedRequest, Tag("<embed>")]
    | Annotated[TeiSimilarityRequest, Tag("<similarity>")],
    Discriminator(_root_kind),
]
"""The body of ``POST /``: its ``inputs`` say which route it is for."""
