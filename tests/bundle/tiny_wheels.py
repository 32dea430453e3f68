"""Wheels of a few bytes, under names that pip takes for the real ones."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata as installed
from pathlib import Path
from typing import Final

from bgem3_server.bundle.lock import lock_file

PACKAGE_VERSION: Final = installed.version("bgem3-triton")
LARGE_FILE_BYTES: Final = 8 * 2**20
COMMAND: Final = f"""
def main():
    print("bgem3, version {PACKAGE_VERSION}")
"""


def locked_version(name: str) -> str:
    """Return the version of a package in the lock."""
    lines = lock_file().read_text(encoding="utf-8").splitlines()
    (version,) = [
        line.partition(";")[0].split("==")[1].strip()
        for line in lines
        if line.startswith(f"{name}==")
    ]
    return version


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    tag: str = "py3-none-any",
    files: Mapping[str, bytes] | None = None,
    metadata: Sequence[str] = (),
    entry_points: str = "",
) -> Path:
    """Write a wheel, and return its file.

    Args:
        folder: Where to.
        name: Of the distribution, with underscores.
        version: As in ``1.0``.
        tag: Of the Python and the platform.
        files: What it installs; by default one module.
        metadata: More lines of METADATA, as in ``Requires-Dist: other``.
        entry_points: Of ``entry_points.txt``.
    """
    information = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
    content = {
        **(files or {f"{name}_module.py": b""}),
        f"{information}/METADATA": "\n".join([*lines, ""]).encode(),
        f"{information}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{information}/entry_points.txt": entry_points.encode(),
    }
    record = f"{information}/RECORD"
    rows = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in content.items()]
    content[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    file = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return file


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
