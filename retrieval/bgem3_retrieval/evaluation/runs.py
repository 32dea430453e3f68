"""What systems found: scores by query and document, and TREC's files of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Final, TypeAlias

from bgem3_retrieval.errors import InputFileError

Run: TypeAlias = Mapping[str, Mapping[str, float]]
"""By query and document: the score, where higher is better."""

_COLUMNS: Final = "query Q0 document rank score tag"


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run file of TREC: six columns, separated by tabs or spaces.

    The order is by score; the column with the rank is not read, as ``trec_eval`` does not.

    Raises:
        InputFileError: It cannot be read, a line is not as it should be, or a document comes twice.
    """
    run: dict[str, dict[str, float]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is not UTF-8: {error.reason}") from error
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns:
            continue
        place = f"{path}:{number}"
        if len(columns) != 6:
            raise InputFileError(f"{place}: {len(columns)} columns; a line of a run is: {_COLUMNS}")
        query, _, document, _, score, _ = columns
        found = run.setdefault(query, {})
        if document in found:
            raise InputFileError(f"{place}: {document!r} is there twice for query {query!r}")
        found[document] = _score(score, place)
    if not run:
        raise InputFileError(f"{path} holds no line of a run")
    return run


def run_lines(run: Run, tag: str) -> Iterator[str]:
    """Yield the lines of a run file of TREC, best first, with their ends."""
    for query, found in run.items():
        ranked = sorted(found.items(), key=lambda item: -item[1])
        for rank, (document, score) in enumerate(ranked, 1):
            yield f"{query} Q0 {document} {rank} {score!r} {tag}\n"


def fits_a_run_file(run: Run) -> bool:
    """Whether a run file can hold these ids: its columns end at white space."""
    return all(
        len(identifier.split()) == 1
        for query, found in run.items()
        for identifier in (query, *found)
    )


def _score(text: str, place: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not isfinite(score):
        raise InputFileError(f"{place}: the score must be a number, not {text!r}")
    return score
