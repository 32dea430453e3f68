"""Markdown: CommonMark with tables, and front matter."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bgem3_retrieval.documents.document import BlockKind, Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import LeftOut, Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import DocumentBuilder
from bgem3_retrieval.documents.readers.characters import clean, one_line
from bgem3_retrieval.documents.readers.encodings import decoded
from bgem3_retrieval.documents.readers.html_page import add_fragment

# Lines of --- for YAML, of +++ for TOML; what is longer is a document.
_FRONT_MATTER: Final = re.compile(
    r"(?P<mark>---|\+\+\+)[ \t]*\n(?P<content>.{0,65536}?)^(?P=mark)[ \t]*(?:\n|\Z)", re.S | re.M
)
_PARSER: Final = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def read_markdown(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield the text without its markup; single values of the front matter are metadata."""
    text = clean(decoded(file.name, file.path.read_bytes()))
    metadata, text = _front_matter(file.name, text, report)
    builder = DocumentBuilder()
    _Blocks(builder, file.name).add(_PARSER.parse(text))
    title = str(metadata.pop("title", ""))
    yield builder.build(file.name, title=title, metadata=metadata)


class _Blocks:
    """Walks the parser's tokens."""

    def __init__(self, builder: DocumentBuilder, source: str) -> None:
        self._builder = builder
        self._source = source
        # Of the lists that we are in, outermost first: the number of the next item, or None.
        self._numbers: list[int | None] = []
        # What stands before the next paragraph: the mark of a list item.
        self._mark = ""
        self._level = 0
        self._table: list[list[str]] | None = None

    def add(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            match token.type:
                case "heading_open":
                    self._level = int(token.tag[1:])
                case "heading_close":
                    self._level = 0
                case "bullet_list_open":
                    self._numbers.append(None)
                case "ordered_list_open":
                    self._numbers.append(int(token.attrGet("start") or 1))
                case "bullet_list_close" | "ordered_list_close":
                    self._numbers.pop()
                case "list_item_open":
                    self._mark = self._next_mark()
                case "list_item_close":
                    self._mark = ""
                case "table_open":
                    self._table = []
                case "tr_open" if self._table is not None:
                    self._table.append([])
                case "table_close" if self._table is not None:
                    self._builder.add("table", "\n".join(" | ".join(row) for row in self._table))
                    self._table = None
                case "inline":
                    self._add_inline(_inline_text(token.children or []))
                case "fence" | "code_block":
                    self._builder.add("code", token.content)
                case "html_block":
                    add_fragment(self._builder, self._source, token.content)

    def _add_inline(self, text: str) -> None:
        if self._table is not None:
            self._table[-1].append(text.replace("\n", " "))
        elif self._level:
            self._builder.add("heading", text.replace("\n", " "), level=self._level)
        else:
            kind: BlockKind = "list_item" if self._numbers else "paragraph"
            self._builder.add(kind, self._mark + text)
            self._mark = ""

    def _next_mark(self) -> str:
        number = self._numbers[-1]
        if number is None:
            return "- "
        self._numbers[-1] = number + 1
        return f"{number}. "


def _inline_text(tokens: Sequence[Token]) -> str:
    """Return what people read; images and HTML tags have no words."""
    parts = []
    for token in tokens:
        match token.type:
            case "text" | "code_inline" | "text_special":
                parts.append(token.content)
            case "softbreak":
                parts.append("\n")
            case "hardbreak":
                parts.append("\v")
            case "html_inline" if re.match(r"<br\b", token.content, re.I):
                parts.append("\v")
    return "\n".join(one_line(line) for line in "".join(parts).split("\v"))


def _front_matter(source: str, text: str, report: Report) -> tuple[dict[str, MetadataValue], str]:
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}, text
    load = yaml.safe_load if found["mark"] == "---" else tomllib.loads
    try:
        fields = load(found["content"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        report(LeftOut(source, "front matter", f"cannot be read: {reason}"))
        return {}, text[found.end() :]
    if not isinstance(fields, dict):
        # A line across the page, not front matter.
        return {}, text
    return _single_values(fields), text[found.end() :]


def _single_values(fields: dict[Any, Any]) -> dict[str, MetadataValue]:
    values: dict[str, MetadataValue] = {}
    for name, value in fields.items():
        if isinstance(value, datetime.date | datetime.time):
            values[str(name)] = value.isoformat()
        elif isinstance(value, str | int | float):
            values[str(name)] = value
    return values
