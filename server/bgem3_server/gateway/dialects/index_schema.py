"""What ``POST /index`` takes and answers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bgem3_client.encode_request import not_unicode
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.report import IndexReport
from bgem3_retrieval.stores.collection import ColbertChoice, Storage
from bgem3_server.gateway.retrieval.documents import GivenDocument, TextFormat

_INT64 = 1 << 63

_Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r'^[^"]*$')]
_Item = (
    str
    | bool
    | Annotated[int, Field(ge=-_INT64, lt=_INT64)]
    | Annotated[float, Field(allow_inf_nan=False)]
)


def _whole(text: str) -> str:
    """Refuse what JSON can write and no store can keep."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(not_unicode(error)) from error
    return text


def _whole_values(metadata: dict[str, _Item]) -> dict[str, _Item]:
    for name, value in metadata.items():
        try:
            _whole(str(value))
        except ValueError as error:
            raise ValueError(f"the value of {name!r} {error}") from error
    return metadata


# Strings with limits of their own, names among them, are held to this by pydantic.
_WholeText = Annotated[str, AfterValidator(_whole)]
Metadata = Annotated[dict[_Name, _Item], AfterValidator(_whole_values)]


class DocumentRequest(BaseModel):
    """A document to index."""

    model_config = ConfigDict(strict=True, extra="forbid")

    source: str = Field(
        min_length=1,
        max_length=4096,
        description="Its name in the collection: an address, a path, an id. A document of the same "
        "name takes the place of an earlier one.",
        examples=["https://example.com/handbook"],
    )
    text: _WholeText = Field(
        description="In its format.", examples=["# Passwords\n\nResetting one takes a minute."]
    )
    format: TextFormat = Field(
        "text", description="How its structure is told: passages are cut along it."
    )
    title: str = Field("", max_length=4096, description="In the place of the text's own.")
    metadata: Metadata = Field(
        {},
        description="What a search can filter by, beside the text's own.",
        examples=[{"language": "en", "year": 2024}],
    )

    def given(self) -> GivenDocument:
        """Return it as it is read."""
        return GivenDocument(self.source, self.text, self.format, self.title, self.metadata)


class CollectionOptionsRequest(BaseModel):
    """How a collection is made; one that is there must have been made so."""

    model_config = ConfigDict(strict=True, extra="forbid")

    storage: Storage | None = Field(
        None, description="What is kept of each number; null for `float16`."
    )
    colbert: ColbertChoice | None = Field(
        None, description="Whether each token's vector is kept, or means of them; null for `full`."
    )
    pool_factor: int | None = Field(
        None, description="Of `pooled`: so many tokens become one vector; null for 2."
    )
    max_tokens: int | None = Field(
        None, description="Tokens of a passage at most; null for 512.", examples=[512]
    )
    overlap_tokens: int | None = Field(
        None, description="Tokens that a passage repeats of the one before; null for 64."
    )

    def options(self) -> CollectionOptions:
        """Return them as the indexer takes them."""
        return CollectionOptions(
            self.storage, self.colbert, self.pool_factor, self.max_tokens, self.overlap_tokens
        )


class IndexRequest(BaseModel):
    """Documents, and where they go."""

    model_config = ConfigDict(strict=True, extra="forbid")

    collection: str = Field(
        description="Its name: ASCII letters, digits and `_`, no digit first. It is made where "
        "there is none.",
        examples=["manuals"],
    )
    documents: list[DocumentRequest] = Field(
        min_length=1, description="One at least; as many as `--max-texts` at most."
    )
    options: CollectionOptionsRequest = Field(
        CollectionOptionsRequest(), description="Of the collection; may be left out."
    )


class SkippedAnswer(BaseModel):
    """A document, or a part of one, that was not indexed."""

    source: str
    reason: str


class IndexAnswer(BaseModel):
    """What was done."""

    collection: str
    added: int = Field(description="Documents that were not there before.")
    changed: int = Field(description="Documents that took the place of an earlier state.")
    unchanged: int = Field(description="Documents that were there as they are.")
    skipped_count: int = Field(description="Documents, and parts of them, that were left out.")
    skipped: list[SkippedAnswer] = Field(description="The first thousand of them, and why.")
    chunks: int = Field(description="Passages that were encoded and written.")
    tokens: int = Field(description="Their tokens, special tokens included.")
    seconds: float

    @classmethod
    def of(cls, report: IndexReport) -> Self:
        """Return a report as JSON has it."""
        return cls(
            collection=report.collection,
            added=report.added,
            changed=report.changed,
            unchanged=report.unchanged,
            skipped_count=report.skipped_count,
            skipped=[
                SkippedAnswer(source=item.source, reason=item.reason) for item in report.skipped
            ],
            chunks=report.chunks,
            tokens=report.tokens,
            seconds=round(report.seconds, 3),
        )
