"""The wheels of a bundle: our own, and all that it needs, at the versions of the lock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from bgem3_server.bundle.errors import BundleError, PackagesError
from bgem3_server.bundle.target import Target

DISTRIBUTION: Final = "bgem3-triton"

_ADVICE: Final = (
    "Bundling needs the network, or a package index or folder that has them (PIP_INDEX_URL, "
    "PIP_FIND_LINKS). Nothing was left behind"
)
# pip's own reasons; what stands before them are its attempts.
_REASON_LINES: Final = 4


def collect_wheels(
    wheels: Path, package: str | None, extras: Iterable[str], lock: Path, target: Target
) -> None:
    """Fill a folder with the project's wheel and those that it needs.

    Args:
        wheels: An existing empty folder.
        package: Where the project's own wheel comes from, as pip takes it; None for where this
            installation came from.
        extras: What of the project is to be installed.
        lock: The versions to choose.
        target: What the wheels have to run on.

    Raises:
        BundleError: There is no pip, or it is not known where this installation came from.
        PackagesError: A package could not be had.
    """
    if find_spec("pip") is None:
        raise BundleError(f"there is no pip in {sys.prefix}: {sys.executable} -m ensurepip")
    # Ours does not depend on the version of Python: what builds it need not be the target's.
    _run_pip(
        ["wheel", "--no-deps", "--wheel-dir", str(wheels), package or _installed_from()],
        f"there is no wheel of {DISTRIBUTION}",
    )
    (own,) = wheels.glob("*.whl")
    _run_pip(
        [
            *("--python", target.program, "download", "--only-binary", ":all:"),
            *("--dest", str(wheels), "--constraint", str(lock)),
            f"{own}[{','.join(extras)}]",
        ],
        f"the packages for Python {target.python} are not complete",
    )


def known_extras() -> frozenset[str]:
    """Return the names of the project's extras."""
    return frozenset(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())


def _installed_from() -> str:
    """Return what pip gets this very project from.

    Raises:
        BundleError: It was a file or folder that is no longer there.
    """
    distribution = metadata.distribution(DISTRIBUTION)
    # PEP 610: there is none for what came from an index.
    recorded = distribution.read_text("direct_url.json")
    if recorded is None:
        return f"{DISTRIBUTION}=={distribution.version}"
    origin: dict[str, Any] = json.loads(recorded)
    url = str(origin["url"])
    if "vcs_info" in origin:
        return f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    parts = urlsplit(url)
    if parts.scheme == "file" and not Path(unquote(parts.path)).exists():
        raise BundleError(
            f"{DISTRIBUTION} was installed from {unquote(parts.path)}, which is no longer there: "
            "name its wheel, or its source, with --package"
        )
    return url


def _run_pip(arguments: list[str], failure: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        reasons = [line for line in lines if line.startswith("ERROR:")] or lines
        raise PackagesError("\n  ".join([f"{failure}:", *reasons[-_REASON_LINES:], _ADVICE]))
