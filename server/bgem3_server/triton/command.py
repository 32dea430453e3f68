"""The command line and the environment that Triton is started with."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from bgem3_backend.contract import ENSEMBLE
from bgem3_server.settings import Profile, ServeSettings
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.installation import Installation
from bgem3_server.triton.key import closing_arguments

_HEADS_IN_THE_GRAPH: Final = ("cpu_heads", "gpu_heads")


@dataclass(frozen=True)
class TritonCommand:
    """All that is needed to start one Triton.

    Attributes:
        server_id: The name it answers with, so that no other server is taken for it.
        shared_memory_prefix: What the names of its regions in ``/dev/shm`` begin with.
        key: To what it keeps closed, to be hidden in its command line when it is up; or None.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    addresses: Addresses
    server_id: str
    shared_memory_prefix: str
    key: str | None


def triton_command(
    installation: Installation,
    repository: Path,
    profile: Profile,
    addresses: Addresses,
    settings: ServeSettings,
    key: str | None,
    extra_arguments: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
) -> TritonCommand:
    """Return how to start Triton on ``repository``.

    Args:
        installation: The Triton to start.
        repository: The directory to serve.
        profile: Which configuration of the models to load.
        addresses: Where to listen.
        settings: Time to stop and log level are read from it.
        key: What callers of the closed endpoints have to send; None closes none.
        extra_arguments: Further options of ``tritonserver``, put last, so that they win.
        models: What to load, their steps included; empty for all that the repository has.
    """
    server_id = f"bgem3-{uuid4().hex[:12]}"
    arguments = [
        str(installation.tritonserver),
        f"--id={server_id}",
        f"--model-repository={repository.absolute()}",
        # Explicit, so that models can be loaded, rolled over and unloaded one by one later.
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models or _all_models(profile)),
        # Every config is complete; with completion Triton would start each Python model twice.
        "--disable-auto-complete-config",
        f"--backend-directory={installation.backend_directory}",
        f"--cache-directory={installation.cache_directory}",
        f"--backend-config=python,shm-region-prefix-name={server_id}",
        f"--grpc-address={addresses.host}",
        f"--grpc-port={addresses.grpc_port}",
        f"--http-address={addresses.host}",
        f"--http-port={addresses.http_port}",
        f"--metrics-address={addresses.host}",
        f"--metrics-port={addresses.metrics_port}",
        f"--exit-timeout-secs={settings.stop_timeout_seconds}",
        f"--log-verbose={int(settings.log_level == 'verbose')}",
        *(closing_arguments(key) if key is not None else ()),
    ]
    if profile != "gpu":
        arguments.append(f"--model-config-name={profile}")
    if profile in ("cpu", "cpu_heads"):
        arguments += [
            # Neither exists without a GPU, and each complains about it in the log.
            "--pinned-memory-pool-byte-size=0",
            "--allow-gpu-metrics=false",
        ]
    return TritonCommand(
        arguments=(*arguments, *extra_arguments),
        environment=_environment(installation),
        addresses=addresses,
        server_id=server_id,
        shared_memory_prefix=server_id,
        key=key,
    )


def _all_models(profile: Profile) -> tuple[str, ...]:
    # With the heads in the graph some folders have nothing to load; the ensemble's steps come
    # with it.
    return (ENSEMBLE.name,) if profile in _HEADS_IN_THE_GRAPH else ("*",)


def _environment(installation: Installation) -> dict[str, str]:
    """Return the environment in which the Python models find this Python and its packages."""
    environment = {**os.environ, **installation.loader_environment()}
    # An embedded Python finds its standard library through the first `python3` on PATH.
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    inherited = os.environ.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(
        [*_package_directories(), *([inherited] if inherited else [])]
    )
    # What a model prints must reach the log before its process dies.
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _package_directories() -> list[str]:
    directories = [path for path in site.getsitepackages() if Path(path).is_dir()]
    if site.ENABLE_USER_SITE:
        directories.append(site.getusersitepackages())
    spec = importlib.util.find_spec("bgem3_backend")
    if spec is not None and spec.origin is not None:
        # Not under site-packages in an editable installation.
        source_root = str(Path(spec.origin).parent.parent)
        directories = [source_root, *(path for path in directories if path != source_root)]
    return directories
