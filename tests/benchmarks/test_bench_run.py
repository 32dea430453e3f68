"""The run: what is measured, and what becomes of systems that fail."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from new_process import call_in_new_process

from bgem3_bench import run as bench_run
from bgem3_bench.mixes import Mix
from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.plan import Cell, LatencyCell, Model, Plan, latency_requests
from bgem3_bench.pool import memory_groups
from bgem3_bench.results import INTERRUPTED
from bgem3_bench.run import Run
from bgem3_bench.systems import REFERENCE, System
from bgem3_bench.worker_process import WorkerCommand

SHAPE = TrunkShape(layers=1, hidden=64, intermediate=128, vocabulary=100)
GOOD = Mix("good", "texts that do no harm", ("one", "another"), (3, 7))


class Watcher:
    """Keeps what it is told, and tells who listens to steps."""

    def __init__(self, on_step=None):
        self.steps, self.failures = [], []
        self.on_step = on_step or (lambda what: None)

    def begin(self, steps, estimated_seconds, groups):
        self.total = steps

    def step(self, what):
        self.steps.append(what)
        self.on_step(what)

    def failed(self, system, what, failure):
        self.failures.append((system, what, failure.kind))


def fake(name, worker=None, **options):
    """A system whose worker does what the texts say."""
    command = (sys.executable, str(Path(__file__).with_name("fake_system.py")))
    worker = worker or name
    return System(
        name=name,
        label=name,
        what="",
        ours=name == REFERENCE,
        usual=True,
        worker_name=worker,
        worker=WorkerCommand(worker, command, options),
    )


def plan(*systems, mixes=(GOOD,), latency=(), **settings):
    """A plan for fake systems, the reference first."""
    defaults = {
        "rounds": 2,
        "threads": 1,
        "seed": 0,
        "cell_timeout_seconds": 30,
        "time_limit_seconds": None,
    }
    return Plan(
        model=Model("model", "", Path(), SHAPE),
        systems=(fake(REFERENCE), *systems),
        cells=tuple(Cell(mix, "dense") for mix in mixes),
        latency_cells=latency,
        **(defaults | settings),
    )


class ConstantLimit:
    """In place of multiplying matrices: starting PyTorch for it takes seconds."""

    def measure(self, precision):
        return 1e12, "constant"


@pytest.fixture
def constant_limit(monkeypatch):
    """Do not multiply matrices."""
    monkeypatch.setattr(bench_run, "running_limit_meter", lambda *_: nullcontext(ConstantLimit()))


@pytest.fixture
def measure(tmp_path):
    """Return a function that carries out a plan and gives (results, watcher)."""

    def run(plan, on_step=None):
        watcher = Watcher(on_step)
        return Run(plan, tmp_path / "logs", watcher).measure(), watcher

    return run


def cell(results, system, mix):
    (found,) = [x for x in results.throughput if (x.system, x.mix) == (system, mix)]
    return found


def children():
    return [child.pid for child in psutil.Process().children(recursive=True)]


def test_every_system_does_every_cell_in_every_round(measure):
    """Each pass has its figures; accuracy is against the reference; limits stand beside them."""
    latency = tuple(
        LatencyCell(GOOD, "dense", n, latency_requests(GOOD, n, quick=True)) for n in (1, 4)
    )
    results, watcher = measure(plan(fake("other", error=0.5), latency=latency))

    assert results.run.complete
    assert watcher.total == len(watcher.steps)
    for system in (REFERENCE, "other"):
        passes = cell(results, system, "good").passes
        assert [0, 1] == [one.round for one in passes]
        assert {(10, 20)} == {(one.tokens, one.computed_tokens) for one in passes}
        assert all(one.seconds > 0 and one.cpu_seconds >= 0 for one in passes)
        assert all(one.peak_bytes > 10_000_000 for one in passes)
    assert cell(results, REFERENCE, "good").accuracy.dense_cosine_smallest == pytest.approx(1)
    assert 0.9 < cell(results, "other", "good").accuracy.dense_cosine_smallest < 0.999
    assert {("fp32", 0), ("bf16", 0), ("int8", 0), ("fp32", 1), ("bf16", 1), ("int8", 1)} == {
        (limit.precision, limit.round) for limit in results.limits
    }
    assert [(1, 2, 32), (1, 2, 32), (4, 2, 32), (4, 2, 32)] == [
        (x.concurrency, len(x.rounds), len(x.rounds[0].latencies_seconds)) for x in results.latency
    ]
    assert "as it comes" == results.systems[1].settings
    assert 1 == len(results.systems[1].startup_seconds)


@pytest.mark.usefixtures("constant_limit")
def test_systems_of_one_worker_share_its_process(measure):
    """One start for both, and its latency is measured once."""
    latency = (LatencyCell(GOOD, "dense", 1, GOOD.texts),)
    results, _ = measure(
        plan(fake("default", "shared"), fake("variant", "shared"), latency=latency, rounds=1)
    )

    starts = {system.name: system.startup_seconds for system in results.systems}
    assert starts["default"] == starts["variant"]
    assert 1 == len(starts["default"])
    assert [REFERENCE, "default"] == [x.system for x in results.latency]


@pytest.mark.usefixtures("constant_limit")
def test_what_fails_becomes_a_row_and_harms_nobody(measure):
    """An error, a process that dies and one that hangs: each says so; the rest is measured."""
    bad = [Mix(word, "", ("one", word), (3, 5)) for word in ("fail", "die", "sleep")]
    alone = fake("alone")
    description = plan(alone, mixes=(GOOD, *bad), cell_timeout_seconds=3)
    before = children()
    results, watcher = measure(description)

    failures = {x.mix: x.failure for x in results.throughput if x.system == "alone" and x.failure}
    assert {"fail": "failed", "die": "died", "sleep": "timeout"} == {
        mix: failure.kind for mix, failure in failures.items()
    }
    assert "ValueError: this text cannot be encoded" == failures["fail"].message
    assert "was killed by SIGKILL" in failures["die"].message
    assert "last words" in failures["die"].message
    assert "no answer within 3 s" == failures["sleep"].message
    # What has failed is not tried again: told once, though there are two rounds.
    assert 1 == watcher.failures.count(("alone", "die, dense", "died"))
    assert 2 == len(cell(results, "alone", "good").passes)
    # It was started again after it died.
    (system,) = [system for system in results.systems if system.name == "alone"]
    assert len(system.startup_seconds) >= 2
    assert system.failure is None
    assert before == children()


@pytest.mark.usefixtures("constant_limit")
def test_what_cannot_be_started_becomes_a_row(measure):
    """A model that does not load, and a program that is not there."""
    missing = fake("missing")
    command = WorkerCommand("missing", ("/nowhere/python",))
    results, _ = measure(
        plan(
            fake("refusing", refuses=True),
            System(**{**vars(missing), "worker": command}),
            rounds=1,
        )
    )

    failures = {system.name: system.failure for system in results.systems}
    assert failures[REFERENCE] is None
    assert "RuntimeError: no such weights" == failures["refusing"].message
    assert "there is no program /nowhere/python" == failures["missing"].message
    assert () == cell(results, "missing", "good").passes
    assert 1 == len(cell(results, REFERENCE, "good").passes)


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_process(tmp_path):
    """The pass that hangs is given up, the one before it is in the results."""
    began = time.monotonic()
    results, left = call_in_new_process(interrupted_run, tmp_path)

    assert time.monotonic() - began < 40
    assert not results.run.complete
    assert (INTERRUPTED,) == results.run.notes
    assert 1 == len(cell(results, REFERENCE, "good").passes)
    assert () == cell(results, REFERENCE, "sleep").passes
    assert [] == left


def interrupted_run(folder):
    """Carry out a plan whose second cell hangs, and is interrupted."""
    sleeping = Mix("sleep", "", ("sleep",), (5,))

    def interrupt_soon(what):
        if "sleep" in what and REFERENCE in what:
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()

    description = plan(mixes=(GOOD, sleeping), cell_timeout_seconds=60)
    bench_run.running_limit_meter = lambda *_: nullcontext(ConstantLimit())
    results = Run(description, folder / "logs", Watcher(interrupt_soon)).measure()
    return results, children()


@pytest.mark.usefixtures("constant_limit")
def test_nothing_new_begins_after_the_time_limit(measure):
    """The report says that it is incomplete."""
    results, watcher = measure(plan(time_limit_seconds=2), lambda what: time.sleep(2.1))

    assert ("stopped at the time limit",) == results.run.notes
    assert not results.run.complete
    assert 1 == len(watcher.steps)


def test_groups_hold_what_memory_holds_and_workers_stay_together():
    """Four workers where three have room are two and two; all together where there is room."""
    systems = [fake(name, worker) for name, worker in ("aA", "bA", "cB", "dC", "eD")]

    groups = memory_groups(systems, worker_bytes=10, available_bytes=39)

    assert [["a", "b", "d"], ["c", "e"]] == [[system.name for system in group] for group in groups]
    assert 1 == len(memory_groups(systems, worker_bytes=10, available_bytes=40))
    assert 4 == len(memory_groups(systems, worker_bytes=10, available_bytes=1))
