"""A field of a request's body that holds one text or a list of texts."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.calls.errors import EmptyInputError

_SHOWN_CHARACTERS: Final = 80


def _check(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Refuse what is neither; the errors of a union of types would name its branches."""
    if isinstance(value, str):
        return value
    field = info.field_name
    if not isinstance(value, list):
        raise InvalidInputError(f"{field} is a text or a list of texts, not {_shown(value)}")
    for index, item in enumerate(value):
        if isinstance(item, str):
            continue
        if isinstance(item, int | list) and not isinstance(item, bool):
            raise InvalidInputError(
                f"{field} holds token ids, and this service takes text only: ids of another "
                "model's tokenizer mean something else here. Send strings; with LangChain's "
                "OpenAIEmbeddings, set check_embedding_ctx_length=False",
                index,
            )
        raise InvalidInputError(f"{field}[{index}] must be a text, not {_shown(item)}", index)
    return value


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


Texts: TypeAlias = Annotated[
    str | list[str],
    BeforeValidator(_check),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
"""One text, or a list of them; token ids are refused, and said to be."""


def text_list(texts: str | list[str], field: str) -> list[str]:
    """Return the texts as a list.

    Args:
        texts: As they came.
        field: What the caller calls them.

    Raises:
        EmptyInputError: The list is empty.
    """
    if isinstance(texts, str):
        return [texts]
    if not texts:
        raise EmptyInputError(f"{field} is empty: send one text at least (it may be '')")
    return texts
