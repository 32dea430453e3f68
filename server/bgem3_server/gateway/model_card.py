"""What the served model is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_backend.contract import ENSEMBLE
from bgem3_export.manifest import MANIFEST_FILE, Manifest
from bgem3_server.gateway.settings import GatewaySettings

_BGE_M3: Final = "bge-m3"
_DEMO: Final = "bge-m3-demo"


@dataclass(frozen=True)
class ModelCard:
    """The model as callers name it.

    Attributes:
        name: What answers call it.
        names: Everything that requests may call it, ``name`` included.
        revision: Of its source; empty where that is not known.
        demo: Whether it is the demo model, and not BGE-M3.
    """

    name: str
    names: frozenset[str]
    revision: str = ""
    demo: bool = False


def read_model_card(settings: GatewaySettings) -> ModelCard:
    """Return the names of the model: from the repository where the service was given one.

    Raises:
        RepositoryError: The repository's manifest is damaged.
    """
    further = {name.strip() for name in settings.model_names.split(",") if name.strip()}
    repository = settings.tokenizer
    if repository is None or not (repository / MANIFEST_FILE).is_file():
        return ModelCard(_BGE_M3, frozenset({_BGE_M3, "BAAI/bge-m3", ENSEMBLE.name} | further))
    manifest = Manifest.read(repository)
    version = manifest.versions[manifest.newest]
    name = _DEMO if version.demo else version.source
    names = {name, Path(name).name, ENSEMBLE.name} | further
    return ModelCard(name, frozenset(names), version.revision, version.demo)
