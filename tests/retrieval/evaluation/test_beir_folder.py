"""Folders in BEIR's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgem3_retrieval.errors import InputFileError
from bgem3_retrieval.evaluation.beir import read_beir, read_qrels


def test_documents_are_title_and_text(collection: Path) -> None:
    """Joined with a space, as BEIR joins them; read from the file in any order."""
    corpus = read_beir(collection).corpus

    assert ["apple", "lemon", "香蕉"] == list(corpus.ids)
    assert ["弯弯 的 水果", "Apple a red fruit"] == corpus.texts([2, 0])
    assert [17, 14, 7] == corpus.characters.tolist()


def test_queries_are_those_with_judgements(collection: Path) -> None:
    """With their metadata, in the order of their file."""
    dataset = read_beir(collection)

    assert "fruit" == dataset.name
    assert [("q1", "lexical"), ("q2", "plain")] == [
        (query.id, query.group("kind")) for query in dataset.queries
    ]
    assert {"q1": {"apple": 2, "lemon": 1}, "q2": {"香蕉": 1}} == dataset.judgements
    assert {
        "kind": {"lexical": ["q1"], "plain": ["q2"]},
        "language": {"en": ["q1"], "zh": ["q2"]},
    } == (dataset.groups())


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\na\tb\t1\na\tc\t0\n",
        "a\tb\t1\na\tc\t0\n",
        "a 0 b 1\na 0 c 0\n",
        "\ufeffa\tb\t1\r\n\r\na\tc\t0\r\n",
    ],
    ids=["header", "no header", "TREC", "BOM and CR LF"],
)
def test_judgements_with_and_without_a_header(tmp_path: Path, content: str) -> None:
    """BEIR's three columns or TREC's four."""
    path = tmp_path / "test.tsv"
    path.write_bytes(content.encode())

    assert {"a": {"b": 1, "c": 0}} == read_qrels(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\t1\na\tc\tyes\n", ":2: the score must be a whole number, not 'yes'"),
        ("a\tb\n", ":1: 2 columns"),
        ("a\tb\t1\na\tb\t2\n", ":2: 'a' and 'b' are judged twice, and not alike"),
        ("query-id\tcorpus-id\tscore\n", " holds no judgement"),
    ],
)
def test_a_bad_judgement_is_named(tmp_path: Path, content: str, message: str) -> None:
    """By file and line."""
    path = tmp_path / "test.tsv"
    path.write_text(content)

    with pytest.raises(InputFileError) as error:
        read_qrels(path)

    assert str(error.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (
            "corpus.jsonl",
            '{"_id": "apple", "text": "again"}',
            "4: _id 'apple' is the one of line 1",
        ),
        ("corpus.jsonl", '{"_id": 7, "text": "x"}', "4: field '_id' must be a string"),
        ("corpus.jsonl", '{"_id": "x"}', "4: field 'text' must be a string"),
        ("corpus.jsonl", "{", "4: not JSON"),
        ("queries.jsonl", "[]", "4: not a JSON object"),
        ("queries.jsonl", '{"_id": "q1", "text": "x"}', "4: _id 'q1' is another line's too"),
    ],
)
def test_a_bad_line_is_named(collection: Path, file: str, line: str, message: str) -> None:
    """By file and line."""
    path = collection / file
    path.write_text(f"{path.read_text()}{line}\n")

    with pytest.raises(InputFileError) as error:
        read_beir(collection)

    assert str(error.value).startswith(f"{path}:{message}")


def test_a_missing_file_is_named(collection: Path) -> None:
    """With what to do about it."""
    with pytest.raises(InputFileError, match="is no folder"):
        read_beir(collection / "nothing")
    qrels = collection / "qrels"
    (qrels / "test.tsv").rename(qrels / "dev.tsv")

    assert 2 == len(read_beir(collection).queries)

    (qrels / "train.tsv").write_text("q1\tapple\t1\n")
    with pytest.raises(InputFileError, match="choose with --split one of dev, train"):
        read_beir(collection)


def test_what_cannot_be_found_is_noted(collection: Path) -> None:
    """Judgements of queries and documents that are not there."""
    path = collection / "qrels" / "test.tsv"
    path.write_text(f"{path.read_text()}q2\tgone\t1\nq9\tapple\t1\n")

    assert (
        "judged queries that are not there, and left out: 1",
        "relevant documents that are not in the corpus, so that nobody finds them: 1",
    ) == read_beir(collection).notes


def test_queries_that_long_documents_answer_are_a_group(collection: Path) -> None:
    """So that they are measured apart."""
    path = collection / "corpus.jsonl"
    path.write_text(path.read_text().replace("a red fruit", "red " * 1500))
    dataset = read_beir(collection)

    assert [0] == dataset.long_rows()
    assert {"long": ["q1"], "short": ["q2"]} == dataset.groups()["answer"]
