"""Environments of the peers: one command makes them, in the user's cache folder.

Each is a virtual environment of this interpreter's Python, filled by pip from the registry that
pip is set to. Its folder's name says what was asked for; a marker says that it is complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock

from bgem3_bench.peers.catalogue import PEERS, Requirements
from bgem3_bench.peers.steps import StepError, run_step
from bgem3_client.cache_folder import cache_folder

_MARKER: Final = "complete.txt"
_VENV_SECONDS: Final = 300
_PIP_SECONDS: Final = 3600


@dataclass(frozen=True)
class Environment:
    """An environment that is installed.

    Attributes:
        name: As in the catalogue.
        folder: Of the virtual environment.
    """

    name: str
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed in it, as pip lists it."""
        return tuple((self.folder / _MARKER).read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True)
class Unavailable:
    """Why a peer cannot be run; becomes a row of the report.

    Attributes:
        reason: In a sentence.
        log: What the installation printed, where that says more.
        is_installable: Whether installing it is all that is missing.
    """

    reason: str
    log: Path | None = None
    is_installable: bool = False

    def __str__(self) -> str:
        return self.reason if self.log is None else f"{self.reason} (log: {self.log})"


def peers_folder() -> Path:
    """Return the folder that environments and prepared files lie in."""
    return cache_folder() / "peers"


def environment(name: str) -> Environment | Unavailable:
    """Return a peer's environment, or why there is none; installs nothing.

    Args:
        name: A key of :data:`PEERS`.
    """
    peer = PEERS[name]
    if peer.requirements is None:
        return Unavailable(peer.unavailable or "it cannot be had")
    return installed(peer.requirements)


def install_peers(
    names: Iterable[str], on_progress: Callable[[str], None]
) -> dict[str, Environment | Unavailable]:
    """Install peers that are missing, one after the other; a failure is a value, not an error.

    Safe to call from several processes at once: one installs, the others wait for it.

    Args:
        names: Keys of :data:`PEERS`; peers may share an environment.
        on_progress: Called with a few words before each step.
    """
    tried: dict[str, Environment | Unavailable] = {}
    results = {}
    for name in names:
        requirements = PEERS[name].requirements
        if requirements is None:
            results[name] = environment(name)
            continue
        if requirements.name not in tried:
            tried[requirements.name] = install(requirements, on_progress)
        results[name] = tried[requirements.name]
    return results


def installed(requirements: Requirements) -> Environment | Unavailable:
    """Return the environment for ``requirements`` where it is complete."""
    folder = _folder(requirements)
    if (folder / _MARKER).is_file():
        return Environment(requirements.name, folder)
    return Unavailable("not installed; `bgem3 bench --install-peers` does it", is_installable=True)


def install(
    requirements: Requirements, on_progress: Callable[[str], None]
) -> Environment | Unavailable:
    """Make the environment for ``requirements``, or return it at once where it is complete."""
    found = installed(requirements)
    if isinstance(found, Environment):
        return found
    folder = _folder(requirements)
    if reason := _obstacle(requirements, folder):
        return Unavailable(reason)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        found = installed(requirements)
        if isinstance(found, Environment):
            return found
        # What was begun and not finished.
        shutil.rmtree(folder, ignore_errors=True)
        log = folder.with_name(f"{folder.name}.log")
        on_progress(f"{requirements.name}: installing {', '.join(requirements.packages)}")
        try:
            _build(requirements, folder, log)
        except StepError as error:
            shutil.rmtree(folder, ignore_errors=True)
            return Unavailable(str(error), log)
    return Environment(requirements.name, folder)


def _build(requirements: Requirements, folder: Path, log: Path) -> None:
    log.write_bytes(b"")
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    run_step([sys.executable, "-m", "venv", str(folder)], log, _VENV_SECONDS, "no environment")
    packages = list(requirements.packages)
    run_step(
        [*pip, "install", "--no-warn-script-location", *packages],
        log,
        _PIP_SECONDS,
        f"pip could not install {', '.join(packages)}",
    )
    if requirements.removed:
        removal = [*pip, "uninstall", "--yes", *requirements.removed]
        run_step(
            removal, log, _PIP_SECONDS, f"pip could not remove {', '.join(requirements.removed)}"
        )
    frozen = folder / f".{_MARKER}"
    with frozen.open("wb") as file:
        subprocess.run([*pip, "freeze"], stdout=file, check=True, timeout=_PIP_SECONDS)
    # The last step of all, and a single one.
    frozen.rename(folder / _MARKER)


def _obstacle(requirements: Requirements, folder: Path) -> str | None:
    """Return why an installation need not be tried."""
    python = sys.version_info[:2]
    if not requirements.oldest_python <= python < requirements.python_below:
        oldest, below = (
            ".".join(map(str, version))
            for version in (requirements.oldest_python, requirements.python_below)
        )
        return f"it needs Python {oldest} or later, below {below}; this is {python[0]}.{python[1]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < requirements.size_bytes:
        needed = requirements.size_bytes / 1e9
        return f"it takes about {needed:.1f} GB and {folder.parent} has {free / 1e9:.1f} GB free"
    return None


def _folder(requirements: Requirements) -> Path:
    python = list(sys.version_info[:2])
    content = [python, requirements.packages, requirements.removed]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return peers_folder() / f"{requirements.name}-{digest[:12]}"
