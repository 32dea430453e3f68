"""Whether the batches of the trunk are limited by their tokens, and by what."""

from __future__ import annotations

from pathlib import Path

from bgem3_backend.contract import TRUNK
from bgem3_export.batching.library import find_library
from bgem3_export.manifest import Manifest
from bgem3_export.trunk_config import TrunkConfig
from bgem3_server.settings import Profile
from bgem3_server.triton.events import Batching
from bgem3_server.triton.installation import Installation


def batching_of_trunk(
    repository: Path, manifest: Manifest | None, profile: Profile, installation: Installation
) -> Batching | None:
    """Return the limits of the trunk's batches; None where its configuration sets no budget.

    Args:
        repository: The model repository, whose trunk may be missing.
        manifest: Its manifest, if it has one.
        profile: Which configuration is loaded.
        installation: The Triton that loads it.

    Raises:
        RepositoryError: The trunk's configuration cannot be read.
    """
    if not (repository / TRUNK.name / "config.pbtxt").is_file():
        return None
    config = TrunkConfig.read(repository, profile)
    if config.limits.tokens is None:
        return None
    version = manifest.newest if manifest is not None else "1"
    backend = installation.backend_directory / config.backend
    return Batching(repository, config.limits, find_library(repository, version, backend))
