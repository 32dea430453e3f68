"""Whatever is in a file, its reader gives documents whose offsets hold, or says why not."""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import docx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from document_files import PdfPage, check_blocks, pdf_bytes, read_all
from hypothesis import given, settings
from hypothesis import strategies as st

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.reader import ReaderOptions, supported_suffixes
from bgem3_retrieval.errors import UnreadableDocumentError

# One for each reader.
SUFFIXES = (".txt", ".md", ".html", ".pdf", ".docx", ".jsonl", ".csv", ".parquet")
# What the readers look out for.
PIECES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "\n", "\n\n", "\r\n", " ", "\t", "　", "\u2028", "\x0b", "\x00", "\u00ad", "'", '"',
            ",", "word", "重置密码", "，",
            "# ", "- ", "1. ", "|a|b|\n|-|-|\n|c|d|", "```\n", "---\n",
            "<p>", "<h1>", "</h1>", "<ul><li>", "</ul>", "<table><tr><td>x<td>y</table>", "<pre>",
            "</pre>", "<br>", "<script>", "&amp;", "&#xD800;", "text,id\n", '{"text": "one"}\n',
        ]
    ),
)  # fmt: skip


def read_or_refuse(content: bytes, suffix: str) -> list[Document]:
    """The documents; nothing else than `UnreadableDocumentError` may be raised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        path.write_bytes(content)
        try:
            documents, _ = read_all(path, ReaderOptions(max_unpacked_bytes=10_000_000))
        except UnreadableDocumentError:
            return []
    for document in documents:
        check_blocks(document)
        document.text.encode()
    return documents


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".jsonl", ".csv"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(pieces=st.lists(PIECES, max_size=12))
def test_offsets_hold_whatever_the_text(suffix: str, pieces: list[str]) -> None:
    """Blocks are parts of the text, in order, without white space around them."""
    read_or_refuse("".join(pieces).encode(errors="surrogatepass"), suffix)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".md", b'---\n"k\\ud800": "v\\udc00"\n"\\u200b": 1\n---\n\ntext'),
        (".jsonl", b'{"text": "text", "k\\ud800": "v\\udc00", "\\u200b": 1}'),
    ],
)
def test_metadata_can_be_stored(suffix: str, content: bytes) -> None:
    """JSON and YAML can write what no UTF-8 can stand for, and names that nobody sees."""
    (document,) = read_or_refuse(content, suffix)

    assert {"k\ufffd": "v\ufffd"} == document.metadata


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".gone", ""])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(suffix: str, content: bytes) -> None:
    """They are no reason to stop."""
    read_or_refuse(content, suffix)


def make_docx() -> bytes:
    """A DOCX file with a bit of all."""
    document = docx.Document()
    document.add_heading("One", 1)
    document.add_paragraph("item", style="List Number")
    document.add_table(rows=2, cols=2).cell(0, 0).text = "cell"
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def make_pdf() -> bytes:
    """A PDF file with two fonts, an outline and two pages."""
    first = PdfPage().lines(50, 800, ["One", "some text of it"]).text(50, 700, "密码", font="F3")
    return pdf_bytes(first, PdfPage().text(50, 800, "Two"), title="t", outline=[("One", 0)])


def make_parquet() -> bytes:
    """A Parquet file with two row groups."""
    stream = io.BytesIO()
    table = pa.table({"id": ["a", "b", "c"], "text": ["one", "two", "three"], "n": [1, 2, 3]})
    pq.write_table(table, stream, row_group_size=2)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("suffix", "make"), [(".docx", make_docx), (".pdf", make_pdf), (".parquet", make_parquet)]
)
def test_damaged_files_are_refused_or_read(suffix: str, make: Callable[[], bytes]) -> None:
    """Bytes that were changed, cut out or put in anywhere."""
    content = make()
    source = random.Random(0)

    # Without a suffix its beginning says what it is.
    texts = [document.text for document in read_or_refuse(content, suffix)]

    assert texts
    assert texts == [document.text for document in read_or_refuse(content, "")]
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(source.randint(1, 6)):
            begin = source.randrange(len(damaged))
            piece = source.randbytes(source.randint(0, 4))
            damaged[begin : begin + source.randint(0, 8)] = piece
        read_or_refuse(bytes(damaged), suffix)


def test_every_suffix_has_a_reader() -> None:
    """Those that are listed are those that are tested, and other names of the same formats."""
    others = {".text", ".rst", ".markdown", ".htm", ".xhtml", ".ndjson", ".tsv"}

    assert {*SUFFIXES} | others == set(supported_suffixes())
