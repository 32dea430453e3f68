"""Going on after a stop, wherever it was: the files are those of a run that was not disturbed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_run import CorpusCommand

from bgem3_client import AccessError, FakeTransport, InferRequest, InferResponse
from bgem3_retrieval.bulk.corpus import shard_file

OPTIONS = ("--outputs", "dense,sparse", "--shard-texts", "5", "--batch-texts", "2")


@pytest.fixture
def corpus(corpus_command: CorpusCommand) -> CorpusCommand:
    """Inputs of three kinds, with bad lines among them."""
    folder = corpus_command.folder
    lines = [json.dumps({"text": f"text {'x ' * (i % 4)}{i}"}) for i in range(8)]
    (folder / "a.jsonl").write_text("\n".join([*lines[:3], "bad", "", *lines[3:]]) + "\n")
    pq.write_table(
        pa.table({"text": ["p0", None, "p2", "p3", None, "p5"]}),
        folder / "b.parquet",
        row_group_size=4,
    )
    (folder / "c.txt").write_text("last\n")
    return corpus_command


INPUTS = ("a.jsonl", "b.parquet", "c.txt")


class Injection:
    """Fails the call number ``at`` of whatever it wraps."""

    def __init__(self, at: int, error: Exception) -> None:
        self.calls = 0
        self.at = at
        self.error = error

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            self.count()
            return function(*arguments, **keywords)

        return wrapped

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise self.error

    @property
    def fired(self) -> bool:
        return self.calls >= self.at


class FailingTransport(FakeTransport):
    """Fails where the injection says so; the first call asks whether the server is ready."""

    def __init__(self, injection: Injection) -> None:
        super().__init__()
        self.injection = injection

    async def infer(self, request: InferRequest) -> InferResponse:
        if request.texts != (b"ready?",):
            self.injection.count()
        return await super().infer(request)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_requests(patch: pytest.MonkeyPatch, corpus: CorpusCommand, at: int) -> Injection:
    # Nothing that is worth another try.
    injection = Injection(at, AccessError("no"))
    corpus.transports = {"127.0.0.1:8001": FailingTransport(injection)}
    return injection


def fail_syncs(patch: pytest.MonkeyPatch, corpus: CorpusCommand, at: int) -> Injection:
    injection = Injection(at, FULL)
    patch.setattr(os, "fsync", injection.wrap(os.fsync))
    return injection


def fail_renames(patch: pytest.MonkeyPatch, corpus: CorpusCommand, at: int) -> Injection:
    injection = Injection(at, FULL)
    patch.setattr(Path, "replace", injection.wrap(Path.replace))
    return injection


def fail_writes(patch: pytest.MonkeyPatch, corpus: CorpusCommand, at: int) -> Injection:
    injection = Injection(at, FULL)
    stream = shard_file._HashingStream
    patch.setattr(stream, "write", injection.wrap(stream.write))
    return injection


@pytest.mark.parametrize(
    ("fail", "step"),
    # A shard is written in many small pieces: not after each of them.
    [(fail_requests, 2), (fail_syncs, 1), (fail_renames, 1), (fail_writes, 7)],
)
def test_a_failure_at_any_step_and_the_next_run_ends_as_if_there_was_none(
    corpus: CorpusCommand,
    fail: Callable[[pytest.MonkeyPatch, CorpusCommand, int], Injection],
    step: int,
) -> None:
    """Byte for byte: shards, rejected lines and the manifest; nothing else is left over."""
    assert 3 == corpus(*INPUTS, *OPTIONS, out="undisturbed").exit_code
    expected = corpus.files("undisturbed")
    at = 1 - step
    while True:
        at += step
        out = f"out-{at}"
        with pytest.MonkeyPatch.context() as patch:
            injection = fail(patch, corpus, at)
            failed = corpus(*INPUTS, *OPTIONS, out=out)
        corpus.transports = {}
        if not injection.fired:
            break
        whole = corpus.manifest(out)["shards"] if corpus.out("_manifest.json", out).exists() else []
        resumed = corpus(*INPUTS, *OPTIONS, out=out)

        assert 1 == failed.exit_code, failed.stderr
        assert 3 == resumed.exit_code, resumed.stderr
        assert expected == corpus.files(out)
        # What was whole is not encoded again.
        assert len(whole) < 4 or "0 of them encoded now" in resumed.stderr
    assert at > 3


def test_a_complete_folder_is_left_as_it_is(corpus: CorpusCommand) -> None:
    """The same command again sends nothing, and says the same."""
    corpus(*INPUTS, *OPTIONS)
    before = corpus.files()
    corpus.transports = {}
    outcome = corpus(*INPUTS, *OPTIONS)

    assert 3 == outcome.exit_code
    assert before == corpus.files()
    assert [] == corpus.sent_texts()


def test_going_on_reads_only_what_is_left(corpus: CorpusCommand) -> None:
    """Whole shards are not encoded again: what is sent now are the lines after them."""
    corpus(*INPUTS, *OPTIONS)
    manifest = corpus.manifest()
    manifest["shards"] = manifest["shards"][:2]
    manifest["complete"] = False
    corpus.out("_manifest.json").write_text(json.dumps(manifest))
    corpus.transports = {}
    outcome = corpus(*INPUTS, *OPTIONS)

    assert "going on after 2 shards (9 rows), " in outcome.stderr
    assert {"p2", "p3", "p5", "last"} == set(corpus.sent_texts())


def change_size(corpus: CorpusCommand) -> list[str]:
    with (corpus.folder / "c.txt").open("a") as stream:
        stream.write("more\n")
    return [*INPUTS, *OPTIONS]


def change_time(corpus: CorpusCommand) -> list[str]:
    os.utime(corpus.folder / "c.txt", (1, 1))
    return [*INPUTS, *OPTIONS]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_size, r"c.txt had 5 bytes, and now has 10"),
        (change_time, r"c.txt was changed at 1970-01-01 00:00:01\+00:00; it was read as of "),
        (lambda corpus: [*INPUTS[:2], *OPTIONS], r"c.txt is no input any more"),
        (lambda corpus: ["b.parquet", "a.jsonl", "c.txt", *OPTIONS], r"come in another order"),
        (
            lambda corpus: [*INPUTS, *OPTIONS, "--max-length", "9"],
            r"max_length was 8192, and now is 9",
        ),
        (
            lambda corpus: [*INPUTS, *OPTIONS, "--outputs", "dense"],
            r"outputs was dense,sparse, and now is dense",
        ),
    ],
)
def test_other_inputs_or_options_are_refused(
    corpus: CorpusCommand, change: Callable[[CorpusCommand], list[str]], message: str
) -> None:
    """With what differs; nothing is sent, and nothing is written."""
    corpus(*INPUTS, *OPTIONS)
    before = corpus.files()
    corpus.transports = {}
    outcome = corpus(*change(corpus))

    assert 2 == outcome.exit_code
    assert re.search(message, outcome.stderr), outcome.stderr
    assert before == corpus.files()
    assert [] == corpus.sent_texts()


def test_another_version_of_the_model_is_refused(corpus: CorpusCommand) -> None:
    """Vectors of two versions do not go together."""
    corpus(*INPUTS, *OPTIONS)

    class Newer(FakeTransport):
        async def infer(self, request: InferRequest) -> InferResponse:
            response = await super().infer(request)
            return InferResponse(response.tensors, "2")

    corpus.transports = {"127.0.0.1:8001": Newer()}
    outcome = corpus(*INPUTS, *OPTIONS)

    assert 2 == outcome.exit_code
    assert "model version was '1', and now is '2'" in outcome.stderr


def test_hashed_inputs_may_be_touched_and_not_changed(corpus: CorpusCommand) -> None:
    """Then the time of the last change says nothing, and the bytes do."""
    corpus(*INPUTS, *OPTIONS, "--hash-inputs")
    os.utime(corpus.folder / "c.txt", (1, 1))
    touched = corpus(*INPUTS, *OPTIONS, "--hash-inputs")
    (corpus.folder / "c.txt").write_text("tsal\n")
    changed = corpus(*INPUTS, *OPTIONS, "--hash-inputs")

    assert 3 == touched.exit_code
    assert 2 == changed.exit_code
    assert "c.txt has other contents now" in changed.stderr


def test_a_folder_of_something_else_is_left_alone(corpus: CorpusCommand) -> None:
    """Also where it looks like one of ours."""
    corpus.out().mkdir()
    corpus.out("part-00000.parquet").write_text("mine")
    outcome = corpus(*INPUTS, *OPTIONS)

    assert 2 == outcome.exit_code
    assert "holds 'part-00000.parquet' and no _manifest.json" in outcome.stderr
    assert {"part-00000.parquet": b"mine"} == corpus.files()


def test_a_manifest_that_cannot_be_read_is_not_written_over(corpus: CorpusCommand) -> None:
    """The message names it, and what is wrong with it."""
    corpus.out().mkdir()
    corpus.out("_manifest.json").write_text('{"format": 2}')
    outcome = corpus(*INPUTS, *OPTIONS)

    assert 1 == outcome.exit_code
    assert "_manifest.json is not a manifest that this version can read (format:" in outcome.stderr


def test_one_at_a_time(corpus: CorpusCommand) -> None:
    """Two processes would write the same files."""
    corpus.out().mkdir()
    descriptor = os.open(corpus.out(), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    outcome = corpus(*INPUTS, *OPTIONS)
    os.close(descriptor)

    assert (1, "error: another process is writing to out\n") == (outcome.exit_code, outcome.stderr)
    assert 3 == corpus(*INPUTS, *OPTIONS).exit_code


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: os.truncate(path, 9), "bytes, and"),
    ],
)
def test_a_missing_shard_is_not_passed_over(
    corpus: CorpusCommand, damage: Callable[[Path], None], message: str
) -> None:
    """A run that goes on looks whether all is there; --verify says the same, of each."""
    corpus(*INPUTS, *OPTIONS)
    damage(corpus.out("part-00001.parquet"))
    again = corpus(*INPUTS, *OPTIONS)
    verified = corpus("--verify")

    assert 1 == again.exit_code
    assert message in again.stderr
    assert "part-00001.parquet" in again.stderr
    assert 1 == verified.exit_code
    assert "part-00001.parquet: " in verified.stderr
    assert "1 files are damaged" in verified.stderr


def test_verify_sees_a_single_bit(corpus: CorpusCommand) -> None:
    """Sizes are not all: the bytes are held against their SHA-256."""
    corpus(*INPUTS, *OPTIONS)
    whole = corpus("--verify")
    path = corpus.out("part-00002.parquet")
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    damaged = corpus("--verify")

    assert (0, "out: 4 shards, 13 rows, complete; all as written\n") == (
        whole.exit_code,
        whole.stderr,
    )
    assert 1 == damaged.exit_code
    assert "part-00002.parquet: has other contents than were written" in damaged.stderr
