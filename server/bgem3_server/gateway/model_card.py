"""What the served model is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from bgem3_backend.contract import ENSEMBLE
from bgem3_export.manifest import MANIFEST_FILE, Manifest
from bgem3_server.gateway.calls.errors import UnknownModelError
from bgem3_server.gateway.settings import GatewaySettings

_BGE_M3: Final = "bge-m3"
_DEMO: Final = "bge-m3-demo"
_PRECISIONS: Final = {"fp32": "float32", "fp16": "float16"}


@dataclass(frozen=True)
class ModelCard:
    """The model as callers name it.

    Attributes:
        name: What answers call it.
        names: Everything that requests may call it, ``name`` included.
        revision: Of its source; empty where that is not known.
        demo: Whether it is the demo model, and not BGE-M3.
        precision: Of its trunk, ``float32`` or ``float16``; ``unknown`` where it is not known.
        created_seconds: When it was exported, in seconds since 1970; 0 where it is not known.
    """

    name: str
    names: frozenset[str]
    revision: str = ""
    demo: bool = False
    precision: str = "unknown"
    created_seconds: int = 0

    def check_name(self, name: str | None) -> None:
        """Refuse a request that is meant for another model; None is meant for this one.

        Raises:
            UnknownModelError: It is.
        """
        if name is not None and name not in self.names:
            raise UnknownModelError(
                f"there is no model {name!r} here: send one of "
                f"{', '.join(repr(known) for known in sorted(self.names))}; the service's setting "
                "model_names gives the model further names"
            )


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
    if not version.demo:
        names.add(_BGE_M3)
    return ModelCard(
        name,
        frozenset(names),
        version.revision,
        version.demo,
        _PRECISIONS[manifest.model.precision],
        int(datetime.fromisoformat(version.created).timestamp()),
    )
