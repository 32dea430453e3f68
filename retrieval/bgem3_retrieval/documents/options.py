"""How files are read."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

MEBIBYTE: Final = 1 << 20


class ReaderOptions(BaseModel):
    """Limits, and which fields of a table are what.

    Attributes:
        text_field: Of a table: the field with the text; None finds one by its name.
        id_field: Of a table: the field with the rows' ids; None finds one by its name, and takes
            the rows' numbers where there is none.
        title_field: Of a table: the field with the title; None finds one by its name.
        metadata_fields: Of a table: the fields that a search can filter by; None takes every other
            one that holds numbers, booleans, dates or short strings.
        max_file_bytes: Of a file that is read as a whole; tables are read piece by piece.
        max_unpacked_bytes: Of all that is packed in a DOCX file, and of what is unpacked of a
            Parquet file at once: 256 rows.
        max_row_bytes: Of a row of a JSONL or CSV file.
    """

    model_config = ConfigDict(frozen=True)

    text_field: str | None = None
    id_field: str | None = None
    title_field: str | None = None
    metadata_fields: tuple[str, ...] | None = None
    max_file_bytes: int = Field(default=64 * MEBIBYTE, ge=1)
    max_unpacked_bytes: int = Field(default=256 * MEBIBYTE, ge=1)
    max_row_bytes: int = Field(default=16 * MEBIBYTE, ge=1)
