"""What ``POST /index/files`` takes beside the files, and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.report import IndexReport
from bgem3_retrieval.stores.collection import ColbertChoice, Storage
from bgem3_server.gateway.dialects.index_schema import IndexAnswer, Metadata
from bgem3_server.gateway.retrieval.uploaded_documents import FileReport

_LISTS: Final = frozenset({"metadata_fields"})


class IndexFilesRequest(BaseModel):
    """The fields of the form, beside the files."""

    model_config = ConfigDict(extra="forbid")

    collection: str = Field(
        description="Its name: ASCII letters, digits and `_`, no digit first. It is made where "
        "there is none.",
        examples=["manuals"],
    )
    storage: Storage | None = Field(
        None, description="Of a collection that is made: as in the options of `/index`."
    )
    colbert: ColbertChoice | None = Field(None, description="As `storage`.")
    pool_factor: int | None = Field(None, description="As `storage`.")
    max_tokens: int | None = Field(None, description="As `storage`.")
    overlap_tokens: int | None = Field(None, description="As `storage`.")
    text_field: str | None = Field(
        None, description="Of tables: the field with the text; without it, found by its name."
    )
    id_field: str | None = Field(None, description="Of tables: the field with the rows' ids.")
    title_field: str | None = Field(None, description="Of tables: the field with the title.")
    metadata_fields: list[str] | None = Field(
        None,
        description="Of tables: the fields that a search can filter by, each in a part of its own; "
        "without it, all that hold numbers, booleans, dates or short strings.",
    )
    metadata: Json[Metadata] = Field(
        {},
        description="A JSON object: what a search can filter by, of every document of the request.",
        examples=['{"language": "en"}'],
    )

    @classmethod
    def of(cls, fields: Mapping[str, Sequence[str]]) -> Self:
        """Return the fields of a form.

        Raises:
            InvalidInputError: One is missing, unknown, there twice, or not what it must be.
        """
        values: dict[str, Any] = {}
        for name, given in fields.items():
            if name in _LISTS:
                values[name] = list(given)
            elif len(given) == 1:
                values[name] = given[0]
            else:
                raise InvalidInputError(f"{name}: is there {len(given)} times")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            more = f" (and {len(others)} more)" if others else ""
            place = ".".join(map(str, first["loc"]))
            raise InvalidInputError(
                f"{place}: {first['msg'].removeprefix('Value error, ')}{more}"
            ) from error

    def options(self) -> CollectionOptions:
        """Return what is wanted of the collection."""
        return CollectionOptions(
            self.storage, self.colbert, self.pool_factor, self.max_tokens, self.overlap_tokens
        )

    def reading(self, max_file_bytes: int) -> ReaderOptions:
        """Return how the files are read."""
        named = self.metadata_fields
        return ReaderOptions(
            text_field=self.text_field,
            id_field=self.id_field,
            title_field=self.title_field,
            metadata_fields=None if named is None else tuple(named),
            max_file_bytes=max_file_bytes,
        )

    @classmethod
    def form_schema(cls) -> dict[str, Any]:
        """Return the schema of the whole form, as OpenAPI has it."""
        schema = cls.model_json_schema()
        schema["title"] = "IndexFilesForm"
        # A part cannot be null: it is left out.
        for name, field in schema["properties"].items():
            first, *_ = field.pop("anyOf", [{}])
            schema["properties"][name] = {**field, **first}
            schema["properties"][name].pop("default", None)
        files = {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
            "description": "The files, each in a part of this name. The part's file name is the "
            "document's source, and its suffix says the format.",
        }
        schema["properties"] = {"files": files, **schema["properties"]}
        schema["required"] = ["files", *schema["required"]]
        return schema


class FileAnswer(BaseModel):
    """What was done with a file."""

    file: str = Field(description="Its name.")
    added: int = Field(description="Documents that were not there before: 1, or rows of a table.")
    changed: int = Field(description="Documents that took the place of an earlier state.")
    unchanged: int = Field(description="Documents that were there as they are.")
    removed: int = Field(description="Rows that are not in the table any more.")
    chunks: int = Field(description="Passages that were encoded and written.")
    skipped_count: int = Field(description="Parts that were left out; of a whole file, 1.")
    reason: str | None = Field(description="Why the first of them was; `null` where none was.")


class IndexFilesAnswer(IndexAnswer):
    """What was done, in all and with each file."""

    removed: int = Field(description="Rows that are not in their tables any more.")
    files: list[FileAnswer] = Field(description="In the order of the request.")

    @classmethod
    def of_files(cls, report: IndexReport, files: Sequence[FileReport]) -> Self:
        """Return the reports as JSON has them."""
        return cls(
            **IndexAnswer.of(report).model_dump(),
            removed=report.removed,
            files=[FileAnswer.model_validate(file, from_attributes=True) for file in files],
        )
