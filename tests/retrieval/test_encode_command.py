"""``bgem3 encode``: order, bad lines, exit codes, and no half files."""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from encode_run import EncodeCommand

from bgem3_client import (
    FakeTransport,
    InferRequest,
    InferResponse,
    InternalServerError,
    InvalidInputError,
)
from bgem3_retrieval.bulk.output_file import output_stream

WriteFile = Callable[[str, str | bytes], Path]
FORMATS = ["jsonl", "npz", "parquet"]


def rows(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def names_in(folder: Path) -> set[str]:
    """Names of all that is in a folder."""
    return {path.name for path in folder.iterdir()}


def test_standard_input_to_standard_output(encode_command: EncodeCommand) -> None:
    """Without any file, lines come in and JSON lines go out."""
    outcome = encode_command(stdin="hello world\n如何重置\n".encode())
    first, second = rows(outcome.stdout)

    assert 0 == outcome.exit_code
    assert ("1", 4, False) == (first["id"], first["token_count"], first["truncated"])
    assert 16 == len(first["dense"])
    assert {"id", "dense", "token_count", "truncated"} == set(second)
    assert "2 texts (7 tokens) written to standard output" in outcome.stderr


def test_order_holds_across_batches_and_files(
    encode_command: EncodeCommand, write_file: WriteFile
) -> None:
    """Whatever is on its way at once, the output has the order of the lines."""
    for name in ("a", "b"):
        write_file(f"{name}.txt", "".join(f"{name} {number}\n" for number in range(50)))
    outcome = encode_command("a.txt", "b.txt", "--batch-texts", "3")

    assert [f"{n}.txt:{i}" for n in ("a", "b") for i in range(1, 51)] == [
        row["id"] for row in rows(outcome.stdout)
    ]
    assert max(len(request.texts) for request in encode_command.transport.requests) == 3


def test_options_reach_the_server(encode_command: EncodeCommand) -> None:
    """Outputs, max_length and truncate are the request's."""
    encode_command("--outputs", "dense,colbert", "--max-length", "3", stdin=b"one two three\n")
    request = encode_command.transport.requests[-1]

    assert {"dense", "colbert", "token_lengths", "full_token_lengths"} == {
        tensor.name for tensor in request.outputs
    }
    assert {"max_length": 3, "truncate": True} == dict(request.parameters)


def test_a_text_that_was_cut_is_marked(encode_command: EncodeCommand) -> None:
    """And counted in the summary."""
    outcome = encode_command("--max-length", "3", stdin=b"one two three\none\n")

    assert [True, False] == [row["truncated"] for row in rows(outcome.stdout)]
    assert "1 truncated" in outcome.stderr


def test_skip_reports_each_bad_line_and_encodes_the_rest(
    encode_command: EncodeCommand, write_file: WriteFile
) -> None:
    """Bad lines of the reader and of the server alike, in their order; the end is exit code 3."""
    write_file("a.jsonl", '{"text": "one"}\n{"text": "1 2 3 4 5"}\nno\n{"text": "two"}\n{}\n')
    outcome = encode_command(
        *("a.jsonl", "--on-error", "skip", "--no-truncate", "--max-length", "5"),
        *("-o", "out.jsonl", "--errors", "bad.jsonl"),
    )
    bad = rows((encode_command.folder / "bad.jsonl").read_text())

    assert 3 == outcome.exit_code
    assert ["1", "4"] == [
        row["id"] for row in rows((encode_command.folder / "out.jsonl").read_text())
    ]
    assert [
        "a.jsonl:2: the text has 7 tokens, more than max_length=5",
        "a.jsonl:3: not JSON: Expecting value at position 1",
        "a.jsonl:5: no field 'text' (there: none)",
    ] == outcome.stderr.splitlines()[:3]
    assert "3 skipped" in outcome.stderr
    assert [("a.jsonl", 2), ("a.jsonl", 3), ("a.jsonl", 5)] == [
        (row["file"], row["line"]) for row in bad
    ]
    assert ['{"text": "1 2 3 4 5"}', "no", "{}"] == [row["content"] for row in bad]


def test_a_batch_of_nothing_but_bad_lines_is_skipped(encode_command: EncodeCommand) -> None:
    """Nothing is left to send, and the output is empty."""
    outcome = encode_command(
        "--input-format", "jsonl", "--on-error", "skip", stdin=b"no\n{}\n\xff\n"
    )

    assert (3, "") == (outcome.exit_code, outcome.stdout)
    assert [] == encode_command.sent_texts


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\n", "a.txt:81: not UTF-8: byte 0xff at position 1"),
        (b"1 2 3 4\n", "a.txt:81: the text has 6 tokens, more than max_length=5"),
    ],
    ids=["reader", "server"],
)
@pytest.mark.parametrize("output_format", FORMATS)
def test_stop_at_a_bad_line_leaves_no_half_file(
    encode_command: EncodeCommand,
    write_file: WriteFile,
    output_format: str,
    line: bytes,
    reason: str,
) -> None:
    """The line is named, the exit code is 2, and a file from before stays as it was."""
    write_file("a.txt", b"good\n" * 80 + line + b"good\n" * 80)
    before = write_file("out", b"from before")
    outcome = encode_command(
        *("a.txt", "-o", "out", "--output-format", output_format, "--outputs", "dense,sparse"),
        *("--no-truncate", "--max-length", "5", "--batch-texts", "8"),
    )

    assert 2 == outcome.exit_code
    assert f"error: {reason}" in outcome.stderr
    assert b"from before" == before.read_bytes()
    assert {"a.txt", "out"} == names_in(encode_command.folder)


def test_stop_prints_what_came_before_the_batch_of_the_bad_line(
    encode_command: EncodeCommand,
) -> None:
    """Standard output holds whole batches, in order, and nothing after the bad line."""
    outcome = encode_command("--batch-texts", "2", stdin=b"1\n2\n3\n\xff\n5\n6\n")

    assert 2 == outcome.exit_code
    assert ["1", "2"] == [row["id"] for row in rows(outcome.stdout)]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_failing_server_ends_the_command(encode_command: EncodeCommand, on_error: str) -> None:
    """It is no bad line: the exit code is 1, and there is no file."""
    encode_command.transport = FakeTransport(script=[None, InternalServerError("out of memory")])
    outcome = encode_command("-o", "out.npz", "--on-error", on_error, stdin=b"one\n")

    assert (1, "error: out of memory\n") == (outcome.exit_code, outcome.stderr)
    assert set() == names_in(encode_command.folder)


def test_a_refusal_that_names_no_text_ends_the_command(encode_command: EncodeCommand) -> None:
    """Which line to skip is not known; the message says which lines were sent."""
    encode_command.transport = FakeTransport(script=[None, InvalidInputError("too large")])
    outcome = encode_command("--on-error", "skip", stdin=b"one\ntwo\n")

    assert (2, "error: <stdin>:1 to <stdin>:2: too large\n") == (outcome.exit_code, outcome.stderr)


def test_another_version_of_the_model_ends_the_command(encode_command: EncodeCommand) -> None:
    """Vectors of two versions do not go together."""

    class Rolling(FakeTransport):
        async def infer(self, request: InferRequest) -> InferResponse:
            response = await super().infer(request)
            return InferResponse(response.tensors, "2" if b"b" in request.texts else "1")

    encode_command.transport = Rolling()
    outcome = encode_command("--batch-texts", "1", "-o", "out.npz", stdin=b"a\nb\n")

    assert 1 == outcome.exit_code
    assert "version from 1 to 2 at <stdin>:2" in outcome.stderr
    assert set() == names_in(encode_command.folder)


@pytest.mark.parametrize("output_format", FORMATS)
def test_nothing_in_gives_a_file_with_nothing(
    encode_command: EncodeCommand, output_format: str
) -> None:
    """An empty input is no mistake."""
    outcome = encode_command("-o", f"out.{output_format}", "--outputs", "dense,colbert", stdin=b"")

    assert 0 == outcome.exit_code
    assert {f"out.{output_format}"} == names_in(encode_command.folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.bin"], "which format is out.bin?"),
        (["--output-format", "npz"], "--output-format npz needs a file"),
        (["--outputs", "dense,spare"], "'spare' is none of dense, sparse, colbert"),
        (["--tokens"], "--tokens is about sparse weights"),
        (["--max-length", "0"], "0 is not in the range"),
        (["a.txt", "-o", "a.txt", "--output-format", "jsonl"], "a.txt is an input"),
        (["a.txt", "--errors", "a.txt"], "a.txt is an input"),
        (["-o", "b.jsonl", "--errors", "b.jsonl"], "--output and --errors are the same file"),
        (["gone.txt"], "'gone.txt' does not exist"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_happens(
    encode_command: EncodeCommand, write_file: WriteFile, arguments: list[str], message: str
) -> None:
    """Nothing is sent, nothing is written over."""
    source = write_file("a.txt", "one\n")
    outcome = encode_command(*arguments, stdin=b"")

    assert 2 == outcome.exit_code
    assert message in outcome.stderr
    assert [] == encode_command.transport.requests
    assert {"a.txt": "one\n"} == {
        path.name: path.read_text() for path in encode_command.folder.iterdir()
    }
    assert source.exists()


def test_an_output_that_cannot_be_written_is_the_outputs_fault(
    encode_command: EncodeCommand,
) -> None:
    """The message names the file and the system's reason."""
    outcome = encode_command("-o", "no/such/out.jsonl", stdin=b"one\n")

    assert 1 == outcome.exit_code
    assert "error: no/such/out.jsonl cannot be written: No such file" in outcome.stderr


def test_standard_output_that_takes_parts_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an unbuffered one may, with PYTHONUNBUFFERED."""

    class Slow(io.RawIOBase):
        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.written += bytes(data[:3])
            return min(len(data), 3)

    slow = Slow()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=slow))
    with output_stream(None) as stream:
        stream.write(b"0123456789")

    assert b"0123456789" == slow.written


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_the_outputs_fault(
    encode_command: EncodeCommand, output_format: str
) -> None:
    """Devices are written to as they are, and their errors are told."""
    outcome = encode_command("-o", "/dev/full", "--output-format", output_format, stdin=b"one\n")

    assert (1, "error: /dev/full cannot be written: No space left on device\n") == (
        outcome.exit_code,
        outcome.stderr,
    )


def test_parquet_without_pyarrow_says_what_to_install(
    encode_command: EncodeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before a text is sent."""
    real_import = builtins.__import__

    def without_pyarrow(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
        return real_import(name, *arguments)

    for name in ("writers.parquet", "columns", "row_groups"):
        monkeypatch.delitem(sys.modules, f"bgem3_retrieval.bulk.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    outcome = encode_command("-o", "out.parquet", stdin=b"one\n")

    assert 1 == outcome.exit_code
    assert "pip install 'bgem3-triton[retrieval]'" in outcome.stderr
    assert [] == encode_command.transport.requests


def test_the_bar_reaches_the_end_of_a_file(
    encode_command: EncodeCommand, write_file: WriteFile
) -> None:
    """Its total is the size of the inputs."""
    write_file("a.txt", "one\n" * 100)
    outcome = encode_command("a.txt", "-o", "out.jsonl", "--progress")

    assert "100 texts," in outcome.stderr
    assert "100%" in outcome.stderr


# The command in a process of its own, with a fake server that answers after a while.
_COMMAND = """
import sys
from bgem3_client import Client, FakeTransport
from bgem3_retrieval.bulk import command, one_file

class Slow(FakeTransport):
    async def infer(self, request):
        self._delay_seconds = float(sys.argv[1]) if len(self.requests) else 0.0
        return await super().infer(request)

one_file.connect = lambda url, say, limits: Client(transport=Slow(), limits=limits)
command.encode(sys.argv[2:])
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path, unbuffered: str) -> None:
    """As with ``| head -n 1``: no traceback, and the exit code of a broken pipe."""
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "0", "--batch-texts", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"one\n" * 32)
    process.stdin.flush()
    first = process.stdout.readline()
    process.stdout.close()
    _, complaints = process.communicate(b"one\n" * 1000, timeout=30)

    assert "1" == json.loads(first)["id"]
    assert (128 + signal.SIGPIPE, b"") == (process.returncode, complaints)


def test_an_interrupt_ends_it_with_a_message_and_no_file(
    tmp_path: Path, write_file: WriteFile
) -> None:
    """Also while requests are on their way, which are not waited for."""
    write_file("a.txt", "one\n" * 100)
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "60", "a.txt", "-o", "out.npz", "--batch-texts", "1"],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    give_up = time.monotonic() + 20
    while not any(name.endswith(".partial") for name in os.listdir(tmp_path)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=20)

    assert (130, b"interrupted: out.npz is not written\n") == (process.returncode, message)
    assert {"a.txt"} == names_in(tmp_path)
