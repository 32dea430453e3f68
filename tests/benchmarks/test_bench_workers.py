"""Our own workers speak the protocol and give what the models give."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from bgem3_bench.errors import WorkerError
from bgem3_bench.worker_process import WorkerCommand, WorkerProcess
from bgem3_server.errors import InstallationError
from bgem3_server.triton.installation import find_installation

TEXTS = ["如何重置密码", "How do I reset my password?", "a", "密码 " * 100]
ALL = ["dense", "sparse", "colbert"]


@pytest.fixture
def start(demo_repository, demo_model_directory, tmp_path):
    """Return a function that starts a worker on the demo model, ended with the test."""
    started = []

    def run(module, **options):
        command = WorkerCommand(
            module, (sys.executable, "-P", "-m", f"bgem3_bench.workers.{module}")
        )
        worker = WorkerProcess(command, tmp_path / f"{module}.log")
        started.append(worker)
        answer = worker.ask(
            "load",
            120,
            checkpoint=str(demo_model_directory),
            threads=1,
            max_length=8192,
            options={"repository": str(demo_repository), **options},
        )
        return worker, answer

    yield run
    for worker in started:
        worker.kill()


def saved(worker, file, texts, **request):
    """What a worker gives for texts, as arrays, and its answer."""
    answer = worker.ask("encode", 60, texts=texts, outputs=ALL, save=str(file), **request)
    with np.load(file) as arrays:
        return dict(arrays), answer


def check_equal(expected, found, tolerance=1e-5):
    """The same arrays, to rounding."""
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=tolerance, err_msg=name)


def test_the_steps_in_one_process(start, tmp_path):
    """All outputs, counts that add up, and the same numbers for a text alone."""
    worker, loaded = start("in_process", engine="onnxruntime-fp32")
    together, answer = saved(worker, tmp_path / "all.npz", TEXTS)
    alone, _ = saved(worker, tmp_path / "one.npz", TEXTS[1:2])

    assert "fp32" == loaded["precision"]
    assert "onnxruntime-fp32" in loaded["settings"]
    assert {"onnxruntime", "torch", "bgem3-triton"} <= loaded["versions"].keys()
    assert answer["tokens"] == together["colbert_lengths"].sum() + len(TEXTS)
    assert answer["computed_tokens"] >= answer["tokens"]
    assert answer["seconds"] > 0
    assert answer["cpu_seconds"] > 0
    np.testing.assert_allclose(np.linalg.norm(together["dense"], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together["dense"][1:2], alone["dense"], atol=1e-5)
    first, second = np.cumsum(together["sparse_lengths"])[:2]
    np.testing.assert_array_equal(together["sparse_indices"][first:second], alone["sparse_indices"])
    assert worker.ask("memory", 10)["peak_bytes"] > 100_000_000
    latency = worker.ask("latency", 60, texts=TEXTS, outputs=["dense"], concurrency=4)
    assert 4 == len(latency["latencies_seconds"])
    worker.close()
    assert not worker.is_running


def test_it_has_no_batch_size(start):
    """That is said as what is not offered."""
    worker, _ = start("in_process", engine="onnxruntime-fp32")
    with pytest.raises(WorkerError, match="groups texts by itself") as unsupported:
        worker.ask("encode", 60, texts=["a"], outputs=["dense"], batch_size=4)

    assert "unsupported" == unsupported.value.kind


@pytest.mark.live
@pytest.mark.parametrize("protocol", ["grpc", "bgem3"])
def test_the_servers_are_what_is_measured(start, tmp_path, protocol):
    """The numbers of the steps in one process, from single texts and lists; nothing is left."""
    try:
        find_installation(None)
    except InstallationError as error:
        pytest.skip(f"no Triton can run here: {error}")
    reference, _ = start("in_process", engine="onnxruntime-fp32")
    expected, counted = saved(reference, tmp_path / "expected.npz", TEXTS)
    worker, loaded = start("served", engine="onnxruntime-fp32", protocol=protocol)
    servers = psutil.Process(worker.pid).children(recursive=True)
    singles, answer = saved(worker, tmp_path / "singles.npz", TEXTS)
    lists, _ = saved(worker, tmp_path / "lists.npz", TEXTS, batch_size=2)

    assert "fp32" == loaded["precision"]
    assert "the trunk's engine: onnxruntime-fp32" in loaded["settings"]
    check_equal(expected, singles)
    check_equal(expected, lists)
    assert answer["computed_tokens"] >= counted["tokens"]
    assert answer["cpu_seconds"] > 0
    peak = worker.ask("memory", 10)["peak_bytes"]
    assert peak > max(server.memory_info().rss for server in servers)
    assert any("tritonserver" in server.name() for server in servers)
    worker.close()
    assert [] == [server for server in servers if server.is_running()]
