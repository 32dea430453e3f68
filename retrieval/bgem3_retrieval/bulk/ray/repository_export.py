"""Which export a model repository holds: the same on every node, or its vectors do not mix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bgem3_backend.contract import ENSEMBLE
from bgem3_export.manifest import MANIFEST_FILE, Manifest
from bgem3_retrieval.bulk.corpus.endpoint import ServedModel


@dataclass(frozen=True)
class RepositoryExport:
    """A repository that ``bgem3 export`` made.

    Attributes:
        folder: Where it is, on each node.
        model: What a server of it would serve.
        manifest_sha256: Of its manifest, which has the SHA-256 of every file of every version.
    """

    folder: Path
    model: ServedModel
    manifest_sha256: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from the folder's manifest.

        Raises:
            RepositoryError: There is none, or it is damaged.
        """
        folder = folder.resolve()
        manifest = Manifest.read(folder)
        shape = manifest.model
        return cls(
            folder,
            ServedModel(ENSEMBLE.name, manifest.newest, shape.hidden_size, shape.colbert_size),
            hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest(),
        )
