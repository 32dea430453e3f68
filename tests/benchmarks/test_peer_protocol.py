"""Requests and answers between the benchmark and a system under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bgem3_bench.errors import WorkerError
from bgem3_bench.worker_process import WorkerCommand, WorkerProcess
from bgem3_bench.workers.worker_protocol import colbert_embeddings

TOY = str(Path(__file__).with_name("peer_toy_worker.py"))
SECONDS = 30.0
LOAD = (
    '{{"op": "load", "checkpoint": "/m", "threads": 1, "max_length": 8, '
    '"options": {{"closed_file": "{closed_file}"}}}}\n'
)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the toy, loaded with options."""
    running = []

    def start(**options):
        worker = WorkerProcess(WorkerCommand("toy", (sys.executable, TOY)), tmp_path / "toy.log")
        running.append(worker)
        worker.loaded = worker.ask(
            "load", SECONDS, checkpoint="/a/model", threads=2, max_length=512, options=options
        )
        return worker

    yield start
    for worker in running:
        worker.kill()


def encode(worker, *texts, outputs=("dense",), batch_size=None, save=None):
    return worker.ask(
        "encode", SECONDS, texts=texts, outputs=outputs, batch_size=batch_size, save=save
    )


def test_load_says_what_runs_and_how(start):
    """Versions, settings and the time of loading."""
    loaded = start().loaded

    assert {"Python", "numpy"} == set(loaded["versions"])
    assert "model, 2 threads, 512" == loaded["settings"]
    assert 0 <= loaded["seconds"] < SECONDS


def test_what_anybody_prints_goes_to_the_log(start, tmp_path):
    """Python, C and child processes write to standard output; answers stay answers."""
    worker = start()

    answer = encode(worker, "print")

    assert answer["ok"]
    printed = (tmp_path / "toy.log").read_text()
    for words in ("printed by Python", "written by a library", "echoed by a child"):
        assert words in printed


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("raise ValueError of the library", "failed", "ValueError: of the library"),
        ("raise MemoryError", "out_of_memory", "MemoryError: "),
        (
            "raise RuntimeError DefaultCPUAllocator: can't allocate memory: 9 bytes",
            "out_of_memory",
            "RuntimeError: DefaultCPUAllocator: can't allocate memory: 9 bytes",
        ),
        ("raise Unsupported no such thing", "unsupported", "no such thing"),
    ],
)
def test_an_exception_is_an_answer(start, text, kind, message):
    """Its kind tells what to make of it, and the worker answers on."""
    worker = start()

    with pytest.raises(WorkerError) as caught:
        encode(worker, text)

    assert (kind, message.strip()) == (caught.value.kind, str(caught.value))
    assert encode(worker, "next")["ok"]


@pytest.mark.parametrize(
    ("request_line", "kind", "words"),
    [
        ("not JSON", "failed", "JSONDecodeError"),
        ('{"op": "dance"}', "unsupported", "dance"),
        ('{"op": "encode", "texts": ["a"], "outputs": ["dense"]}', "failed", "before load"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered(request_line, kind, words):
    """With what is wrong with it."""
    ended = subprocess.run(
        [sys.executable, TOY], input=request_line + "\n", capture_output=True, text=True, check=True
    )

    assert f'"kind": "{kind}"' in ended.stdout
    assert words in ended.stdout


def test_outputs_that_a_system_does_not_give_are_unsupported(start):
    """And a name that nobody knows is a failure."""
    worker = start()

    with pytest.raises(WorkerError, match="gives dense, sparse, not colbert") as refused:
        encode(worker, "a", outputs=["dense", "colbert"])
    with pytest.raises(WorkerError, match="not \\['tokens'\\]") as unknown:
        encode(worker, "a", outputs=["tokens"])

    assert ("unsupported", "failed") == (refused.value.kind, unknown.value.kind)


def test_end_of_input_ends_the_worker_in_order(tmp_path):
    """The system is closed, once, and the exit status is 0."""
    closed = tmp_path / "closed"

    ended = subprocess.run(
        [sys.executable, TOY],
        input=LOAD.format(closed_file=closed),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == ended.returncode
    assert "closed\n" == closed.read_text()


def test_a_worker_ends_in_order_when_nobody_listens_any_more(tmp_path):
    """The benchmark was killed: no traceback, and the system's own processes are let go."""
    closed = tmp_path / "closed"
    with subprocess.Popen(
        [sys.executable, TOY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdout.close()
        worker.stdin.write(LOAD.format(closed_file=closed).encode())
        worker.stdin.flush()

        assert 0 == worker.wait(SECONDS)
        assert b"" == worker.stderr.read()
    assert closed.is_file()


def test_close_ends_the_worker():
    """Without waiting for the end of its input."""
    with subprocess.Popen(
        [sys.executable, TOY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        worker.stdin.write('{"op": "close"}\n')
        worker.stdin.flush()

        assert 0 == worker.wait(SECONDS)


@pytest.mark.parametrize(("serialised", "together"), [(True, 1), (False, 4)])
def test_latency_is_seen_by_the_callers(start, serialised, together, tmp_path):
    """Around a library they wait for each other, and their waiting counts; a server gets all."""
    worker = start(serialised=serialised)

    answer = worker.ask("latency", SECONDS, texts=["nap"] * 12, outputs=["dense"], concurrency=4)
    encode(worker, "most_together", save=str(tmp_path / "most.npz"))

    assert together == np.load(tmp_path / "most.npz")["dense"].item()
    latencies = answer["latencies_seconds"]
    assert 12 == len(latencies)
    # Naps of 20 ms each: four callers that take turns wait for three others, all of them.
    assert 0.02 * 4 / together * 0.9 < min(latencies[4:])
    assert answer["seconds"] >= 12 * 0.02 / together


def test_memory_is_the_peak_since_the_last_question(start):
    """What was held and given back is in the first answer, and not in the next."""
    worker = start()
    before = worker.ask("memory", SECONDS)

    encode(worker, f"hold {200_000_000}")
    holding = worker.ask("memory", SECONDS)
    after = worker.ask("memory", SECONDS)

    assert before["reset"]
    assert 190_000_000 < holding["peak_bytes"] - after["peak_bytes"] < 250_000_000


@pytest.mark.parametrize("child", ["ends", "stays"])
def test_processor_time_counts_child_processes(start, child):
    """Those that have ended and those that work on."""
    answer = encode(start(child=child), "burn 0.4")

    assert 0.35 < answer["cpu_seconds"] < 5


def test_tokens_are_counted_for_each_measurement(start):
    """Real ones by the tokenizer, computed ones from 0 again."""
    worker = start()

    first, second = encode(worker, "four", "seven"), encode(worker, "four")

    assert (9, 20) == (first["tokens"], first["computed_tokens"])
    assert (4, 10) == (second["tokens"], second["computed_tokens"])


def test_tune_finds_the_best_batch_size_and_encode_uses_it(start):
    """Larger ones than a hopeless one are not tried."""
    worker = start()

    with pytest.raises(WorkerError, match="tune"):
        encode(worker, "by_batch_size", batch_size="best")
    tuned = worker.ask(
        "tune", SECONDS, texts=["by_batch_size"], outputs=["dense"], batch_sizes=[1, 2, 4, 8]
    )
    best = encode(worker, "by_batch_size", batch_size="best")

    assert 2 == tuned["batch_size"]
    assert ["1", "2", "4"] == list(tuned["seconds_by_batch_size"])
    assert tuned["settings"].startswith("batch size 2, the fastest")
    assert 2 == best["batch_size"]


def test_results_are_saved_as_arrays(start, tmp_path):
    """Token ids in order, whatever the order and type that the library gives them in."""
    encode(start(), "one", "three", outputs=["dense", "sparse"], save=str(tmp_path / "saved"))

    with np.load(tmp_path / "saved") as saved:
        assert {"dense", "sparse_indices", "sparse_values", "sparse_lengths"} == set(saved)
        assert [[3.0], [5.0]] == saved["dense"].tolist()
        assert [3, 7, 3, 7] == saved["sparse_indices"].tolist()
        assert [0.25, 0.5, 0.25, 0.5] == saved["sparse_values"].tolist()
        assert [2, 2] == saved["sparse_lengths"].tolist()


def test_colbert_rows_are_joined_text_after_text():
    """With the number of each text's rows, in FP32."""
    joined = colbert_embeddings([np.ones((2, 3), np.float16), np.zeros((1, 3), np.float16)])

    assert joined.colbert is not None
    assert joined.colbert_lengths is not None
    assert ((3, 3), np.float32) == (joined.colbert.shape, joined.colbert.dtype)
    assert [2, 1] == joined.colbert_lengths.tolist()
