"""Lines that become no rows: set aside with the reason, and the others are encoded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_run import CorpusCommand

from bgem3_client import (
    FakeTransport,
    InferRequest,
    InferResponse,
    InvalidInputError,
    NotFiniteError,
    ServerOutOfMemoryError,
)


def jsonl(corpus: CorpusCommand, values: Sequence[object]) -> str:
    """Write a JSONL file with these texts, whatever they are."""
    lines = [json.dumps({"id": str(i), "text": value}) for i, value in enumerate(values)]
    (corpus.folder / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return "a.jsonl"


def test_each_is_set_aside_with_its_reason(corpus_command: CorpusCommand) -> None:
    """From the reader and from the server alike, in the order of the lines."""
    name = jsonl(corpus_command, ["one", "1 2 3 4 5", None, 7, "two", "1 2 3 4 5 6", "three"])
    outcome = corpus_command(name, "--no-truncate", "--max-length", "5", "--shard-texts", "3")

    assert 3 == outcome.exit_code
    assert ["0", "4", "6"] == corpus_command.table()["id"].to_pylist()
    assert [
        (2, "the text has 7 tokens, more than max_length=5"),
        (3, "field 'text' must be a string, not null"),
        (4, "field 'text' must be a string, not a number"),
        (6, "the text has 8 tokens, more than max_length=5"),
    ] == [(row["line"], row["reason"]) for row in corpus_command.rejected()]
    assert '{"id": "3", "text": 7}' == corpus_command.rejected()[2]["content"]
    assert [(1, 2), (1, 2), (1, 0)] == [
        (shard["rows"], shard["rejected"]) for shard in corpus_command.manifest()["shards"]
    ]
    assert "3 texts (9 tokens) in 3 shards" in outcome.stderr
    assert "4 rejected" in outcome.stderr


def test_parquet_rows_without_a_text(corpus_command: CorpusCommand) -> None:
    """Nulls, ids that are null, and bytes that are no UTF-8."""
    broken = pa.Array.from_buffers(
        pa.string(), 2, pa.array([b"\xff", b"fine"], pa.binary()).buffers()
    )
    pq.write_table(
        pa.table({"id": ["a", None, "c"], "text": ["x", "y", None]}),
        corpus_command.folder / "1.parquet",
    )
    pq.write_table(pa.table({"id": [1, 2], "text": broken}), corpus_command.folder / "2.parquet")
    outcome = corpus_command("*.parquet")

    assert 3 == outcome.exit_code, outcome.stderr
    assert ["a", "2"] == corpus_command.table()["id"].to_pylist()
    assert [
        ("1.parquet", 2, "field 'id' must be a string or an integer, not null"),
        ("1.parquet", 3, "field 'text' must be a string, not null"),
        ("2.parquet", 1, "not UTF-8: byte 0xff at position 1"),
    ] == [(row["file"], row["line"], row["reason"]) for row in corpus_command.rejected()]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"body": ["x"]}, "a.parquet: no column 'text' (there: 'body'); --text-field names"),
        ({"text": [1]}, "a.parquet: column 'text' holds int64, not strings"),
        ({"text": ["x"], "id": [0.5]}, "a.parquet: column 'id' holds double, neither strings nor"),
    ],
)
def test_parquet_without_such_a_column_is_no_matter_of_rows(
    corpus_command: CorpusCommand, column: dict[str, list[object]], message: str
) -> None:
    """A wrong option is said once, and not for every row."""
    pq.write_table(pa.table(column), corpus_command.folder / "a.parquet")
    outcome = corpus_command("a.parquet")

    assert 2 == outcome.exit_code
    assert message in outcome.stderr


def test_nothing_but_poison_gives_an_empty_shard(corpus_command: CorpusCommand) -> None:
    """It can be read as the others can."""
    outcome = corpus_command(jsonl(corpus_command, [None, None]), "--outputs", "dense,colbert")

    assert 3 == outcome.exit_code
    assert ["id", "dense", "colbert", "token_count", "truncated"] == (
        corpus_command.table().schema.names
    )
    assert 0 == len(corpus_command.table())
    assert 2 == len(corpus_command.rejected())


class Picky(FakeTransport):
    """Fails at every request that holds a certain text, without saying which it was."""

    def __init__(self, error: Exception, most_texts: int = 0) -> None:
        super().__init__()
        self.error = error
        self.most_texts = most_texts

    async def infer(self, request: InferRequest) -> InferResponse:
        if b"poison" in request.texts and len(request.texts) > self.most_texts:
            self.requests.append(request)
            raise self.error
        return await super().infer(request)


def test_a_refusal_that_names_no_text_is_narrowed_down(corpus_command: CorpusCommand) -> None:
    """The request is halved until the text is alone."""
    texts = [f"text {i}" for i in range(20)]
    texts[13] = "poison"
    corpus_command.transports = {"127.0.0.1:8001": Picky(InvalidInputError("no such thing"))}
    outcome = corpus_command(jsonl(corpus_command, texts))

    assert 3 == outcome.exit_code, outcome.stderr
    assert [str(i) for i in range(20) if i != 13] == corpus_command.table()["id"].to_pylist()
    assert [(14, "no such thing")] == [
        (row["line"], row["reason"]) for row in corpus_command.rejected()
    ]


def test_a_text_that_the_model_gives_nan_for_is_left_out(corpus_command: CorpusCommand) -> None:
    """Sent once, and listed; the others are encoded, and the server gets no rest for it."""
    texts = ["text 0", "text 1", "poison", "text 3"]
    picky = Picky(NotFiniteError("the model gave NaN", index=2))
    corpus_command.transports = {"127.0.0.1:8001": picky}
    outcome = corpus_command(jsonl(corpus_command, texts))

    assert 3 == outcome.exit_code, outcome.stderr
    assert ["0", "1", "3"] == corpus_command.table()["id"].to_pylist()
    assert [(3, "the model gave NaN")] == [
        (row["line"], row["reason"]) for row in corpus_command.rejected()
    ]
    assert "waiting for it" not in outcome.stderr
    assert 1 == sum(b"poison" in request.texts for request in picky.requests)


def test_a_request_too_large_for_the_servers_memory_is_halved(
    corpus_command: CorpusCommand,
) -> None:
    """And nothing is rejected for it."""
    texts = [*(f"text {i}" for i in range(20)), "poison"]
    picky = Picky(ServerOutOfMemoryError("too much"), most_texts=3)
    corpus_command.transports = {"127.0.0.1:8001": picky}
    outcome = corpus_command(jsonl(corpus_command, texts))

    assert 0 == outcome.exit_code, outcome.stderr
    assert [str(i) for i in range(21)] == corpus_command.table()["id"].to_pylist()


def test_stop_ends_at_the_first_one(corpus_command: CorpusCommand) -> None:
    """As without a folder; the shards before it stay, and skip cannot go on: nothing is half."""
    name = jsonl(corpus_command, ["a", "b", "c", None, "d"])
    stopped = corpus_command(name, "--on-error", "stop", "--shard-texts", "2")
    shards = [shard["rows"] for shard in corpus_command.manifest()["shards"]]
    skipped = corpus_command(name, "--on-error", "skip", "--shard-texts", "2")

    assert 2 == stopped.exit_code
    assert "a.jsonl:4: field 'text' must be a string, not null" in stopped.stderr
    assert [2] == shards
    assert 3 == skipped.exit_code
    assert ["0", "1", "2", "4"] == corpus_command.table()["id"].to_pylist()


def test_stop_does_not_wait_for_what_is_under_way(corpus_command: CorpusCommand) -> None:
    """A bad line is said when its shard is written, though servers have long to do."""

    class Stuck(FakeTransport):
        async def infer(self, request: InferRequest) -> InferResponse:
            if any(text.startswith(b"slow") for text in request.texts):
                await asyncio.sleep(60)
            return await super().infer(request)

    corpus_command.transports = {"127.0.0.1:8001": Stuck()}
    name = jsonl(corpus_command, [None, "a", *(f"slow {i}" for i in range(20))])
    started = time.monotonic()
    # A request of its own for each text: with "a" beside slow ones, its shard would wait for them.
    options = ("--shard-texts", "2", "--batch-texts", "1")
    outcome = corpus_command(name, "--on-error", "stop", *options)

    assert 2 == outcome.exit_code
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "a folder needs files as inputs"),
        ([], "a folder needs files as inputs"),
        (["no*.txt"], "no file matches 'no*.txt'"),
        (["."], "'.' is a folder: name its files"),
        (["a.jsonl", "--errors", "x"], "a folder keeps rejected lines itself"),
        (["a.jsonl", "--output-format", "npz"], "a folder's shards are Parquet, not npz"),
        (["a.jsonl", "--url", "a:1,a:1"], "an address is there twice"),
        (["--verify"], "has no manifest"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_happens(
    corpus_command: CorpusCommand, arguments: list[str], message: str
) -> None:
    """Nothing is sent, and there is no folder."""
    jsonl(corpus_command, ["one"])
    outcome = corpus_command(*arguments)

    assert 2 == outcome.exit_code
    assert message in outcome.stderr
    assert {} == corpus_command.transports
    assert not corpus_command.out().exists()
