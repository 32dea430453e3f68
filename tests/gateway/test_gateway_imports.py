"""What the HTTP service imports is what its extra installs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Imports a module with other distributions' modules out of reach.
_PROGRAM = """
import importlib, json, sys

absent = set(json.loads(sys.argv[2]))

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


def installed_by(name: str, extras: frozenset[str]) -> set[str]:
    """The distributions that one of them needs, with some of its extras, itself among them."""
    found: set[str] = set()
    waiting = [(canonicalize_name(name), extras)]
    seen = set(waiting)
    while waiting:
        current, wanted = waiting.pop()
        found.add(current)
        for line in distribution(current).requires or ():
            needed = Requirement(line)
            marker = needed.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                continue
            item = (canonicalize_name(needed.name), frozenset(needed.extras))
            if item not in seen:
                seen.add(item)
                waiting.append(item)
    return found


def test_the_service_needs_no_more_than_its_extra() -> None:
    """Neither torch nor what reads documents: `pip install 'bgem3-triton[gateway]'` is enough."""
    installed = installed_by("bgem3-triton", frozenset({"gateway"}))
    absent = [
        module
        for module, owners in packages_distributions().items()
        if not installed.intersection(map(canonicalize_name, owners))
    ]
    assert {"torch", "pyarrow", "qdrant_client"} <= set(absent)

    outcome = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "bgem3_server.gateway.app", json.dumps(absent)],
        capture_output=True,
        text=True,
    )

    assert outcome.returncode == 0, outcome.stderr
