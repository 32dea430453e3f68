"""HTML."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from bgem3_retrieval.documents.document import BlockKind, Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import DocumentBuilder
from bgem3_retrieval.documents.readers.characters import one_line
from bgem3_retrieval.documents.readers.encodings import decoded
from bgem3_retrieval.errors import UnreadableDocumentError

_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
# Not read by people, or not part of what the page says.
_LEFT_OUT: Final = frozenset(
    {
        "script", "style", "noscript", "template", "nav", "head", "title", "svg", "math",
        "iframe", "object", "canvas", "audio", "video", "select", "button", "input", "textarea",
        "datalist", "rt", "rp"
    }
)  # fmt: skip
_INLINE: Final = frozenset(
    {
        "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn",
        "em", "font", "i", "ins", "kbd", "label", "mark", "q", "ruby", "s", "samp", "small",
        "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr"
    }
)  # fmt: skip
# What Sphinx, DocBook and others call the parts of a page that lead elsewhere.
_LEADS_ELSEWHERE: Final = frozenset(
    {
        "breadcrumb",
        "breadcrumbs",
        "navbar",
        "navfooter",
        "navheader",
        "navigation",
        "sphinxsidebar",
    }
)
# What links from headings to themselves are made of.
_HEADING_LINKS: Final = frozenset({"#", "¶", "§", "🔗"})
# Tables with these in them lay a page out.
_LAYOUT: Final = "table, h1, h2, h3, h4, h5, h6, pre"
_CHARSET: Final = re.compile(
    rb"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I
)
_TAG: Final = re.compile(r"<(?P<end>/?)(?P<name>[a-z][a-z0-9]*+)[^<>]*?(?P<empty>/?)>", re.I)
# Elements that have no end, or need not say where it is.
_UNCLOSED: Final = frozenset(
    {
        "area", "base", "body", "br", "col", "colgroup", "dd", "dt", "embed", "head", "hr", "html",
        "img", "input", "li", "link", "meta", "option", "p", "param", "source", "tbody", "td",
        "tfoot", "th", "thead", "tr", "track", "wbr",
    }
)  # fmt: skip
_MAX_DEPTH: Final = 10_000
_HARD_BREAK: Final = "\v"
# What pages say, and what browsers take it for.
_LARGER: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
}


def read_html(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield the text of the main part of a page, or of all of it where none is marked."""
    data = file.path.read_bytes()
    page = _parsed(file.name, decoded(file.name, data, declared=_declared_encoding(data)))
    builder = DocumentBuilder()
    for main in page.css("main, [role=main]"):
        add_nodes(builder, main)
        break
    if not builder and page.body is not None:
        add_nodes(builder, page.body)
    title = page.css_first("title")
    yield builder.build(
        file.name,
        title=title.text() if title is not None else "",
        metadata=_metadata(page),
    )


def add_fragment(builder: DocumentBuilder, source: str, html: str) -> None:
    """Add the blocks of a piece of HTML in the file `source`."""
    body = _parsed(source, html).body
    if body is not None:
        add_nodes(builder, body)


def add_nodes(builder: DocumentBuilder, root: LexborNode) -> None:
    """Add the blocks of an element."""
    _Blocks(builder).add(root)


class _Blocks:
    """Walks the nodes below an element in the order of the text, however deep they are."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._inline: list[str] = []
        # Of the block elements that we are in, outermost first: what text right in them is.
        self._kinds: list[tuple[BlockKind, int]] = [("paragraph", 0)]
        # Of the lists that we are in: the number of the next item, or None.
        self._numbers: list[int | None] = []
        # What stands before the next text: the mark of a list item.
        self._mark = ""

    def add(self, root: LexborNode) -> None:
        pending = [(node, False) for node in reversed(list(root.iter(include_text=True)))]
        while pending:
            node, done = pending.pop()
            if done:
                self._leave(node.tag or "")
            elif self._enter(node):
                pending.append((node, True))
                pending.extend((child, False) for child in reversed(_children(node)))
        self._end_block()

    def _enter(self, node: LexborNode) -> bool:
        """Take in what a node begins; return whether to look inside."""
        tag = node.tag or ""
        if tag == "-text":
            self._inline.append(node.text(deep=False))
            return False
        if tag == "br":
            self._inline.append(_HARD_BREAK)
        if tag == "br" or not tag[:1].isalpha() or tag in _LEFT_OUT or _is_hidden(node):
            return False
        if tag in _INLINE:
            return tag != "a" or node.text().strip() not in _HEADING_LINKS
        self._end_block()
        if tag == "pre":
            self._builder.add("code", _preformatted(node))
            return False
        if tag == "table" and self._add_table(node):
            return False
        self._begin_block(node, tag)
        return True

    def _begin_block(self, node: LexborNode, tag: str) -> None:
        if tag in _HEADINGS:
            self._kinds.append(("heading", _HEADINGS[tag]))
        elif tag == "li":
            self._kinds.append(("list_item", 0))
            self._mark = self._next_mark()
        else:
            self._kinds.append(self._kinds[-1])
        if tag in ("ul", "ol", "menu"):
            self._numbers.append(_first_number(node) if tag == "ol" else None)

    def _leave(self, tag: str) -> None:
        if tag in _INLINE:
            return
        self._end_block()
        self._kinds.pop()
        if tag == "li":
            self._mark = ""
        elif tag in ("ul", "ol", "menu"):
            self._numbers.pop()

    def _end_block(self) -> None:
        lines = "".join(self._inline).split(_HARD_BREAK)
        self._inline.clear()
        text = "\n".join(one_line(line) for line in lines).strip()
        if not text:
            return
        kind, level = self._kinds[-1]
        if kind == "heading":
            self._builder.add(kind, text.replace("\n", " "), level=level)
        else:
            self._builder.add(kind, self._mark + text)
            self._mark = ""

    def _next_mark(self) -> str:
        number = self._numbers[-1] if self._numbers else None
        if number is None:
            return "- "
        self._numbers[-1] = number + 1
        return f"{number}. "

    def _add_table(self, table: LexborNode) -> bool:
        """Add a table row by row; return False where it only lays out what is in it."""
        if any(node.mem_id != table.mem_id for node in table.css(_LAYOUT)):
            return False
        rows = [list(row.css("th, td")) for row in table.css("tr")]
        if max(map(len, rows), default=0) < 2:
            return False
        for caption in table.css("caption"):
            self._builder.add("paragraph", _cell_text(caption))
        lines = (" | ".join(map(_cell_text, row)) for row in rows)
        self._builder.add("table", "\n".join(line for line in lines if line.strip(" |")))
        return True


def _cell_text(cell: LexborNode) -> str:
    builder = DocumentBuilder()
    add_nodes(builder, cell)
    return builder.text.replace("\n\n", " ").replace("\n", " ")


def _preformatted(root: LexborNode) -> str:
    """Return text whose spaces and line ends count; pieces of code in it begin a line each."""
    parts: list[str] = []
    pending = list(reversed(_children(root)))
    while pending:
        node = pending.pop()
        tag = node.tag or ""
        if tag == "-text":
            parts.append(node.text(deep=False))
        elif tag == "br" or (tag == "code" and parts):
            parts.append("\n")
        if tag[:1].isalpha() and tag not in _LEFT_OUT:
            pending.extend(reversed(_children(node)))
    return "".join(parts)


def _children(node: LexborNode) -> list[LexborNode]:
    return list(node.iter(include_text=True))


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    return (
        "hidden" in attributes
        or attributes.get("role") == "navigation"
        or not _LEADS_ELSEWHERE.isdisjoint((attributes.get("class") or "").lower().split())
        or "display:none" in (attributes.get("style") or "").replace(" ", "").lower()
    )


def _first_number(node: LexborNode) -> int:
    start = (node.attributes.get("start") or "").strip()
    return int(start) if re.fullmatch(r"-?[0-9]{1,9}", start) else 1


def _parsed(source: str, text: str) -> LexborHTMLParser:
    """Return the page; not of what would take hours, as the square of the depth of elements."""
    depth = 0
    for tag in _TAG.finditer(text):
        if not tag["empty"] and tag["name"].lower() not in _UNCLOSED:
            depth += -1 if tag["end"] else 1
            if depth > _MAX_DEPTH:
                raise UnreadableDocumentError(
                    source, f"is damaged: more than {_MAX_DEPTH:,} elements are never closed"
                )
            depth = max(depth, 0)
    return LexborHTMLParser(text)


def _declared_encoding(data: bytes) -> str | None:
    """Return the codec of the encoding that a page names; None where it names none that exists."""
    found = _CHARSET.search(data[:4096])
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii", "replace")).name
    except LookupError:
        return None
    return _LARGER.get(name, name)


def _metadata(page: LexborHTMLParser) -> dict[str, MetadataValue]:
    metadata: dict[str, MetadataValue] = {}
    author = page.css_first("meta[name=author]")
    if author is not None and (name := (author.attributes.get("content") or "").strip()):
        metadata["author"] = name
    language = page.root.attributes.get("lang") if page.root is not None else None
    if language:
        metadata["language"] = language
    return metadata
