"""Run files of TREC."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgem3_retrieval.errors import InputFileError
from bgem3_retrieval.evaluation.runs import fits_a_run_file, read_run, run_lines


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """The same numbers, to the bit, and the rank by score."""
    run = {"q1": {"b": 0.1, "香蕉": 1 / 3}, "q2": {"a": -2.0}}
    path = tmp_path / "a.trec"
    path.write_text("".join(run_lines(run, "ours")), encoding="utf-8")

    assert run == read_run(path)
    assert "q1 Q0 香蕉 1 0.3333333333333333 ours" == path.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 Q0 a 1 0.5 x\nq1 Q0 a 2 0.4 x\n", ":2: 'a' is there twice for query 'q1'"),
        ("q1 Q0 a 1 0.5\n", ":1: 5 columns; a line of a run is: query Q0 document rank"),
        ("q1 Q0 a 1 nan x\n", ":1: the score must be a number, not 'nan'"),
        ("\n", " holds no line of a run"),
    ],
)
def test_a_bad_line_of_a_run_is_named(tmp_path: Path, content: str, message: str) -> None:
    """By file and line."""
    path = tmp_path / "a.trec"
    path.write_text(content)

    with pytest.raises(InputFileError) as error:
        read_run(path)

    assert str(error.value).startswith(f"{path}{message}")


def test_ids_with_white_space_have_no_run_file() -> None:
    """TREC's columns end there, so nobody could read it back."""
    assert not fits_a_run_file({"q1": {"a b": 1.0}})
    assert fits_a_run_file({"q1": {"a-b": 1.0}})
