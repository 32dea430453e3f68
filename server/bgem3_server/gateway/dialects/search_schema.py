"""What ``POST /search`` takes; what it answers is what ``bgem3 search --json`` prints."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bgem3_retrieval.errors import ConditionError
from bgem3_retrieval.search.filters import parse_condition
from bgem3_retrieval.search.options import (
    MAX_CANDIDATES,
    Fusion,
    Mode,
    Normalization,
    SearchOptions,
)
from bgem3_retrieval.stores.query import Condition, Operator

Value = str | bool | int | Annotated[float, Field(allow_inf_nan=False)]


class ConditionRequest(BaseModel):
    """One thing that must hold of a passage."""

    model_config = ConfigDict(strict=True, extra="forbid")

    field: str = Field(
        description="`source`, `title`, `page`, or a field of the metadata.", examples=["page"]
    )
    operator: Operator = Field(
        description="How it is compared; `!=` also holds where the field is missing.",
        examples=[">="],
    )
    value: Value | list[Value] = Field(
        description="With what; of `in` a list of values.", examples=[3]
    )

    def condition(self) -> Condition:
        """Return it as stores take it."""
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        return Condition(self.field, self.operator, value)


class SearchRequest(BaseModel):
    """A query, where to look, and how."""

    model_config = ConfigDict(strict=True, extra="forbid")

    query: str = Field(
        description="A question or some words; 8,192 tokens at most.",
        examples=["how do I reset my password"],
    )
    collection: str | None = Field(
        None,
        description="Its name. May be left out where the store has one collection only.",
        examples=["manuals"],
    )
    limit: int = Field(10, ge=1, le=MAX_CANDIDATES, description="Hits at most.")
    mode: Mode = Field("hybrid", description="By what passages are found and ordered.")
    fusion: Fusion = Field(
        "weighted", description="How `hybrid` makes one score of dense and sparse."
    )
    normalization: Normalization = Field(
        "none", description="What `weighted` does to the scores first."
    )
    dense_weight: float = Field(0.7, description="In `weighted`; only the proportion counts.")
    sparse_weight: float = Field(0.3, description="In `weighted`.")
    candidates: int | None = Field(
        None,
        description="Passages that each of dense and sparse brings; null for 50, or `limit` where "
        "that is more.",
    )
    rerank: bool | None = Field(
        None,
        description="Whether ColBERT orders the best anew; null for yes in `hybrid` where the "
        "collection keeps ColBERT vectors.",
    )
    rerank_candidates: int | None = Field(
        None, description="How many of the best are re-ranked; null for all candidates."
    )
    colbert_weight: float = Field(
        0.5, description="The share of ColBERT in the score of what is re-ranked, 0 to 1."
    )
    where: list[ConditionRequest | str] = Field(
        [],
        description="Conditions that all must hold: objects, or as `bgem3 search --where` takes "
        "them.",
        examples=[["page>=3", {"field": "language", "operator": "in", "value": ["zh", "en"]}]],
    )
    min_score: float | None = Field(None, description="Hits below it are left out.")
    explain: bool = Field(
        False, description="Whether each hit says what every token and representation adds."
    )

    def options(self) -> SearchOptions:
        """Return how to search.

        Raises:
            InvalidInputError: A value is out of its range.
            ConditionError: A condition is none; its ``index`` says which.
        """
        return SearchOptions(
            limit=self.limit,
            candidates=self.candidates,
            mode=self.mode,
            fusion=self.fusion,
            normalization=self.normalization,
            dense_weight=self.dense_weight,
            sparse_weight=self.sparse_weight,
            rerank=self.rerank,
            rerank_candidates=self.rerank_candidates,
            colbert_weight=self.colbert_weight,
            where=tuple(_condition(item, index) for index, item in enumerate(self.where)),
            min_score=self.min_score,
            explain=self.explain,
        )


def _condition(item: ConditionRequest | str, index: int) -> Condition:
    if isinstance(item, ConditionRequest):
        return item.condition()
    try:
        return parse_condition(item)
    except ConditionError as error:
        error.index = index
        raise
