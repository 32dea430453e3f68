"""Becomes another program, and leaves a guard beside it that ends it when its watcher cannot.

``guard.py WATCHER_PID LIMIT_SECONDS SHARED_MEMORY PROGRAM ARGS…``, as the leader of a session.

A Triton whose supervisor was killed gets a SIGTERM (``leash.py``) and should end within its exit
timeout. Triton 24.10 does not always where requests keep coming, a hung one never does, and its
ports are taken as long as it is there. So what still runs ``LIMIT_SECONDS`` after the watcher has
gone is killed, and its shared memory, whose names begin with ``SHARED_MEMORY``, is removed.

Run as a script, with no package but the standard library.
"""

import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

_REGIONS = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
_DESCRIPTORS = 4096


def main() -> None:
    """Start the guard and run the program in this process."""
    watcher, limit_seconds, shared_memory, program, *arguments = sys.argv[1:]
    own_id = os.getpid()
    watcher_gone = os.pidfd_open(int(watcher))
    if os.fork() == 0:
        _guard(watcher_gone, own_id, float(limit_seconds), shared_memory)
        os._exit(0)
    os.close(watcher_gone)
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted


def _guard(watcher: int, program_id: int, limit_seconds: float, shared_memory: str) -> None:
    """Wait until the watcher is gone, and let nothing of the program outlive it for long.

    A watcher that ends the program itself ends this process with it: it is of the same session.

    Args:
        watcher: A descriptor of the process that is to end the program.
        program_id: The program, which leads the group of all that it starts.
        limit_seconds: How long it may take to end without its watcher.
        shared_memory: The beginning of the names of its regions.
    """
    os.setpgid(0, 0)  # out of the group that it may have to kill
    program = os.pidfd_open(program_id)
    low, high = sorted((watcher, program))
    os.closerange(0, low)  # nobody waits for the end of a pipe that only this process has
    os.closerange(low + 1, high)
    os.closerange(high + 1, _DESCRIPTORS)
    _wait_ended(watcher)
    _wait_ended(program, limit_seconds)
    # The processes of its models too: a Triton that reached its exit timeout leaves them behind.
    with suppress(ProcessLookupError):
        os.killpg(program_id, signal.SIGKILL)
    _wait_ended(program)
    for region in _REGIONS.glob(f"{shared_memory}*"):
        region.unlink(missing_ok=True)


def _wait_ended(process: int, timeout_seconds: float | None = None) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(None if timeout_seconds is None else timeout_seconds * 1000)


if __name__ == "__main__":
    main()
