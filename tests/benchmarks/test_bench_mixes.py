"""The work of a benchmark has the lengths that it claims, and is the same at every run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from texts import load_records

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_bench.errors import WorkError
from bgem3_bench.mixes import MIXES, build_mix, mix_from_file, token_budget
from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.real_texts import real_text_records

TRUE_SHAPE = TrunkShape(layers=24, hidden=1024, intermediate=4096, vocabulary=250_002)


@pytest.fixture(scope="module")
def tokenizer(demo_model_directory):
    """The demo model's, which is XLM-RoBERTa's with fewer pieces in use."""
    return TextTokenizer(demo_model_directory / "tokenizer.json")


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_is_the_same_each_time_and_knows_its_lengths(name, tokenizer):
    """Texts and lengths; the lengths are what the model's tokenizer makes of the texts."""
    mix = build_mix(name, tokenizer, 4000)
    lengths = [len(encoding) for encoding in tokenizer.encode(mix.texts)]

    assert mix == build_mix(name, tokenizer, 4000)
    assert lengths == list(mix.lengths)
    assert sum(lengths) == mix.tokens


def test_queries_are_short_and_none_is_cut(tokenizer):
    """They are whole texts of the collection, each once."""
    mix = build_mix("queries", tokenizer, 4000)
    queries = [record.text for record in real_text_records() if record.kind == "short"]

    assert max(mix.lengths) <= 20
    assert sorted(queries) == sorted(mix.texts)
    assert build_mix("queries", tokenizer, 300).tokens <= 300


@pytest.mark.parametrize("budget", [1000, 4000, 16000])
def test_passages_have_50_to_300_tokens(budget, tokenizer):
    """Evenly, and near the budget."""
    mix = build_mix("passages", tokenizer, budget)

    assert min(mix.lengths) >= 50
    assert max(mix.lengths) <= 300
    assert np.median(mix.lengths) == pytest.approx(175, abs=10)
    assert mix.tokens == pytest.approx(budget, rel=0.15)


@pytest.mark.parametrize("budget", [4000, 16000])
def test_the_heavy_tail_is_heavy(budget, tokenizer):
    """Half of the texts are short, and the longest tenth has two fifths of the tokens."""
    mix = build_mix("heavy_tail", tokenizer, budget)
    lengths = sorted(mix.lengths)
    longest_tenth = lengths[-len(lengths) // 10 :]

    assert np.median(lengths) < 60
    assert max(lengths) > 600
    assert sum(longest_tenth) > 0.38 * mix.tokens
    assert mix.tokens == pytest.approx(budget, rel=0.15)


def test_documents_reach_from_5000_chinese_characters_to_the_longest_text(tokenizer):
    """Real paragraphs: none fills more than its share."""
    mix = build_mix("documents", tokenizer, 40_000)
    (one,) = build_mix("documents", tokenizer, 1000).texts

    assert 5000 == len(one) == len(mix.texts[0])
    assert all(len(text) >= 5000 for text in mix.texts)
    assert MAX_POSITIONS_TOKENS == max(mix.lengths)
    assert sorted(mix.lengths) == list(mix.lengths)
    paragraphs = mix.texts[0].split("\n")
    assert len(set(paragraphs)) == len(paragraphs)
    assert 2 == len(build_mix("documents", tokenizer, 4000).texts)


def test_a_larger_trunk_gets_fewer_tokens():
    """And a quick run a quarter."""
    small = TrunkShape(layers=13, hidden=384, intermediate=1536, vocabulary=250_002)

    assert 603_979_776 == TRUE_SHAPE.linear_flop_per_token
    assert 3000 < token_budget(TRUE_SHAPE) < 5000
    assert 16_000 == token_budget(small)
    assert 4000 == token_budget(small, quick=True)


def test_the_package_has_the_texts_of_the_tests():
    """A wheel has no tests, so they are there twice."""
    expected = [
        (record.language, record.kind, record.text)
        for record in load_records()
        if record.kind != "edge"
    ]

    assert expected == [(x.language, x.kind, x.text) for x in real_text_records()]


def test_own_texts_are_taken_evenly_within_the_budget(tokenizer, tmp_path):
    """A text a line, or JSON; a line separator inside a text does not cut it."""
    lines = [f"text number {number}" for number in range(100)]
    plain, json_lines = tmp_path / "mine.txt", tmp_path / "mine.jsonl"
    plain.write_text("\n".join(lines) + "\n\n")
    json_lines.write_text(json.dumps("one\u2028line", ensure_ascii=False) + '\n{"text": "two"}\n')

    mix = mix_from_file(plain, tokenizer, budget_tokens=60)

    assert "mine" == mix.name
    assert mix.tokens == pytest.approx(60, abs=10)
    assert "text number 0" == mix.texts[0]
    assert int(mix.texts[-1].split()[-1]) >= 80
    assert f"{len(mix.texts)} of the 100 texts of mine.txt" == mix.description
    assert ("one\u2028line", "two") == mix_from_file(json_lines, tokenizer, 1000).texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n\n", "holds no text"),
        ("a.jsonl", '"fine"\n{"title": "x"}', r"a.jsonl:2: write a JSON string"),
        ("a.jsonl", "{", r"a.jsonl:1 is not JSON"),
        ("missing.txt", None, "cannot be read: .*No such file"),
        ("a.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_list_of_texts(name, content, message, tokenizer, tmp_path):
    """The message says which line."""
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(WorkError, match=message):
        mix_from_file(tmp_path / name, tokenizer, 1000)
