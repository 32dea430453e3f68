"""Everything that the package needs to run may be used and passed on as the package is."""

from __future__ import annotations

from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest
from audit.licences import BASE, Licensed, licence, run_time_licences

# They ask for their notice, and for changes of their own files to stay open (MPL), and nothing of
# what is built on them.
ALLOWED = {
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CNRI-Python",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "ZPL-2.1",
}
# By name, what it says and why it may stay. NVIDIA's libraries come with PyTorch for CUDA: they may
# be used and shipped with an application under NVIDIA's terms, and are not open source.
EXCEPTIONS = {
    "pypdfium2": "its own are on the list; those of the libraries in PDFium come with the wheel",
}
NVIDIA_LIBRARIES = ("nvidia-cu", "nvidia-nccl", "nvidia-nv", "cuda-")


@pytest.fixture(scope="module")
def rows() -> list[Licensed]:
    """What is installed, read once."""
    return run_time_licences()


def test_every_licence_is_on_the_list(rows: list[Licensed]) -> None:
    """A new dependency with another licence is looked at by a person."""
    others = {
        f"{row.name} {row.version}: {row.licence}"
        for row in rows
        if not row.parts <= ALLOWED
        and row.name not in EXCEPTIONS
        and not row.name.startswith(NVIDIA_LIBRARIES)
    }

    assert set() == others


def test_no_exception_is_left_over(rows: list[Licensed]) -> None:
    """An exception that nothing needs any more would hide the next licence."""
    needed = {row.name for row in rows if not row.parts <= ALLOWED}

    assert set() == EXCEPTIONS.keys() - needed


def test_what_is_needed_indirectly_is_found(rows: list[Licensed]) -> None:
    """The base brings what its own dependencies need, and no extra's."""
    base = {row.name for row in rows if BASE in row.extras}

    assert {"numpy", "yarl", "pydantic-core"} <= base
    assert not {"torch", "fastapi"} & base
    assert {"torch", "starlette", "portalocker"} <= {row.name for row in rows}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["License-Expression: MIT OR GPL-3.0", "License: BSD"], "MIT OR GPL-3.0"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: MPL-2.0 AND MIT"], "MPL-2.0 AND MIT"),
        (
            [
                "License: Copyright (c) 2015",
                "Classifier: License :: OSI Approved :: BSD License",
                "Classifier: License :: OSI Approved :: GNU Affero General Public License v3",
            ],
            "BSD AND gnu affero general public license v3",
        ),
        (["License: see the file"], "see the file"),
        ([], "unknown"),
    ],
)
def test_the_newest_field_counts(tmp_path: Path, lines: list[str], expected: str) -> None:
    """The expression goes before the free text, and that before the classifiers."""
    (tmp_path / "METADATA").write_text("\n".join(["Name: some", "Version: 1", *lines]))
    found: Distribution = PathDistribution(tmp_path)

    assert expected == licence(found)
