"""The texts that perf_analyzer sends."""

import json
from collections import Counter

import pytest

from bgem3_bench.perf.input_data import Work, group_texts, read_texts, write_input_data
from bgem3_client.errors import InvalidInputError

TEXTS = [f"text {number}" for number in range(10)]


def test_every_text_is_sent_and_every_request_is_alike():
    """The last request is filled with texts of the first, in an order that is always the same."""
    requests = group_texts(TEXTS, 4)

    assert [4, 4, 4] == [len(request) for request in requests]
    assert set(TEXTS) == {text for request in requests for text in request}
    assert requests[0][:2] == requests[-1][-2:]
    assert ("text 6", "text 9", "text 0", "text 2") == requests[0]
    assert sorted(TEXTS) == sorted(text for (text,) in group_texts(TEXTS, 1))


def test_fewer_texts_than_a_request_holds_are_repeated():
    """So a file of one text can be measured with any number of texts a request."""
    (request,) = group_texts(["a", "b"], 5)

    assert [2, 3] == sorted(Counter(request).values())


def test_the_file_is_as_perf_analyzer_reads_it(tmp_path):
    """Shapes do not count the leading dimension."""
    write_input_data([("如何", 'a "b"')], tmp_path / "texts.json")

    data = json.loads((tmp_path / "texts.json").read_text("utf-8"))

    assert {"data": [{"text": {"content": ["如何", 'a "b"'], "shape": [2]}}]} == data


def test_lines_and_jsonl(tmp_path):
    """The name of the file decides, as in `bgem3 encode`."""
    (tmp_path / "a.txt").write_text("one\n{}\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')

    assert ("one", "{}") == read_texts(tmp_path / "a.txt").texts
    assert ("one", "two") == read_texts(tmp_path / "a.jsonl").texts
    assert "a.jsonl" == read_texts(tmp_path / "a.jsonl").origin


@pytest.mark.parametrize(
    ("content", "reason"),
    [('{"title": "one"}\n', r"a\.jsonl:1: no field 'text'"), ("\n", "holds no text")],
)
def test_files_without_texts_are_refused(tmp_path, content, reason):
    """With the line."""
    (tmp_path / "a.jsonl").write_text(content)

    with pytest.raises(InvalidInputError, match=reason):
        read_texts(tmp_path / "a.jsonl")


def test_the_size_of_the_work():
    """Tokens a request on average, and the largest request."""
    work = Work("somewhere", (("a", "b"), ("c", "d")), ((3, 5), (4, 10)))

    assert (2, 11, 14) == (work.texts_per_request, work.tokens_per_request, work.most_tokens)
    assert "2 requests of 2 texts each: somewhere, 3 to 10 tokens a text, 6 on average" == str(work)
