"""The shipped test collection is well formed and holds what its README promises."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from bgem3_retrieval.evaluation.collection import collection_folder

COUNTS = {"semantic": 65, "cross_lingual": 74, "lexical": 66, "near_duplicate": 30, "plain": 45}
DOMAINS = {"knowledge_base", "encyclopedia", "manual", "regulation"}
LANGUAGES = {"en", "zh", "zh-Hant", "de", "fr", "es", "ja"}
WITHOUT_SPACES = {"zh", "zh-Hant", "ja"}
ANSWERS, MISLEADS = 2, 0


@dataclass(frozen=True)
class Judgement:
    query: str
    passage: str
    score: int


def read_jsonl(name: str) -> list[dict[str, Any]]:
    with (collection_folder() / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def passages() -> dict[str, dict[str, Any]]:
    return {passage["_id"]: passage for passage in read_jsonl("corpus.jsonl")}


@cache
def queries() -> dict[str, dict[str, Any]]:
    return {query["_id"]: query for query in read_jsonl("queries.jsonl")}


@cache
def judgements() -> tuple[Judgement, ...]:
    with (collection_folder() / "qrels" / "test.tsv").open(encoding="utf-8") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return tuple(
            Judgement(row["query-id"], row["corpus-id"], int(row["score"])) for row in rows
        )


def written_language(language: str) -> str:
    """Return the language alone: a Chinese query is not cross-lingual by its characters."""
    return language.partition("-")[0]


def answers(kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each query of the kind with each passage that answers it."""
    pairs = [
        (queries()[judgement.query], passages()[judgement.passage])
        for judgement in judgements()
        if judgement.score == ANSWERS
    ]
    return [pair for pair in pairs if pair[0]["metadata"]["kind"] == kind]


def misled(query: str) -> list[str]:
    """Return the passages that look like the answer to the query and are not."""
    return [j.passage for j in judgements() if j.query == query and j.score == MISLEADS]


def test_ids_are_unique():
    """No passage and no query has the id of another, and none is judged twice for a query."""
    pairs = Counter((judgement.query, judgement.passage) for judgement in judgements())

    assert len(read_jsonl("corpus.jsonl")) == len(passages())
    assert len(read_jsonl("queries.jsonl")) == len(queries())
    assert len(judgements()) == len(pairs)


def test_rows_have_the_layout_of_beir():
    """A row holds the fields that the README names, each with a known value."""
    for passage in passages().values():
        assert ["_id", "title", "text", "metadata"] == list(passage)
        assert {"language", "domain"} == set(passage["metadata"])
        assert passage["metadata"]["language"] in LANGUAGES
        assert passage["metadata"]["domain"] in DOMAINS
    for query in queries().values():
        assert ["_id", "text", "metadata"] == list(query)
        assert {"kind", "language"} == set(query["metadata"])
        assert query["metadata"]["language"] in LANGUAGES
        assert query["metadata"]["kind"] in COUNTS


def test_the_judgements_have_the_layout_of_beir():
    """Three tab-separated columns with a header."""
    text = (collection_folder() / "qrels" / "test.tsv").read_text(encoding="utf-8")
    header, *rows = text.splitlines()

    assert "query-id\tcorpus-id\tscore" == header
    assert all(re.fullmatch(r"[^\t]+\t[^\t]+\t[012]", row) for row in rows)


def test_judgements_name_what_exists():
    """Every id of the judgements is in the collection, and every query has an answer."""
    answered = {judgement.query for judgement in judgements() if judgement.score == ANSWERS}

    assert {judgement.passage for judgement in judgements()} <= set(passages())
    assert answered == set(queries())


def test_no_text_is_empty_or_ragged():
    """Titles, passages and queries are there, with no space at their ends and none doubled."""
    for row in [*passages().values(), *queries().values()]:
        for text in (row["text"], row.get("title", "none")):
            assert text
            assert text.strip() == text
            assert re.search(r"\s\s|[\t\n]", text) is None


@pytest.mark.parametrize("rows", [passages, queries])
def test_no_text_is_there_twice(rows):
    """Near-duplicates differ in something."""
    texts = Counter(row["text"].casefold() for row in rows().values())

    assert [] == [text for text, count in texts.items() if count > 1]


def test_passages_are_as_long_as_promised():
    """50 to 150 words or 80 to 250 characters, but for a few long ones."""
    longer = 0
    for passage in passages().values():
        spaceless = passage["metadata"]["language"] in WITHOUT_SPACES
        length = len(passage["text"] if spaceless else passage["text"].split())
        shortest, longest = (80, 250) if spaceless else (50, 150)
        longer += length > longest

        assert length >= shortest
    assert 3 == longer


def test_the_size_is_as_promised():
    """The README's 179 passages and 280 queries, in less than 400 KB."""
    names = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
    size_bytes = sum((collection_folder() / name).stat().st_size for name in names)

    assert 179 == len(passages())
    assert 280 == len(queries())
    assert size_bytes < 400_000


def test_languages_are_as_promised():
    """About half of the passages are Chinese, about half English, and some are neither."""
    languages = Counter(passage["metadata"]["language"] for passage in passages().values())
    chinese = languages["zh"] + languages["zh-Hant"]

    assert set(languages) == LANGUAGES
    assert 0.4 <= chinese / languages.total() <= 0.55
    assert 0.4 <= languages["en"] / languages.total() <= 0.55
    assert languages["zh-Hant"] >= 5


@pytest.mark.parametrize(("kind", "count"), COUNTS.items())
def test_kinds_are_as_promised(kind, count):
    """Every kind has as many queries as the README says, enough in Chinese and in English."""
    languages = Counter(
        written_language(query["metadata"]["language"])
        for query in queries().values()
        if query["metadata"]["kind"] == kind
    )

    assert count == languages.total()
    assert min(languages["en"], languages["zh"]) >= 9


def test_cross_lingual_queries_have_no_answer_in_their_own_language():
    """Of every pair the languages differ; Chinese to English and back have 24 or more each."""
    pairs = Counter(
        (
            written_language(query["metadata"]["language"]),
            written_language(passage["metadata"]["language"]),
        )
        for query, passage in answers("cross_lingual")
    )

    assert all(asked != answered for asked, answered in pairs)
    assert pairs["zh", "en"] >= 24
    assert pairs["en", "zh"] >= 24


@pytest.mark.parametrize("kind", ["lexical", "near_duplicate"])
def test_traps_have_passages_that_mislead(kind):
    """Beside the answer stand passages that differ in a token, and are judged as no answer."""
    for query, answer in answers(kind):
        decoys = [passages()[passage] for passage in misled(query["_id"])]

        assert decoys
        assert all(d["metadata"]["domain"] == answer["metadata"]["domain"] for d in decoys)


def test_every_member_of_a_family_is_asked_for():
    """Whatever misleads one query answers another: no passage is there as a decoy alone."""
    found = defaultdict(set)
    for judgement in judgements():
        found[judgement.score].add(judgement.passage)

    assert found[MISLEADS] <= found[ANSWERS]


def test_every_passage_answers_a_query():
    """No passage is filler."""
    assert set(passages()) == {j.passage for j in judgements() if j.score == ANSWERS}
