"""What is read of the rows of JSONL, CSV and Parquet files."""

from __future__ import annotations

import datetime
import decimal
import json
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from document_files import blocks_of, check_blocks, read_all, source_file

from bgem3_retrieval.documents.reader import ReaderOptions, read
from bgem3_retrieval.documents.readers.seen_ids import SeenIds
from bgem3_retrieval.errors import UnreadableDocumentError

ROWS = [
    {"_id": "x", "title": "One", "text": "a text", "year": 2024, "sold": True, "note": "short"},
    {
        "_id": "y",
        "title": "",
        "text": "第一段。\n\n第二段。",
        "year": 2025,
        "sold": False,
        "note": "",
    },
]


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table in the format of the path's suffix."""
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".csv":
            lines = [list(rows[0]), *(row.values() for row in rows)]
            cells = [[str(cell).replace('"', '""') for cell in line] for line in lines]
            path.write_text("".join('"' + '","'.join(line) + '"\n' for line in cells))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_each_row_is_a_document(tmp_path: Path, suffix: str) -> None:
    """Fields are known by their names; the title is a heading; the others are metadata."""
    path = tmp_path / f"a{suffix}"
    write_table(path, ROWS)
    (one, two), left_out = read_all(path)
    sold = (True, False) if suffix != ".csv" else ("True", "False")

    assert [] == left_out
    assert [f"a{suffix}#x", f"a{suffix}#y"] == [one.source, two.source]
    assert ("One", "") == (one.title, two.title)
    assert [("heading1", "One"), ("paragraph", "a text")] == blocks_of(one)
    assert [("paragraph", "第一段。"), ("paragraph", "第二段。")] == blocks_of(two)
    assert {"year": 2024, "sold": sold[0], "note": "short"} == one.metadata
    assert {"year": 2025, "sold": sold[1]} == two.metadata
    check_blocks(one)
    check_blocks(two)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_fields_can_be_named(tmp_path: Path, suffix: str) -> None:
    """Then no other is taken for them; a field that is named is metadata whatever its length."""
    path = tmp_path / f"a{suffix}"
    long = "long " * 100
    write_table(path, [{"text": "no", "answer": "yes", "key": 7, "name": "N", "id": 1, "s": long}])
    options = ReaderOptions(
        text_field="answer", id_field="key", title_field="name", metadata_fields=("s", "gone")
    )
    ((document,), _) = read_all(path, options)

    assert (f"a{suffix}#7", "N", "N\n\nyes") == (document.source, document.title, document.text)
    assert {"s": long.strip()} == document.metadata


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_rows_without_ids_have_their_numbers(tmp_path: Path, suffix: str) -> None:
    """Counted from 1."""
    path = tmp_path / f"a{suffix}"
    write_table(path, [{"body": "one"}, {"body": "two"}])

    assert [f"a{suffix}#1", f"a{suffix}#2"] == [document.source for document in read_all(path)[0]]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_bad_rows_are_told_and_left_out(tmp_path: Path, suffix: str) -> None:
    """A second row of the same id would replace the first."""
    path = tmp_path / f"a{suffix}"
    write_table(
        path,
        [
            {"id": "x", "text": "one"},
            {"id": "y", "text": "  "},
            {"id": "x", "text": "two"},
            {"id": " ", "text": "three"},
            {"id": "z", "text": "four"},
        ],
    )
    documents, left_out = read_all(path)

    assert [f"a{suffix}#x", f"a{suffix}#z"] == [document.source for document in documents]
    assert [
        f"a{suffix}: row 2: has no text",
        f"a{suffix}: row 3: its id 'x' is that of a row before it",
        f"a{suffix}: row 4: field 'id' is empty",
    ] == [str(row) for row in left_out]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_a_column_for_the_text_is_refused(tmp_path: Path, suffix: str) -> None:
    """The message lists those that are there."""
    path = tmp_path / f"a{suffix}"
    write_table(path, [{"one": "1", "two": "2"}])

    with pytest.raises(UnreadableDocumentError, match=r"\(there: 'one', 'two'\)"):
        read_all(path)
    with pytest.raises(UnreadableDocumentError, match=r"no field 'three' \(there: 'one', 'two'\)"):
        read_all(path, ReaderOptions(text_field="three"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff"}', "is not UTF-8: byte 0xff at position 11"),
        (b'{"text": "one"', "is not JSON: Expecting ',' delimiter at position 15"),
        (b"[" * 100_000, "is not usable JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "is not usable JSON: Exceeds the limit"),
        (b'["one"]', "is not a JSON object"),
        (b"{}", "no field has a name known to hold text (there: none)"),
        (b'{"text": null}', "field 'text' must be a string, not null"),
        (b'{"text": [1]}', "field 'text' must be a string, not an array"),
        (b'{"id": 1.5, "text": "a"}', "field 'id' must be a string or an integer, not a number"),
        (b'{"id": "a\\ud800", "text": "a"}', "field 'id' holds characters that cannot be seen"),
        (b'{"text": "' + b"x" * 200_000 + b'"}', "is longer than 150,000 bytes"),
    ],
)
def test_a_bad_line_of_jsonl_is_told(tmp_path: Path, line: bytes, reason: str) -> None:
    """The lines around it are read; blank ones are nothing."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "before"}\n\n' + line + b'\n{"text": "after"}')
    documents, (left_out,) = read_all(path, ReaderOptions(max_row_bytes=150_000))

    assert ["a.jsonl#1", "a.jsonl#4"] == [document.source for document in documents]
    assert "row 3" == left_out.part
    assert left_out.reason.startswith(reason)


def test_a_table_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    """Nothing would be found of it."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": ""}\n')

    with pytest.raises(UnreadableDocumentError, match="has no row with a text"):
        read_all(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_delimiters_and_encodings_of_csv_are_found(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    """Quoted cells may hold delimiters, quotes and line ends."""
    path = tmp_path / "a.csv"
    rows = [
        ["编号", "内容", "price", "code"],
        ["1", '"如何, ""重置""; | \t密码\r\n第二行"', "1.50", "007"],
        ["2", "今天天气很好，我们去公园散步", "-3", "1e5"],
    ]
    path.write_bytes("\r\n".join(delimiter.join(row) for row in rows).encode(encoding))
    (one, two), left_out = read_all(path)

    assert [] == left_out
    assert ('如何, "重置"; | \t密码\n第二行', "a.csv#1") == (one.text, one.source)
    assert {"price": 1.5, "code": "007"} == one.metadata
    assert {"price": -3, "code": "1e5"} == two.metadata


def test_rows_of_csv_that_do_not_fit_are_told(tmp_path: Path) -> None:
    """Too many cells are; missing ones are empty, and empty rows are nothing."""
    path = tmp_path / "a.csv"
    path.write_text("text,a,b\none,1,2\n\ntwo\nthree,1,2,3\n")
    documents, left_out = read_all(path)

    assert ["one", "two"] == [document.text for document in documents]
    assert ["row 4: has 4 cells, and there are 3 columns"] == [
        f"{row.part}: {row.reason}" for row in left_out
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text,a,a\n1,2,3\n", "names one twice"),
        ("", "no field has a name known to hold text"),
        ("text,a\n" + "x" * 2000 + ",1\n", "its line 2 is longer than 1,000 characters"),
    ],
)
def test_csv_that_cannot_be_read_says_why(tmp_path: Path, content: str, reason: str) -> None:
    """The file is refused as a whole."""
    path = tmp_path / "a.csv"
    path.write_text(content)

    with pytest.raises(UnreadableDocumentError, match=reason):
        read_all(path, ReaderOptions(max_row_bytes=1000))


def test_values_of_parquet_are_what_one_filters_by(tmp_path: Path) -> None:
    """Dates are text in order, vectors are not read at all."""
    path = tmp_path / "a.parquet"
    row = {
        "text": "one",
        "day": datetime.date(2024, 5, 6),
        "moment": datetime.datetime(2024, 5, 6, 7, 8),
        "price": decimal.Decimal("1.50"),
        "missing": None,
        "long": "x" * 257,
        "vector": [1.0, 2.0],
        "raw": b"x",
        "nan": float("nan"),
    }
    pq.write_table(pa.Table.from_pylist([row]), path)
    ((document,), _) = read_all(path)

    assert {
        "day": "2024-05-06",
        "moment": "2024-05-06T07:08:00",
        "price": 1.5,
    } == document.metadata


def test_a_text_of_parquet_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    """Writers need not check; the other rows are read."""
    path = tmp_path / "a.parquet"
    values = pa.array([b"one", b"\xff", b"two"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": values}), path)
    documents, left_out = read_all(path)

    assert ["one", "two"] == [document.text for document in documents]
    assert ["a.parquet: row 2: field 'text' is not UTF-8"] == [str(row) for row in left_out]


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    """Rows that came before the damage have been read by then."""
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing")
    with pytest.raises(UnreadableDocumentError, match="is not a Parquet file"):
        read_all(path)

    texts = [f"{number} {'text ' * 50}" for number in range(2000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, compression="snappy")
    content = bytearray(path.read_bytes())
    begin = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content[begin : begin + 2000] = bytes(2000)
    path.write_bytes(content)
    documents = read(source_file(path))

    assert 1000 == len(list(islice(documents, 1000)))
    with pytest.raises(UnreadableDocumentError, match="is damaged: cannot be read after row 1000"):
        next(documents)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, suffix: str) -> None:
    """A row is forgotten when the next is read."""
    path = tmp_path / f"a{suffix}"
    write_table(path, [{"text": "a text " * 500, "n": number} for number in range(3000)])

    assert path.stat().st_size > 10_000_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in read(source_file(path)))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert 3000 == count
    assert peak_bytes < 6_000_000


def test_ids_seen_are_remembered_past_the_recent_ones() -> None:
    """They are kept in two places."""
    seen = SeenIds()

    def ids() -> Iterator[str]:
        return (f"id {number}" for number in range(150_000))

    assert all(seen.add(identifier) for identifier in ids())
    assert not any(seen.add(identifier) for identifier in islice(ids(), 0, None, 7))
