"""Folders in the layout of BEIR: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/*.tsv``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from bgem3_retrieval.errors import InputFileError
from bgem3_retrieval.evaluation.dataset import Dataset, Query, checked_dataset

CORPUS: Final = "corpus.jsonl"
QUERIES: Final = "queries.jsonl"
QRELS: Final = "qrels"


def read_beir(folder: Path, split: str = "test", name: str | None = None) -> Dataset:
    """Read a folder in BEIR's layout.

    Args:
        folder: With ``corpus.jsonl`` and ``queries.jsonl``, whose rows have ``_id`` and ``text``
            and may have ``title`` and ``metadata``, and ``qrels/SPLIT.tsv``.
        split: Whose judgements; where there is one file of them alone, it is taken.
        name: In reports; by default the folder's.

    Raises:
        InputFileError: A file is not there, cannot be read, or a line is not as it should be.
    """
    if not folder.is_dir():
        raise InputFileError(
            f"{folder} is no folder: a collection is a folder with {CORPUS}, "
            f"{QUERIES} and {QRELS}/{split}.tsv"
        )
    qrels = _qrels_file(folder, split)
    judgements = read_qrels(qrels)
    dataset = checked_dataset(
        name or folder.resolve().name,
        BeirCorpus(folder / CORPUS),
        _read_queries(folder / QUERIES),
        judgements,
    )
    if not dataset.queries:
        raise InputFileError(f"{qrels} judges none of the queries in {folder / QUERIES}")
    return dataset


class BeirCorpus:
    """The documents of a ``corpus.jsonl``; ids and places are in memory, texts in the file.

    A document's text is its title and its text with a space between them, as BEIR joins them.
    """

    def __init__(self, path: Path) -> None:
        """Look through the file.

        Raises:
            InputFileError: It cannot be read, a line is not as it should be, or an id comes twice.
        """
        self._path = path
        ids: dict[str, int] = {}
        characters, offsets = [], []
        offset = 0
        with _reading(path), path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    place = f"{path}:{number}"
                    row = _json_row(line, place)
                    identifier = _identifier(row, place)
                    if identifier in ids:
                        raise InputFileError(
                            f"{place}: _id {identifier!r} is the one of line {ids[identifier]} too"
                        )
                    ids[identifier] = number
                    characters.append(len(_document_text(row, place)))
                    offsets.append(offset)
                offset += len(line)
        if not ids:
            raise InputFileError(f"{path} holds no document")
        self.ids: Sequence[str] = list(ids)
        self.characters = np.array(characters, np.int64)
        self._offsets = np.array(offsets, np.int64)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Read the texts of some documents; see :class:`Corpus`.

        Raises:
            InputFileError: The file cannot be read any more, or was changed meanwhile.
        """
        found = []
        with _reading(self._path), self._path.open("rb") as file:
            for row in rows:
                file.seek(int(self._offsets[row]))
                place = f"{self._path}, document {self.ids[row]!r}"
                content = _json_row(file.readline(), place)
                if content.get("_id") != self.ids[row]:
                    raise InputFileError(f"{place}: the file was changed while it was read")
                found.append(_document_text(content, place))
        return found


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query, document and relevance, with or without a header.

    TREC's four columns are read too.

    Raises:
        InputFileError: It cannot be read, or a line is not as it should be.
    """
    judgements: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        place = f"{path}:{number}"
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) == 4:
            # TREC's: the second one is never used.
            columns = [columns[0], *columns[2:]]
        if len(columns) != 3:
            raise InputFileError(
                f"{place}: {len(columns)} columns; a line is query-id, corpus-id and score, with "
                "tabs between them"
            )
        query, document, score = (column.strip() for column in columns)
        try:
            relevance = int(score)
        except ValueError:
            if not judgements and number == 1:
                continue  # the header
            raise InputFileError(
                f"{place}: the score must be a whole number, not {score!r}"
            ) from None
        judged = judgements.setdefault(query, {})
        if judged.get(document, relevance) != relevance:
            raise InputFileError(
                f"{place}: {query!r} and {document!r} are judged twice, and not alike"
            )
        judged[document] = relevance
    if not judgements:
        raise InputFileError(f"{path} holds no judgement")
    return judgements


def _qrels_file(folder: Path, split: str) -> Path:
    wanted = folder / QRELS / f"{split}.tsv"
    if wanted.is_file():
        return wanted
    found = sorted((folder / QRELS).glob("*.tsv"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputFileError(f"{wanted} is not there: without judgements nothing can be measured")
    names = ", ".join(path.stem for path in found)
    raise InputFileError(f"{wanted} is not there; choose with --split one of {names}")


def _read_queries(path: Path) -> list[Query]:
    queries: dict[str, Query] = {}
    for number, line in _lines(path):
        place = f"{path}:{number}"
        row = _json_row(line, place)
        identifier = _identifier(row, place)
        if identifier in queries:
            raise InputFileError(f"{place}: _id {identifier!r} is another line's too")
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise InputFileError(f"{place}: field 'metadata' must be an object")
        queries[identifier] = Query(identifier, _string(row, "text", place), metadata)
    if not queries:
        raise InputFileError(f"{path} holds no query")
    return list(queries.values())


def _document_text(row: dict[str, Any], place: str) -> str:
    text = _string(row, "text", place)
    title = row.get("title") or ""
    if not isinstance(title, str):
        raise InputFileError(f"{place}: field 'title' must be a string")
    return f"{title} {text}".strip()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    with _reading(path), path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def _json_row(line: str | bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise InputFileError(f"{place}: not UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputFileError(f"{place}: not JSON: {error.msg} at position {error.pos}") from error
    if not isinstance(row, dict):
        raise InputFileError(f"{place}: not a JSON object")
    return row


def _identifier(row: dict[str, Any], place: str) -> str:
    value = row.get("_id")
    if isinstance(value, str) and value:
        return value
    raise InputFileError(f"{place}: field '_id' must be a string that is not empty")


def _string(row: dict[str, Any], field: str, place: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise InputFileError(f"{place}: field {field!r} must be a string")
    return value


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is not UTF-8: {error.reason}") from error
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}") from error
