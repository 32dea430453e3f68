"""The processor: how many of its cores may be used, and what it can do for the CPU trunk."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from bgem3_backend.contract import TRUNK
from bgem3_backend.errors import TrunkEngineError
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.control_group import ControlGroup
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Subject

_SHOWN_FEATURES: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def cores(subject: Subject) -> Iterator[Finding]:
    """Whether the trunk would run more threads than it has cores."""
    usable = len(os.sched_getaffinity(0))
    quota = ControlGroup.here().cores
    threads = subject.backend_settings.trunk_threads
    details = {"usable": usable, "quota": quota, "threads": threads, "all": os.cpu_count()}
    if quota is not None and threads > math.ceil(quota):
        fitting = max(1, math.floor(quota))
        yield warning(
            Code.CORES_LIMITED,
            f"{usable} cores are visible, but the container or service may use {quota:g} of them, "
            f"and the CPU trunk would run {threads} threads",
            f"set BGEM3_TRUNK_THREADS={fitting}, or raise the limit: threads that wait for their "
            "turn slow each other down",
            **details,
        )
        return
    limit = f", {quota:g} of them by the control group's limit" if quota is not None else ""
    yield ok(f"{usable} usable cores{limit}; {threads} threads for the CPU trunk", **details)


def engine(subject: Subject) -> Iterator[Finding]:
    """Which engine the CPU trunk would run in here, and whether a faster one is missing."""
    if subject.profile is not None and not subject.profile.profile.startswith("cpu"):
        yield not_applicable(f"the trunk runs on a GPU (profile {subject.profile.profile})")
        return
    from bgem3_backend.trunk.choice import choose_engine
    from bgem3_backend.trunk.processor import processor_features

    features = processor_features()
    asked = subject.backend_settings.trunk_engine
    try:
        choice = choose_engine(
            asked,
            features,
            openvino_installed=find_spec("openvino") is not None,
            int8_exported=_has_int8(subject),
        )
    except TrunkEngineError as error:
        yield problem(Code.TRUNK_ENGINE_UNAVAILABLE, str(error), "unset BGEM3_TRUNK_ENGINE")
        return
    shown = [name for name in _SHOWN_FEATURES if name in features]
    message = f"the CPU trunk runs in {choice.name}: {choice.reason}"
    if find_spec("openvino") is None and find_spec("onnxruntime") is None:
        yield problem(
            Code.TRUNK_ENGINE_UNAVAILABLE,
            "neither OpenVINO nor ONNX Runtime is installed, and the CPU trunk needs one of them",
            "pip install 'bgem3-triton[cpu]'",
        )
    elif asked == "auto" and choice.name == "onnxruntime-fp32":
        yield warning(
            Code.PROCESSOR_SLOW,
            message,
            "pip install openvino: on processors with AVX-512 or AMX it is 1.2 to 2 times as fast",
            features=shown,
        )
    else:
        yield ok(
            f"{message} ({', '.join(shown) or 'no vector instructions known'})", features=shown
        )


def _has_int8(subject: Subject) -> bool:
    if subject.repository is None or subject.manifest is None:
        return False
    folder = subject.repository / TRUNK.name / subject.manifest.newest
    return (folder / "model.int8.onnx").is_file()


CHECKS: Final = (
    Check("processor.cores", cores),
    Check("processor.engine", engine),
)
