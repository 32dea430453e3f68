"""Running one check, or the whole command."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_manifest import demo_manifest

from bgem3_backend.contract import ENSEMBLE, TOKENIZER
from bgem3_server.doctor.check import run_checks
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.families import FAMILIES
from bgem3_server.doctor.finding import Finding, Outcome
from bgem3_server.doctor.subject import Subject

NOBODY = 65534
COMMAND = "from bgem3_server.doctor.command import doctor; doctor()"


def findings(check: str, subject: Subject | None = None) -> list[Finding]:
    """What one check finds, by its name."""
    found = [item for family in FAMILIES for item in family.checks if item.name == check]
    assert len(found) == 1, f"no check is called {check}"
    return list(found[0].run(subject or Subject()))


def finding(check: str, subject: Subject | None = None) -> Finding:
    """The only thing that one check finds."""
    (only,) = findings(check, subject)
    return only


def seen(check: str, subject: Subject | None = None) -> list[tuple[Outcome, Code | None]]:
    """How it stands, and what is wrong."""
    return [(item.outcome, item.code) for item in findings(check, subject)]


def broken_off(subject: Subject) -> list[Finding]:
    """The checks that fail themselves, of all."""
    return [
        result.finding
        for result in run_checks(FAMILIES, subject)
        if result.finding.outcome is Outcome.FAILED
    ]


@dataclass(frozen=True)
class Run:
    """What the command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its output, of --json."""
        content: dict[str, Any] = json.loads(self.out)
        return content


def run_doctor(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, before: str = ""
) -> Run:
    """Run the command in a process of its own.

    Args:
        arguments: Of the command.
        environment: Beside this process's own.
        before: Python to run first.
    """
    run = subprocess.run(
        [sys.executable, "-c", f"{before}\n{COMMAND}", *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return Run(run.returncode, run.stdout, run.stderr)


def write_repository(folder: Path) -> Path:
    """Write a small repository with a manifest that is true of its files."""
    files = {
        f"{TOKENIZER.name}/1/model.py": "print('a model')\n",
        f"{TOKENIZER.name}/1/tokenizer.json": "{}\n",
    }
    for name, content in {f"{ENSEMBLE.name}/config.pbtxt": 'name: "bge_m3"\n', **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    manifest = demo_manifest()
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    version = manifest.versions["1"].model_copy(update={"files": digests})
    manifest.model_copy(update={"versions": {"1": version}}).write(folder)
    return folder


@contextmanager
def without_privileges(*owned: Path) -> Iterator[None]:
    """Be a user whom permissions hold for, who owns some folders: root may do anything."""
    if os.geteuid() != 0:
        yield
        return
    for path in owned:
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
