"""What lines become: records with ids, or rejections with a reason."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from bgem3_retrieval.bulk.inputs import Inputs
from bgem3_retrieval.bulk.reader import RecordReader
from bgem3_retrieval.bulk.records import Record, Rejection
from bgem3_retrieval.errors import InputFileError

WriteFile = Callable[[str, str | bytes], Path]


def records(reader: RecordReader) -> list[tuple[str, str]]:
    """Id and text of each record."""
    return [(item.id, item.text) for item in reader if isinstance(item, Record)]


def reasons(reader: RecordReader) -> list[str]:
    """Line number and reason of each rejection."""
    return [f"{item.line.number}: {item.reason}" for item in reader if isinstance(item, Rejection)]


def reader_of(*paths: Path, **options: str) -> RecordReader:
    """A reader of these files."""
    return RecordReader(Inputs([str(path) for path in paths]), **options)  # type: ignore[arg-type]


def test_each_line_is_a_text_named_by_its_number(write_file: WriteFile) -> None:
    """Empty lines are texts; CR LF, a byte order mark and a missing last line end are not."""
    path = write_file("a.txt", b"\xef\xbb\xbfone\r\n\n  two \xe2\x80\xa8 still two\nlast")

    assert [("1", "one"), ("2", ""), ("3", "  two \u2028 still two"), ("4", "last")] == records(
        reader_of(path)
    )


def test_ids_of_several_files_name_the_file(write_file: WriteFile) -> None:
    """Line numbers alone would name two texts alike."""
    first, second = write_file("a.txt", "one\n"), write_file("b.txt", "two\n")

    assert [(f"{first}:1", "one"), (f"{second}:1", "two")] == records(reader_of(first, second))


def test_jsonl_carries_ids_over(write_file: WriteFile) -> None:
    """Strings and integers are ids, no id is the line's number, blank lines are nothing."""
    path = write_file(
        "a.jsonl", '{"id": "x", "text": "one"}\n\n{"id": 7, "text": "two"}\n{"text": ""}\n  \n'
    )

    assert [("x", "one"), ("7", "two"), ("4", "")] == records(reader_of(path))
    assert [] == reasons(reader_of(path))


def test_jsonl_fields_can_be_named(write_file: WriteFile) -> None:
    """The text and the id stand where the caller says."""
    path = write_file("a.txt", '{"_id": "x", "id": "y", "body": "one", "text": "no"}\n')
    reader = reader_of(path, input_format="jsonl", text_field="body", id_field="_id")

    assert [("x", "one")] == records(reader)


def test_gzip_is_unpacked_and_the_name_inside_counts(tmp_path: Path) -> None:
    """``a.jsonl.gz`` is JSONL."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "one"}\n'))

    assert [("1", "one")] == records(reader_of(path))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff"}', "not UTF-8: byte 0xff at position 11"),
        (b'{"text": "one"', "not JSON: Expecting ',' delimiter at position 15"),
        (b"[" * 100_000, "not usable JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not usable JSON: Exceeds the limit"),
        (b'["one"]', "must be a JSON object, not an array"),
        (b"null", "must be a JSON object, not null"),
        (b'{"title": "one", "body": "two"}', "no field 'text' (there: 'title', 'body')"),
        (b"{}", "no field 'text' (there: none)"),
        (b'{"text": null}', "field 'text' must be a string, not null"),
        (b'{"text": 1}', "field 'text' must be a string, not a number"),
        (b'{"text": true}', "field 'text' must be a string, not a boolean"),
        (b'{"text": {}}', "field 'text' must be a string, not an object"),
        (
            b'{"text": "a\\ud800"}',
            "field 'text' is not valid Unicode: its character 2 is the lone surrogate U+D800",
        ),
        (b'{"id": 1.5, "text": ""}', "field 'id' must be a string or an integer, not a number"),
        (b'{"id": false, "text": ""}', "field 'id' must be a string or an integer, not a boolean"),
        (b'{"id": "a\\u0000", "text": ""}', "field 'id' must not contain the character U+0000"),
    ],
)
def test_a_bad_line_is_told_by_number_and_reason(
    write_file: WriteFile, line: bytes, reason: str
) -> None:
    """The lines around it are read."""
    path = write_file("a.jsonl", b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    (told,) = reasons(reader_of(path))

    assert f"2: {reason}" == told[: len(reason) + 3]
    assert [("1", "before"), ("3", "after")] == records(reader_of(path))


def test_the_size_of_all_inputs_is_reached_by_the_last_line(tmp_path: Path) -> None:
    """Compressed files count as they lie on the disk."""
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_bytes(b"one\ntwo\n")
    packed.write_bytes(gzip.compress(b"three\n"))
    inputs = Inputs([str(plain), str(packed), str(plain)])
    ends = [line.end_bytes for line in inputs.lines()]

    assert 16 + packed.stat().st_size == inputs.total_bytes
    assert [4, 8, inputs.total_bytes - 8] == ends[:3]
    assert inputs.total_bytes == ends[-1]


def test_a_damaged_gzip_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """What was cut off is not taken for the end."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\n" * 1000)[:-12])

    with pytest.raises(InputFileError, match=r"a\.txt\.gz: cannot be read after line \d+"):
        list(reader_of(path))


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    """It may go after the command has looked."""
    with pytest.raises(InputFileError, match=r"gone\.txt: cannot be read: No such file"):
        list(reader_of(tmp_path / "gone.txt"))
