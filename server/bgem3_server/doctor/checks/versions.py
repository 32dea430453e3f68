"""Versions: of Python, of the packages, and of Triton."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Subject
from bgem3_server.errors import InstallationError
from bgem3_server.triton.installation import Installation
from bgem3_server.triton.wheel import DISTRIBUTION as TRITON_WHEEL

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_PACKAGE: Final = "bgem3-triton"
_NO_PACKAGING: Final = (
    "versions cannot be compared without packaging: pip install 'bgem3-triton[server]'"
)
# What a bug report should say in any case.
_SHOWN: Final = ("tritonclient", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino")
# Set in NVIDIA's containers, as 26.04.
_CONTAINER_RELEASE: Final = "NVIDIA_TRITON_SERVER_VERSION"
# Release and version of the Triton in each version of the wheel.
_IN_WHEEL: Final = {"0.7.0": ("24.10", "2.51.0")}
# https://github.com/triton-inference-server/server/releases: 2.67.0 is 26.03. Before it an
# ensemble hangs when the queue of a later step is full.
_FIRST_SOUND_RELEASE: Final = "26.03"
FIRST_SOUND_VERSION: Final = "2.67.0"
"""The first version of Triton that does not hang when the queue of a step is full."""
OLD_TRITON_ADVICE: Final = (
    "keep the HTTP service in front of it, which lets no queue fill, and set no max_queue_size in "
    "config.pbtxt; in containers take release 26.04 or later"
)
"""What to do about an older one."""


def settings(subject: Subject) -> Iterator[Finding]:
    """Whether the settings of the environment and the options can be used."""
    for error in subject.setting_errors:
        yield problem(
            Code.SETTING_INVALID,
            error,
            "correct the option or the environment variable; the defaults were taken for the "
            "other checks",
        )
    if not subject.setting_errors:
        yield ok("the settings of the options and the environment can be used")


def python(subject: Subject) -> Iterator[Finding]:
    """Whether this Python is one that the package is made for."""
    del subject
    if find_spec("packaging") is None:
        yield not_applicable(_NO_PACKAGING)
        return
    from packaging.specifiers import SpecifierSet

    here = platform.python_version()
    wanted = metadata.metadata(_PACKAGE)["Requires-Python"]
    if here not in SpecifierSet(wanted):
        yield problem(
            Code.PYTHON_UNSUPPORTED,
            f"Python {here} runs bgem3, which is made for {wanted}",
            "install bgem3-triton into an environment of a Python that fits, such as 3.11",
            python=here,
        )
        return
    yield ok(
        f"Python {here}, bgem3-triton {metadata.version(_PACKAGE)}, {platform.system()} "
        f"{platform.machine()}",
        python=here,
        package=metadata.version(_PACKAGE),
        system=platform.system(),
        machine=platform.machine(),
    )


def packages(subject: Subject) -> Iterator[Finding]:
    """Whether the installed packages are of versions that this release asks for."""
    del subject
    if find_spec("packaging") is None:
        yield not_applicable(_NO_PACKAGING)
        return
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in metadata.requires(_PACKAGE) or ()]
    by_extra: dict[str, list[Requirement]] = defaultdict(list)
    extras = metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []
    for requirement in wanted:
        for extra in ("", *extras):
            if requirement.name != _PACKAGE and _is_asked_for(requirement, extra, extras):
                by_extra[extra].append(requirement)
    missing = [item.name for item in by_extra[""] if _version(item.name) is None]
    for name in missing:
        yield problem(
            Code.PACKAGE_MISSING,
            f"{name} is not installed, and bgem3 needs it",
            f"pip install {_PACKAGE}",
            package=name,
        )
    # An extra counts as installed where nothing of it is missing.
    there = {
        extra: items
        for extra, items in by_extra.items()
        if all(_version(item.name) is not None for item in items)
    }
    unfit = {
        (item.name, str(item.specifier)): extra
        for extra, items in there.items()
        for item in items
        if not item.specifier.contains(_version(item.name) or "", prereleases=True)
    }
    for (name, specifier), extra in unfit.items():
        needed_by = f"{_PACKAGE}[{extra}]" if extra else _PACKAGE
        yield problem(
            Code.PACKAGE_UNFIT,
            f"{name} {_version(name)} is installed, and {needed_by} needs {name}{specifier}",
            f"pip install '{name}{specifier}'",
            package=name,
            version=_version(name),
            wanted=specifier,
        )
    if not missing and not unfit:
        shown = {name: found for name in _SHOWN if (found := _version(name)) is not None}
        yield ok(
            f"the packages fit: {', '.join(f'{name} {found}' for name, found in shown.items())}",
            **shown,
            extras=sorted(filter(None, there)),
        )


def _is_asked_for(requirement: Requirement, extra: str, extras: Iterable[str]) -> bool:
    """Whether a requirement belongs to an extra, or, for "", to the package without any."""
    if requirement.marker is None:
        return not extra
    if not requirement.marker.evaluate({"extra": extra}):
        return False
    # Markers about the machine alone are of the package itself.
    return not extra or not requirement.marker.evaluate({"extra": ""})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def triton(subject: Subject) -> Iterator[Finding]:
    """Whether there is a Triton that can run here, and of which release."""
    installation = subject.installation
    if isinstance(installation, InstallationError):
        if not subject.settings.tritonserver and _serves_elsewhere(subject):
            yield not_applicable(
                f"no Triton is installed here, one elsewhere is asked: {subject.url}"
            )
            return
        yield problem(
            Code.TRITON_NOT_FOUND,
            f"no Triton can be started here: {installation}",
            "see the reason; a Triton elsewhere is examined with --url",
        )
        return
    release = _release(installation)
    profile = subject.profile
    assert profile is not None
    what = f"Triton {release or 'of an unknown release'} ({installation.origin})"
    details = {"release": release, "origin": installation.origin, "profile": profile.profile}
    # That of the wheel is what this release was tested with.
    in_wheel = installation.origin.startswith(TRITON_WHEEL)
    if release is not None and _is_before(release, _FIRST_SOUND_RELEASE) and not in_wheel:
        yield warning(
            Code.TRITON_OLD,
            f"{what}: releases before {_FIRST_SOUND_RELEASE} hang when the queue of a step is "
            "full, and may die of cancelled requests",
            OLD_TRITON_ADVICE,
            **details,
        )
        return
    yield ok(f"{what}, profile {profile.profile}: {profile.reason}", **details)


def is_old_version(version: str) -> bool:
    """Whether a running Triton hangs when the queue of a step is full."""
    return _is_before(version, FIRST_SOUND_VERSION)


def is_of_wheel(subject: Subject, version: str) -> bool:
    """Whether a running Triton is that of the wheel here, which this release was tested with."""
    installation = subject.installation
    if isinstance(installation, InstallationError):
        return False
    name, _, wheel = installation.origin.partition(" ")
    return name == TRITON_WHEEL and _IN_WHEEL.get(wheel, ("", ""))[1] == version


def _serves_elsewhere(subject: Subject) -> bool:
    return subject.url is not None or subject.service is not None


def _release(installation: Installation) -> str | None:
    """Return NVIDIA's number of the release; None where nothing says it."""
    name, _, version = installation.origin.partition(" ")
    if name == TRITON_WHEEL:
        return _IN_WHEEL[version][0] if version in _IN_WHEEL else None
    return os.environ.get(_CONTAINER_RELEASE)


def _is_before(version: str, other: str) -> bool:
    numbers = [
        tuple(int(part) for part in text.split(".") if part.isdecimal())
        for text in (version, other)
    ]
    return numbers[0] < numbers[1]


CHECKS: Final = (
    Check("versions.settings", settings),
    Check("versions.python", python),
    Check("versions.packages", packages),
    Check("versions.triton", triton),
)
