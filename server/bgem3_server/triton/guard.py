"""Ends a program whose watcher was killed and cannot: ``guard.py WATCHER PROGRAM LIMIT PREFIX``.

A Triton whose supervisor was killed gets a SIGTERM (``leash.py``) and should end within its exit
timeout. Triton 24.10 does not always where requests keep coming, a hung one never does, and its
ports are taken as long as it is there. So what still runs ``LIMIT`` seconds after the process
``WATCHER`` has gone is killed: the process ``PROGRAM`` and the group that it leads. Its shared
memory, whose names begin with ``PREFIX``, is removed.

A watcher that ends the program itself ends this process too. Run by the watcher as a script, with
no package but the standard library.
"""

import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

_REGIONS = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux


def main() -> None:
    """Wait until the watcher is gone, and let nothing of the program outlive it for long."""
    watcher, program = map(int, sys.argv[1:3])
    limit_seconds, prefix = float(sys.argv[3]), sys.argv[4]
    with suppress(ProcessLookupError):  # gone already
        group = os.pidfd_open(program)
        with suppress(ProcessLookupError):
            _wait_ended(os.pidfd_open(watcher))
        _wait_ended(group, limit_seconds)
        # The processes of its models too: a Triton that reached its exit timeout leaves them.
        with suppress(ProcessLookupError):
            os.killpg(program, signal.SIGKILL)
        _wait_ended(group)
    for region in _REGIONS.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _wait_ended(process: int, timeout_seconds: float | None = None) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(None if timeout_seconds is None else timeout_seconds * 1000)


if __name__ == "__main__":
    main()
