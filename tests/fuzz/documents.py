"""The readers of documents, and how documents are cut into chunks."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import docx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz.target import Target
from fuzz.temporary_file import temporary_folder

from bgem3_retrieval.chunks.options import ChunkOptions
from bgem3_retrieval.chunks.splitter import Splitter
from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.reader import read
from bgem3_retrieval.documents.readers.pdf_extraction import Piece, extract
from bgem3_retrieval.documents.readers.pdf_process import PDF_PROCESS
from bgem3_retrieval.errors import UnreadableDocumentError

_OPTIONS = ReaderOptions(
    max_file_bytes=1 << 20, max_unpacked_bytes=10_000_000, max_row_bytes=1 << 20
)
_PARTS = (
    "word/document.xml",
    "word/styles.xml",
    "word/numbering.xml",
    "docProps/core.xml",
    "word/_rels/document.xml.rels",
    "[Content_Types].xml",
    "_rels/.rels",
)


@cache
def _folder() -> Path:
    return temporary_folder()


def documents_of(content: bytes, suffix: str) -> list[Document]:
    """Read a file: documents whose blocks hold, or `UnreadableDocumentError` that names it."""
    path = _folder() / f"a{suffix}"
    path.write_bytes(content)
    documents = []
    try:
        for document in read(SourceFile(path, "name", len(content)), _OPTIONS, lambda part: None):
            _check(document)
            documents.append(document)
    except UnreadableDocumentError as error:
        assert error.source == "name"  # noqa: PT017
        assert str(_folder()) not in str(error), "the message has the server's path"  # noqa: PT017
    return documents


def _check(document: Document) -> None:
    """Blocks are in order, in the text, without white space around them; all can be stored."""
    end = 0
    assert document.blocks
    for block in document.blocks:
        text = document.text[block.begin : block.end]
        assert end <= block.begin < block.end <= len(document.text)
        assert text == text.strip()
        assert (block.kind == "heading") == (1 <= block.level <= 6)
        end = block.end
    document.text.encode()
    document.title.encode()
    document.source.encode()
    json.dumps(dict(document.metadata), allow_nan=False, ensure_ascii=False).encode()


def _in_this_process(path: Path) -> list[Piece]:
    return list(extract(path))


def _target(suffix: str, seeds: list[bytes], words: tuple[bytes, ...] = ()) -> Target:
    def run(content: bytes) -> None:
        # PDFium's own process would hide from the search what is done there.
        with patch.object(PDF_PROCESS, "extract", _in_this_process):
            documents_of(content, suffix)

    return Target(f"read-{suffix[1:]}", run, seeds, words)


def _read_docx_part(content: bytes) -> None:
    """The first byte says which part of a good file the rest stands for."""
    if content:
        part = _PARTS[content[0] % len(_PARTS)]
        documents_of(_packed({**_docx_parts(), part: content[1:]}), ".docx")


def _packed(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return stream.getvalue()


@cache
def _docx() -> bytes:
    document = docx.Document()
    document.add_heading("One", 1)
    document.add_paragraph("item", style="List Number")
    document.add_table(rows=2, cols=2).cell(0, 0).text = "cell"
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


@cache
def _docx_parts() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(_docx())) as package:
        return {entry.filename: package.read(entry) for entry in package.infolist()}


def _parquet(**columns: list[object]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, row_group_size=2)
    return stream.getvalue()


def _pdf() -> bytes:
    """Without a table of places, which PDFium makes anew: what is changed is then still read."""
    shown = b"BT /F1 18 Tf 50 800 Td (One) Tj ET BT /F1 10 Tf 50 700 Td (some text, 1. a) Tj ET"
    return b"".join(
        (
            b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R /Outlines 6 0 R >>\nendobj\n",
            b"2 0 obj\n<< /Type /Pages /Count 1 /Kids [3 0 R] >>\nendobj\n",
            b"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources ",
            b"<< /Font << /F1 4 0 R >> >> /Contents 5 0 R >>\nendobj\n",
            b"4 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>\nendobj\n",
            b"5 0 obj\n<< /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (len(shown), shown),
            b"6 0 obj\n<< /Type /Outlines /First 7 0 R /Last 7 0 R >>\nendobj\n",
            b"7 0 obj\n<< /Title (One) /Parent 6 0 R /Dest [3 0 R /Fit] >>\nendobj\n",
            b"8 0 obj\n<< /Title (t) /Author (a) >>\nendobj\n",
            b"trailer\n<< /Size 9 /Root 1 0 R /Info 8 0 R >>\n%%EOF\n",
        )
    )


def _split(content: bytes) -> None:
    """Chunks are parts of their documents, within the limit, whatever a token is."""
    if len(content) < 4:
        return
    kind, most, overlap, factor = content[:4]
    max_tokens = 16 + most
    options = ChunkOptions(max_tokens, min(overlap, (max_tokens - 1) // 2))
    suffix = (".txt", ".md", ".html")[kind % 3]

    def count_tokens(texts: object) -> np.ndarray:
        assert isinstance(texts, list | tuple)
        assert texts
        per = 1 + factor % 6
        return np.array([len(text.encode()) // per + 2 for text in texts], np.int32)

    documents = documents_of(content[4:], suffix)
    for document, chunks in zip(
        documents, Splitter(count_tokens, options).split(documents), strict=True
    ):
        assert chunks
        begin = 0
        for position, chunk in enumerate(chunks):
            assert chunk.position == position
            assert begin <= chunk.begin < chunk.end <= len(document.text)
            assert chunk.text == document.text[chunk.begin : chunk.end]
            assert chunk.text.strip()
            assert chunk.tokens <= max_tokens
            begin = chunk.begin
        kept = "".join(
            "".join(document.text[block.begin : block.end].split()) for block in document.blocks
        )
        assert len(kept) <= sum(len("".join(c.text.split())) for c in chunks) + sum(
            len("".join(h.split())) for c in chunks for h in c.headings
        )


_TEXT = (
    "One\n\nSecond paragraph. 重置密码，请联系。\r\n\u2028ก ข\u0301 👨‍👩‍👧‍👦 \u00ad\ufeff".encode()
)
_MARKDOWN = (
    b"---\ntitle: t\ntags: [a]\n---\n# One\n\n- a\n  1. b\n\n|a|b|\n|-|-|\n|c|d|\n\n"
    b"```py\nx\n```\n\n> q <b>x</b> [l](u) ![i](j)\n\nTwo\n===\n"
)
_HTML = (
    b"<!doctype html><html lang=en><head><meta charset=utf-8><title>t</title></head><body>"
    b"<h1>One</h1><p>a<br>b &amp; <b>c</b></p><ul><li>x<ol start=3><li>y</ol></ul><table><tr><td>1"
    b"<td>2</table><pre>p\n q</pre><script>no</script></body></html>"
)
_MARKS = (
    b"\n\n",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
)
_JSON_WORDS = (
    b'"', b"\\ud800", b"NaN", b"1e999", b"-0", b"[[[[[[[[", b'{"text":', b"null", b"\\u0000",
    b"9" * 30, b"true", b'"id":', b",", b"}\n",
)  # fmt: skip
_HTML_WORDS = (
    b"<p>", b"<h1>", b"</h1>", b"<ul><li>", b"</ul>", b"<table><tr><td>x", b"<pre>", b"<template>",
    b"&#xD800;", b"&#0;", b"<!--", b"-->", b"<svg>", b"<meta charset=utf-16>", b"<br>", b"<title>",
)  # fmt: skip
_XML_WORDS = (
    b"<w:p>", b"</w:p>", b"<w:tbl>", b"<w:t>", b'w:val="', b"&e;",
    b"<!DOCTYPE a [<!ENTITY e 'x'>]>",
    b"<w:txbxContent>", b"<w:del>", b"%1.", b"w:ilvl", b'Target="', b'TargetMode="External"',
)  # fmt: skip
_PDF_WORDS = (
    b"/Filter /FlateDecode", b"/Kids [3 0 R 3 0 R]", b"/Parent 3 0 R", b"/Length 99999999", b"obj",
    b"/Count 99999", b"endstream", b"/First 7 0 R", b"/Next 7 0 R", b"Td", b"Tj", b"BT", b"<feff>",
    b"/ToUnicode 5 0 R", b"/MediaBox [0 0 1e9 1e9]", b"1e38", b"-1", b"/Encrypt 8 0 R",
)  # fmt: skip


def targets() -> list[Target]:
    """Those of documents."""
    table = [b'{"id": "a", "text": "one", "title": "t", "n": 1}\n{"id": 2, "text": "two"}\n']
    parquet = [
        _parquet(id=["a", "b", "c"], text=["one", "two", "three"], n=[1, 2, 3]),
        _parquet(text=["one", None], when=[1.5, 2.5], flag=[True, False]),
    ]
    headed = [bytes([kind, 40, 8, 3]) + text for kind, text in enumerate((_TEXT, _MARKDOWN, _HTML))]
    parts = [
        bytes([number]) + _docx_parts()[part]
        for number, part in enumerate(_PARTS)
        if part in _docx_parts()
    ]
    return [
        _target(".txt", [_TEXT, _TEXT.decode().encode("utf-16"), "密码".encode("gb18030")], _MARKS),
        _target(".md", [_MARKDOWN], (b"# ", b"- ", b"|-|\n", b"```", b"---\n", b"<b>", *_MARKS)),
        _target(".html", [_HTML], (*_HTML_WORDS, *_MARKS)),
        _target(".jsonl", table, (*_JSON_WORDS, *_MARKS)),
        _target(
            ".csv",
            [b'id,text\n1,one\n2,"two\n2"\n', b"text\tn\na\t1\n"],
            (b'"', b",", b"\n", *_MARKS),
        ),
        _target(".parquet", parquet),
        _target(".docx", [_docx()]),
        Target("read-docx-part", _read_docx_part, parts, _XML_WORDS),
        _target(".pdf", [_pdf()], _PDF_WORDS),
        _target(".unknown", [_HTML, _TEXT, parquet[0][:200], b"%PDF-1.7\n", b"PK\x03\x04"], _MARKS),
        Target("split", _split, headed, (b". ", b"# ", *_MARKS)),
    ]
