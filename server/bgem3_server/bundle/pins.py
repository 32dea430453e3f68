"""What the wheels in a folder are: pins with hashes, and the C library that they need."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name, parse_wheel_filename

from bgem3_server.bundle.errors import BundleError
from bgem3_server.bundle.wheels import DISTRIBUTION

# The names from before PEP 600.
_OLD_PLATFORMS: Final = {
    "manylinux1": (2, 5),
    "manylinux2010": (2, 12),
    "manylinux2014": (2, 17),
}


@dataclass(frozen=True)
class Wheel:
    """One file.

    Attributes:
        name: Of the distribution, in its canonical form.
        glibc: The oldest GNU C library that it runs on; None when it needs none.
    """

    file: Path
    name: str
    version: str
    glibc: tuple[int, int] | None


def read_wheels(folder: Path) -> list[Wheel]:
    """Return the wheels of a folder by name.

    Raises:
        BundleError: Something else lies there.
    """
    return sorted(map(_read_wheel, folder.iterdir()), key=lambda wheel: wheel.name)


def newest_glibc(wheels: Iterable[Wheel]) -> tuple[int, int] | None:
    """Return the GNU C library that all wheels run on."""
    return max((wheel.glibc for wheel in wheels if wheel.glibc), default=None)


def pinned_requirements(wheels: Iterable[Wheel], extras: Iterable[str]) -> str:
    """Return what ``pip install --require-hashes`` takes: these wheels and no others."""
    return "".join(
        f"{_with_extras(wheel.name, extras)}=={wheel.version} --hash=sha256:{sha256(wheel.file)}\n"
        for wheel in wheels
    )


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _with_extras(name: str, extras: Iterable[str]) -> str:
    return f"{name}[{','.join(extras)}]" if name == canonicalize_name(DISTRIBUTION) else name


def _read_wheel(file: Path) -> Wheel:
    try:
        name, version, _, tags = parse_wheel_filename(file.name)
    except ValueError as error:
        raise BundleError(f"pip has given {file.name}, which is no wheel") from error
    # A wheel for several platforms runs where the oldest of them does.
    glibc = min((_glibc(tag.platform) or (0, 0) for tag in tags), default=(0, 0))
    return Wheel(file, name, str(version), glibc if glibc > (0, 0) else None)


def _glibc(platform: str) -> tuple[int, int] | None:
    if match := re.match(r"manylinux_(\d+)_(\d+)_", platform):
        return int(match[1]), int(match[2])
    return _OLD_PLATFORMS.get(platform.partition("_")[0])
