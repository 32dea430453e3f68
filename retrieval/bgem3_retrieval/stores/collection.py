"""What a collection is made for."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bgem3_client.errors import InvalidInputError

Storage: TypeAlias = Literal["float32", "float16", "int8"]
ColbertChoice: TypeAlias = Literal["full", "pooled", "none"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class CollectionSpec(BaseModel):
    """How a collection was made; kept with it, so that what does not fit is refused.

    Attributes:
        name: See :func:`checked_name`.
        model: Of the vectors, as the server names it.
        dense_size: Numbers in a dense vector.
        colbert_size: Numbers in each token's vector.
        storage: What the store keeps of each number of a dense or a ColBERT vector.
        colbert: Whether each token's vector is kept, or the means of similar ones, or none.
        pool_factor: Of ``pooled``: the vectors of so many tokens become one.
        max_tokens: Tokens of a chunk at most, special tokens included.
        overlap_tokens: Tokens that a chunk repeats of the one before it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    model: str
    dense_size: int = Field(ge=1)
    colbert_size: int = Field(ge=1)
    storage: Storage = "float16"
    colbert: ColbertChoice = "full"
    pool_factor: int = Field(default=2, ge=2, le=16)
    max_tokens: int = Field(default=512, ge=16, le=8192)
    overlap_tokens: int = Field(default=64, ge=0)

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return checked_name(name)


def checked_name(name: str) -> str:
    """Return a collection's name if every store takes it.

    Raises:
        InvalidInputError: It is no name: letters, digits and ``_``, 64 at most, no digit first.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} cannot be a collection's name: use 1 to 64 ASCII letters, digits and '_', "
            "and no digit first"
        )
    return name
