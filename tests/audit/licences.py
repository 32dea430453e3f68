"""The licences of what is installed with the package: `make licences` prints them as a table.

They are what each distribution says of itself. A wheel can hold libraries of other people beside
its own code; their licences lie in its folder `*.dist-info`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, metadata
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT: Final = "bgem3-triton"
BASE: Final = "base"
# `all` is made of others; `clients` and `dev` are what the tests need.
_NOT_RUN_TIME: Final = {"all", "clients", "dev"}

# Licences as they were written before metadata had a field for SPDX expressions.
_SPDX: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
_OPERATORS: Final = {"AND", "OR", "WITH"}


@dataclass(frozen=True, slots=True)
class Licensed:
    """A distribution, what it says of its licence, and the extras that bring it.

    What the base brings, every extra has: `extras` then says `base` alone.
    """

    name: str
    version: str
    licence: str
    extras: tuple[str, ...]

    @property
    def parts(self) -> frozenset[str]:
        """The licences named. Of a choice (`OR`) both count, which is the stricter reading."""
        return frozenset(re.findall(r"[^\s()]+", self.licence)) - _OPERATORS


def run_time_licences() -> list[Licensed]:
    """Return every installed distribution that the package needs to run, sorted by name.

    What an extra asks for and is not installed is left out: `gpu` beside `cpu`, for example.
    """
    provided = metadata(PROJECT).get_all("Provides-Extra") or []
    brought_by: dict[str, list[str]] = defaultdict(list)
    for extra in [BASE, *sorted(set(provided) - _NOT_RUN_TIME)]:
        for name in _installed_names(extra):
            if BASE not in brought_by[name]:
                brought_by[name].append(extra)
    return [
        Licensed(name, found.version, licence(found), tuple(brought_by[name]))
        for name in sorted(brought_by)
        for found in [distribution(name)]
    ]


def licence(found: Distribution) -> str:
    """Return what a distribution says of its licence, as SPDX where it can be told.

    The newest field first: the expression, the first line of the free text, the classifiers.
    """
    said = found.metadata
    for expression in said.get_all("License-Expression") or []:
        return str(expression)
    text = str((said.get_all("License") or [""])[0]).strip().split("\n")[0].strip()
    if text.lower() in _SPDX:
        return _SPDX[text.lower()]
    if text and len(text) <= 40 and re.search(r"[A-Za-z]-\d|MIT$", text):
        return text
    classifiers = [
        line.split(" :: ")[-1].lower()
        for line in said.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    return " AND ".join(_SPDX.get(name, name) for name in classifiers) or text or "unknown"


def table(rows: list[Licensed]) -> str:
    """Return the licences as a table in Markdown."""
    lines = ["| distribution | version | licence | extras |", "|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.version} | {row.licence} | {', '.join(row.extras)} |" for row in rows
    ]
    return "\n".join(lines)


def _installed_names(extra: str) -> set[str]:
    """Return the installed distributions, direct and indirect, that one extra asks for."""
    pending = [(PROJECT, frozenset({extra} - {BASE}))]
    seen = set(pending)
    while pending:
        for found in _requirements(*pending.pop()):
            if found not in seen:
                seen.add(found)
                pending.append(found)
    return {name for name, _ in seen} - {PROJECT}


def _requirements(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for line in distribution(name).requires or []:
        required = Requirement(line)
        marker = required.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        required_name = canonicalize_name(required.name)
        try:
            distribution(required_name)
        except PackageNotFoundError:
            continue
        yield required_name, frozenset(required.extras)


if __name__ == "__main__":
    print(table(run_time_licences()))
