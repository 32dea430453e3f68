"""Processes that are killed or hang under load: no wrong answer, nobody forgotten, all mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from faults.conftest import Inject, done_once, load_of, running
from faults.load import Load, Outcome
from faults.questions import RightAnswers
from faults.stack import Stack
from waiting import wait_until

pytestmark = pytest.mark.live

Victim = Callable[[Stack], psutil.Process]

KILLED: dict[str, Victim] = {
    "SIGKILL of Triton": lambda stack: stack.serve.triton(),
    "SIGKILL of a model's process": lambda stack: stack.any_model(),
    "SIGKILL of the service": lambda stack: stack.worker(),
}
HUNG: dict[str, Victim] = {
    "SIGSTOP of Triton": lambda stack: stack.serve.triton(),
    "SIGSTOP of a model's process": lambda stack: stack.any_model(),
    "SIGSTOP of the service": lambda stack: stack.worker(),
}


@pytest.mark.parametrize("fault", KILLED)
def test_what_is_killed_is_replaced(stack: Stack, load: Load, inject: Inject, fault: str) -> None:
    """Requests on their way fail, and the next ones are answered as before.

    What watches keeps nothing open of what has ended.
    """
    watcher = psutil.Process(stack.serve.process.pid)
    descriptors = watcher.num_fds()
    toll = inject(fault, load, lambda: done_once(KILLED[fault](stack).kill))

    wait_until(lambda: watcher.num_fds() <= descriptors)
    assert toll.outcomes[Outcome.FAILED] > 0


# The tests of `bgem3 serve` have one of each, without load.
@pytest.mark.long_form
@pytest.mark.parametrize("fault", HUNG)
def test_what_hangs_is_replaced(stack: Stack, load: Load, inject: Inject, fault: str) -> None:
    """Requests that it had end by their deadline."""
    toll = inject(fault, load, lambda: done_once(HUNG[fault](stack).suspend))

    assert toll.outcomes[Outcome.FAILED] > 0


@pytest.mark.long_form
def test_the_only_worker_is_killed_or_hangs(
    fault_repository: Path, right: RightAnswers, inject: Inject, tmp_path: Path
) -> None:
    """Who comes while there is none is told so, and not left to wait in the kernel's queue."""
    stack = Stack(fault_repository, tmp_path, {}, "--workers", "1")
    with running(stack), load_of(stack.serve.wait_ready(), right) as load:
        inject("SIGKILL of the only worker", load, lambda: done_once(stack.worker().kill))
        inject("SIGSTOP of the only worker", load, lambda: done_once(stack.worker().suspend))


@pytest.mark.long_form
def test_bgem3_serve_is_killed_and_started_again(stack: Stack, load: Load, inject: Inject) -> None:
    """As a service manager does; nothing of the first one is in the way of the second."""

    def kill_and_start() -> None:
        stack.kill()
        stack.start().wait_ready()

    fault = "SIGKILL of `bgem3 serve`, and a new start"
    inject(fault, load, lambda: done_once(kill_and_start))
