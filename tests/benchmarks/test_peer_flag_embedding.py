"""FlagEmbedding's worker on the demo model, through the protocol."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from texts import load_records

from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_bench.peers.prepared_files import OFFLINE, WORKERS_FOLDER
from bgem3_bench.worker_process import WorkerCommand, WorkerProcess
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.reference import Reference

SECONDS = 120.0
MAX_LENGTH = 48
"""Some of the texts are longer."""


@pytest.fixture(scope="module")
def texts():
    """Of all kinds and many languages."""
    return [record.text for record in load_records() if record.kind != "edge"][::19][:9]


@pytest.fixture(scope="module")
def worker(demo_model_directory, tmp_path_factory):
    """The worker, loaded; this environment has FlagEmbedding too."""
    program = str(WORKERS_FOLDER / "flag_embedding_worker.py")
    command = WorkerCommand("flag-embedding", (sys.executable, program), environment=OFFLINE)
    worker = WorkerProcess(command, tmp_path_factory.mktemp("worker") / "log")
    worker.loaded = worker.ask(
        "load",
        SECONDS,
        checkpoint=str(demo_model_directory),
        threads=2,
        max_length=MAX_LENGTH,
        options={},
    )
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def expected(demo_model_directory, texts):
    """What PyTorch gives for each text alone, without FlagEmbedding."""
    checkpoint = Checkpoint(demo_model_directory)
    reference = Reference(checkpoint, "cpu")
    tokenized = TextTokenizer(checkpoint.tokenizer_file).encode(texts)
    ids = [np.array(encoding.ids, np.int32) for encoding in tokenized]
    # Truncation keeps the end-of-sequence token.
    cut = [
        np.append(row[: MAX_LENGTH - 1], row[-1]) if len(row) > MAX_LENGTH else row for row in ids
    ]
    assert max(map(len, ids)) > MAX_LENGTH
    return [(len(row), reference(row)) for row in cut]


def test_the_worker_says_what_it_runs(worker):
    """Versions, precision and the settings in words."""
    loaded = worker.loaded

    assert "1.4.2" == loaded["versions"]["FlagEmbedding"]
    assert "fp32" == loaded["precision"]
    assert "default batch size 256, max_length=48" in loaded["settings"]


def test_values_are_the_references(worker, texts, expected, tmp_path):
    """All three outputs, in the order of the texts."""
    worker.ask(
        "encode",
        SECONDS,
        texts=texts,
        outputs=["dense", "sparse", "colbert"],
        batch_size=4,
        save=str(tmp_path / "saved"),
    )

    with np.load(tmp_path / "saved") as saved:
        dense, colbert = (
            saved["dense"],
            np.split(saved["colbert"], saved["colbert_lengths"].cumsum()),
        )
        ends = saved["sparse_lengths"].cumsum()
        indices, values = (
            np.split(saved[f"sparse_{name}"], ends) for name in ("indices", "values")
        )
    for number, (_, reference) in enumerate(expected):
        np.testing.assert_allclose(dense[number], reference.dense, atol=1e-5)
        np.testing.assert_allclose(colbert[number], reference.colbert, atol=1e-5)
        assert sorted(reference.sparse) == indices[number].tolist()
        weights = [reference.sparse[token] for token in indices[number]]
        np.testing.assert_allclose(values[number], weights, atol=1e-5)


def test_tokens_are_counted_with_padding_and_the_trial_batch(worker, texts, expected):
    """The library runs the first batch of each call once more than needed."""
    answer = worker.ask("encode", SECONDS, texts=texts, outputs=["dense"], batch_size=4, save=None)

    lengths = sorted((length for length, _ in expected), reverse=True)
    batches = [lengths[begin : begin + 4] for begin in range(0, len(lengths), 4)]
    padded = sum(len(batch) * batch[0] for batch in batches)
    assert sum(lengths) == answer["tokens"]
    assert padded + 4 * lengths[0] == answer["computed_tokens"]


def test_callers_are_answered_in_turn(worker, texts):
    """A latency for each text."""
    answer = worker.ask("latency", SECONDS, texts=texts[:4], outputs=["dense"], concurrency=2)

    assert 4 == len(answer["latencies_seconds"])
    assert all(0 < latency <= answer["seconds"] for latency in answer["latencies_seconds"])
