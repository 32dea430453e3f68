"""The machine that a bundle is made for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from bgem3_server.bundle.errors import BundleError

_QUESTION = """
import json, platform, sys
print(json.dumps([sys.implementation.name, list(sys.version_info[:2]), platform.machine()]))
"""


@dataclass(frozen=True)
class Target:
    """What the packages are chosen for.

    Attributes:
        program: A Python of the same version and platform, on this machine.
        python: Its version, as in ``3.11``.
        machine: The processor's architecture, as in ``x86_64``.
    """

    program: str
    python: str
    machine: str


def find_target(program: str | None) -> Target:
    """Ask a Python what it is.

    Args:
        program: Its path or its name on PATH; None for the one that runs this.

    Raises:
        BundleError: It cannot be run, or is no CPython.
    """
    program = program or sys.executable
    try:
        run = subprocess.run(
            [program, "-c", _QUESTION], capture_output=True, text=True, timeout=60, check=True
        )
        implementation, version, machine = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BundleError(f"{program} is not a Python that can be run (--python)") from error
    if implementation != "cpython":
        raise BundleError(f"{program} is {implementation}; Triton's models run in CPython alone")
    return Target(program, ".".join(map(str, version)), machine)
