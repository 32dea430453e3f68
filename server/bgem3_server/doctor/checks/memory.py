"""Memory: what the plan for the repository takes, against what is there and what is free."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bgem3_export.errors import NotEnoughMemoryError, PlanError, RepositoryError
from bgem3_export.planning.sizes import format_size
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.checks.model_files import NO_REPOSITORY
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.control_group import ControlGroup
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Subject

if TYPE_CHECKING:
    from bgem3_export.planning.plan import Plan

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
# As docker/compose.yaml gives it; the Python models hand all their tensors over there.
_WANTED_SHARED_BYTES: Final = 2 * 2**30
# Docker's own default, 64 MiB, does not hold one long text with its ColBERT rows.
_LEAST_SHARED_BYTES: Final = 256 * 2**20
_CANNOT_PLAN: Final = "no plan can be made from the trunk's files: 'bgem3 plan DIR' says why"
_IN_FLIGHT: Final = "BGEM3_MAX_IN_FLIGHT_TOKENS"


def machine(subject: Subject) -> Iterator[Finding]:
    """Whether the model fits into the memory of this machine, or of the container's limit."""
    if (reason := _no_plan(subject)) is not None:
        yield not_applicable(reason)
        return
    total, where = _memory()
    try:
        plan = _cpu_plan(subject, total)
    except NotEnoughMemoryError as error:
        yield problem(
            Code.MEMORY_SHORT,
            f"the model does not fit into {where}: {error}",
            "give it more memory (the container's limit, if it has one), or take a larger machine",
            bytes=total,
        )
        return
    if plan is None:
        yield not_applicable(_CANNOT_PLAN)
        return
    values = {setting.name: setting.value for setting in plan.settings}
    planned, has = int(values[_IN_FLIGHT]), subject.service_settings.max_in_flight_tokens
    details = {"bytes": total, "planned_tokens": planned, "tokens": has}
    if planned < has:
        yield warning(
            Code.MEMORY_SETTINGS_LARGE,
            f"{where} hold {planned:,} tokens at once, and the settings allow {has:,}",
            f"set {' '.join(f'{name}={value}' for name, value in values.items())}; "
            "'bgem3 plan DIR --memory SIZE' says how that comes about",
            **details,
        )
        return
    yield ok(f"the plan takes {format_size(plan.used_bytes)} at most of {where}", **details)


def free(subject: Subject) -> Iterator[Finding]:
    """Whether it also fits into what is free now, where it does not run yet."""
    if (reason := _no_plan(subject)) is not None:
        yield not_applicable(reason)
        return
    available = _available_bytes()
    if _somebody_listens(subject.settings.grpc_port):
        yield not_applicable(f"{format_size(available)} are free, beside the Triton that runs")
        return
    try:
        plan = _cpu_plan(subject, available)
    except NotEnoughMemoryError as error:
        yield warning(
            Code.MEMORY_TAKEN,
            f"the model does not fit into the memory that is free now: {error}",
            "end other programs before the start: 'ps -eo rss,pid,comm --sort=-rss | head' shows "
            "the largest",
            bytes=available,
        )
        return
    if plan is None:
        yield not_applicable(_CANNOT_PLAN)
        return
    yield ok(f"{format_size(available)} are free", bytes=available)


def gpu(subject: Subject) -> Iterator[Finding]:
    """Whether the model fits into the memory of the GPUs, and into what is free of it."""
    if subject.profile is None or subject.profile.profile.startswith("cpu"):
        yield not_applicable("the profile uses no GPU")
        return
    if subject.repository is None or subject.manifest is None:
        yield not_applicable(NO_REPOSITORY)
        return
    if (reason := _no_planner(subject)) is not None:
        yield not_applicable(reason)
        return
    from bgem3_export.planning.making import plan_for_gpus

    try:
        plan = plan_for_gpus(subject.repository, None, None, 1, None)
    except NotEnoughMemoryError as error:
        yield problem(
            Code.MEMORY_SHORT,
            f"the model does not fit on the GPU: {error}",
            "take a larger GPU, or serve on the CPU: --profile cpu",
        )
        return
    except (PlanError, RepositoryError):
        yield not_applicable(_CANNOT_PLAN)
        return
    free_bytes = min(_free_gpu_bytes())
    needed = format_size(plan.used_bytes)
    if free_bytes < plan.used_bytes and not _somebody_listens(subject.settings.grpc_port):
        yield warning(
            Code.MEMORY_TAKEN,
            f"the plan takes {needed} of a GPU, and {format_size(free_bytes)} are free",
            "see which processes hold it (gpus.memory_kept), or plan with less: bgem3 plan DIR "
            "--gpu-memory SIZE --apply",
            bytes=free_bytes,
            planned_bytes=plan.used_bytes,
        )
        return
    yield ok(
        f"the plan takes {needed} of a GPU's {format_size(plan.memory_bytes)}",
        bytes=plan.memory_bytes,
        planned_bytes=plan.used_bytes,
    )


def shared(subject: Subject) -> Iterator[Finding]:
    """Whether there is room for the tensors that Triton and the Python models hand over."""
    del subject
    if not SHARED_MEMORY.is_dir():
        yield problem(
            Code.SHARED_MEMORY_SMALL,
            f"there is no {SHARED_MEMORY}, through which Triton hands tensors to the models",
            "mount a tmpfs there",
        )
        return
    usage = shutil.disk_usage(SHARED_MEMORY)
    details = {"free_bytes": usage.free, "bytes": usage.total}
    what = f"{SHARED_MEMORY} has {format_size(usage.free)} free of {format_size(usage.total)}"
    advice = (
        "docker run --shm-size 2g (shm_size in compose, an emptyDir with medium: Memory in "
        f"Kubernetes); if files of a crashed Triton fill it, see 'ls -l {SHARED_MEMORY}'"
    )
    if usage.free < _LEAST_SHARED_BYTES:
        yield problem(
            Code.SHARED_MEMORY_SMALL,
            f"{what}: long texts would fail",
            advice,
            **details,
        )
    elif usage.free < _WANTED_SHARED_BYTES:
        yield warning(
            Code.SHARED_MEMORY_SMALL,
            f"{what}: little for many long texts at once",
            advice,
            **details,
        )
    else:
        yield ok(what, **details)


def _no_plan(subject: Subject) -> str | None:
    """Return why no plan for the CPU can be made; None where it can."""
    if subject.repository is None:
        return NO_REPOSITORY
    if subject.manifest is None:
        return "a plan needs the repository's manifest"
    return _no_planner(subject)


def _no_planner(subject: Subject) -> str | None:
    if subject.setting_errors:
        return "a plan needs settings that can be used"
    if find_spec("onnx") is None:
        return "a plan is read from the graph, which needs onnx: pip install 'bgem3-triton[export]'"
    return None


def _cpu_plan(subject: Subject, memory_bytes: int) -> Plan | None:
    """Return the plan; None where the trunk's files cannot be planned from.

    Raises:
        NotEnoughMemoryError: The model does not fit.
    """
    from bgem3_export.planning.making import plan_for_cpu

    assert subject.repository is not None
    try:
        return plan_for_cpu(subject.repository, memory_bytes)
    except NotEnoughMemoryError:
        raise
    except (PlanError, RepositoryError):
        return None


def _memory() -> tuple[int, str]:
    """Return the bytes that may be used, and whose they are, in words."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = ControlGroup.here().memory_bytes
    if limit is not None and limit < total:
        return limit, f"{format_size(limit)} (the limit of the container or service)"
    return total, f"{format_size(total)} (the machine's)"


def _available_bytes() -> int:
    """Return what can be had without swapping: of the machine, and of what is allowed."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return min(int(value.split()[0]) * 1024, _memory()[0])
    raise OSError("/proc/meminfo does not say what is available")


def _somebody_listens(port: int) -> bool:
    from bgem3_server.doctor.checks.ports import is_free

    return port != 0 and not is_free("127.0.0.1", port)


def _free_gpu_bytes() -> list[int]:
    import pynvml

    pynvml.nvmlInit()
    try:
        return [
            int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(number)).free)
            for number in range(pynvml.nvmlDeviceGetCount())
        ]
    finally:
        pynvml.nvmlShutdown()


CHECKS: Final = (
    Check("memory.machine", machine),
    Check("memory.free", free),
    Check("memory.gpu", gpu),
    Check("memory.shared", shared),
)
