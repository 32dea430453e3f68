"""The trunk's ``config.pbtxt``: what of it decides on memory and batches."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from bgem3_backend.contract import TRUNK
from bgem3_export.errors import PlanError, RepositoryError

Profile = Literal["cpu", "gpu", "cpu_heads", "gpu_heads", "tensorrt", "tensorrt_plan"]
BatchCost = Literal["tokens", "padded"]

# Where the configuration names no file; Triton's name for ONNX graphs.
_GRAPH_FILE: Final = "model.onnx"
_BUDGET: Final = "max_batch_tokens"
_COST: Final = "batch_cost"
_SHRINKAGE: Final = "memory.enable_memory_arena_shrinkage"
_EXTENSION: Final = "arena_extend_strategy"
_CUDA: Final = "cuda"


@dataclass(frozen=True)
class BatchLimits:
    """What a batch of the trunk may hold.

    Attributes:
        requests: At most so many.
        tokens: At most so many, where the batching library is; None for no such limit.
        cost: How the tokens are counted: as they are, or as texts times the longest of them.
    """

    requests: int
    tokens: int | None
    cost: BatchCost = "tokens"


@dataclass(frozen=True)
class TrunkConfig:
    """What one profile's configuration of the trunk says.

    Attributes:
        graph_file: The file of the graph, in the folder of a version.
        instances: On each GPU, or on the CPU.
        arena_extension: ``arena_extend_strategy`` of ONNX Runtime's CUDA provider.
        gives_back: Whether the arena gives its memory back after each batch.
    """

    path: Path
    backend: str
    graph_file: str
    limits: BatchLimits
    instances: int
    arena_extension: str
    gives_back: bool

    @classmethod
    def read(cls, repository: Path, profile: Profile) -> TrunkConfig:
        """Read the file that Triton loads in a profile.

        Raises:
            RepositoryError: There is none, or it is damaged.
        """
        path = repository / TRUNK.name / "config.pbtxt"
        own = path.parent / "configs" / f"{profile}.pbtxt"
        path = own if own.is_file() else path
        try:
            return cls._parse(path, path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RepositoryError(
                f"{repository} is not a model repository: it has no {TRUNK.name}/config.pbtxt; "
                "make one with 'bgem3 export MODEL --output DIR'"
            ) from error
        except (UnicodeDecodeError, RecursionError) as error:
            raise RepositoryError(
                f"{path} cannot be read: {error}; mend it, or export again"
            ) from error

    def write(self, limits: BatchLimits, instances: int) -> None:
        """Change the file; the rest of it, comments included, stays as it is.

        Raises:
            PlanError: The file is not as the export wrote it.
            RepositoryError: It cannot be written to.
        """
        text = self.path.read_text(encoding="utf-8")
        text = _sub(r"^max_batch_size:\s*\d+", f"max_batch_size: {limits.requests}", text)
        text = _sub(r"^(instance_group\s*\[\s*\{[^}]*count:\s*)\d+", rf"\g<1>{instances}", text)
        if limits.tokens is not None:
            text = _with_parameter(text, _BUDGET, str(limits.tokens))
            text = _with_parameter(text, _COST, limits.cost)
        written = self._parse(self.path, text)
        if (written.limits, written.instances) != (limits, instances):
            raise PlanError(
                f"{self.path} is not as the export wrote it, and is left alone: set "
                f"max_batch_size to {limits.requests}, the count of the instance_group to "
                f"{instances} and the parameter {_BUDGET} to {limits.tokens} there"
            )
        # A new file, not new content: the old one may be linked to another repository.
        copy = self.path.with_name(f".{self.path.name}.{uuid4().hex[:8]}")
        try:
            copy.write_text(text, encoding="utf-8")
            os.replace(copy, self.path)
        except OSError as error:
            raise RepositoryError(f"{self.path} cannot be written to: {error.strerror}") from error
        finally:
            copy.unlink(missing_ok=True)

    @classmethod
    def _parse(cls, path: Path, text: str) -> TrunkConfig:
        try:
            # Triton's own release may know more than the client's.
            config = text_format.Parse(
                text, model_config_pb2.ModelConfig(), allow_unknown_field=True
            )
        except text_format.ParseError as error:
            raise RepositoryError(
                f"{path} cannot be read: {error}; mend it, or export again"
            ) from error
        parameters = {key: value.string_value for key, value in config.parameters.items()}
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        cuda = next((dict(one.parameters) for one in accelerators if one.name == _CUDA), {})
        tokens = parameters.get(_BUDGET)
        if tokens is not None and not re.fullmatch(r"[1-9]\d*", tokens):
            raise RepositoryError(
                f"the parameter {_BUDGET} of {path} is '{tokens}', and must be a number of tokens"
            )
        return cls(
            path=path,
            backend=config.backend,
            graph_file=config.default_model_filename or _GRAPH_FILE,
            limits=BatchLimits(
                config.max_batch_size,
                int(tokens) if tokens else None,
                "padded" if parameters.get(_COST) == "padded" else "tokens",
            ),
            instances=sum(group.count for group in config.instance_group) or 1,
            # As in ONNX Runtime's cuda_provider_options.h.
            arena_extension=cuda.get(_EXTENSION, "kNextPowerOfTwo"),
            gives_back=_SHRINKAGE in parameters,
        )


def _sub(pattern: str, replacement: str, text: str) -> str:
    return re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)


def _with_parameter(text: str, name: str, value: str) -> str:
    line = f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}'
    pattern = rf'parameters\s*\{{\s*key:\s*"{name}"\s*value:\s*\{{[^}}]*\}}\s*\}}'
    if re.search(pattern, text):
        return re.sub(pattern, line, text, count=1)
    return f"{text.rstrip()}\n{line}\n"
