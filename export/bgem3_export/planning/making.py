"""From a repository and a size of memory to a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bgem3_backend.contract import TRUNK
from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk.engine import FASTEST_MICROBATCH_TOKENS
from bgem3_export.errors import PlanError
from bgem3_export.manifest import Manifest
from bgem3_export.planning.cpu import CpuRequest, plan_cpu
from bgem3_export.planning.devices import gpu_memories
from bgem3_export.planning.gpu import CONTEXT_BYTES, GpuRequest, plan_gpu
from bgem3_export.planning.plan import Plan
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.planning.workspaces import Processor, Provider
from bgem3_export.trunk_config import TrunkConfig

# GatewaySettings.max_in_flight_tokens, of a package that this one does not know.
_IN_FLIGHT_TOKENS: Final = 16_384


def plan_for_gpus(
    repository: Path,
    memory_bytes: int | None,
    gpus: int | None,
    instances: int,
    context_bytes: int | None,
) -> Plan:
    """Work out the settings for GPUs.

    Args:
        repository: What ``bgem3 export`` has written.
        memory_bytes: Of each GPU; None asks those of this machine.
        gpus: How many; None is one, or those of this machine.
        instances: Of the trunk on each.
        context_bytes: What a process takes for itself; None is the usual.

    Raises:
        RepositoryError: It is no such repository.
        PlanError: The graph cannot be planned for, or there is no GPU to ask.
        NotEnoughMemoryError: The model does not fit.
    """
    if memory_bytes is None:
        memories = gpu_memories()
        memory_bytes = min(memories)
        gpus = gpus or len(memories)
    manifest, config = Manifest.read(repository), TrunkConfig.read(repository, "gpu")
    if not config.graph_file.endswith(".onnx"):
        raise PlanError(
            f"{config.path} serves {config.graph_file}, and only graphs (.onnx) can be planned "
            "for: a TensorRT plan has its memory laid down when it is built"
        )
    request = GpuRequest(
        memory_bytes=memory_bytes,
        gpus=gpus or 1,
        instances=instances,
        context_bytes=context_bytes or CONTEXT_BYTES,
        request_tokens=BackendSettings().max_request_tokens,
    )
    memory = _memory(repository, manifest, config.graph_file, "cuda")
    return plan_gpu(request, memory, config, manifest.model)


def plan_for_cpu(repository: Path, memory_bytes: int) -> Plan:
    """Work out the settings for a machine without a GPU.

    Args:
        repository: What ``bgem3 export`` has written.
        memory_bytes: For Triton, its models and the HTTP service.

    Raises:
        RepositoryError: It is no such repository.
        NotEnoughMemoryError: The model does not fit.
    """
    manifest, config = Manifest.read(repository), TrunkConfig.read(repository, "cpu")
    settings = BackendSettings()
    request = CpuRequest(
        memory_bytes=memory_bytes,
        # The planner knows ONNX Runtime's memory.
        microbatch_tokens=settings.microbatch_tokens
        or FASTEST_MICROBATCH_TOKENS["onnxruntime-fp32"],
        request_tokens=settings.max_request_tokens,
        in_flight_tokens=_IN_FLIGHT_TOKENS,
    )
    memory = _memory(repository, manifest, config.graph_file, "cpu")
    return plan_cpu(request, memory, config, manifest.model)


def _memory(
    repository: Path, manifest: Manifest, graph_file: str, provider: Provider
) -> TrunkMemory:
    graph = repository / TRUNK.name / manifest.newest / graph_file
    return TrunkMemory(graph, provider, Processor.here(), manifest.model.max_length_tokens)
