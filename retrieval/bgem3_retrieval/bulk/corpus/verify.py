"""Whether a folder of shards is as it was written."""

from __future__ import annotations

from pathlib import Path

from bgem3_retrieval.bulk.corpus.folder import REJECTED_NAME
from bgem3_retrieval.bulk.corpus.manifest import Manifest, sha256_of


def damages(folder: Path, manifest: Manifest) -> list[str]:
    """Read every shard and say what is wrong with it; nothing where all are as written.

    Args:
        folder: Where they are.
        manifest: What they were.
    """
    found = [
        f"{shard.file}: {damage}"
        for shard in manifest.shards
        if (damage := _damage(folder / shard.file, shard.size_bytes, shard.sha256))
    ]
    if manifest.rejected_bytes:
        rejected = folder / REJECTED_NAME
        if not rejected.is_file() or rejected.stat().st_size < manifest.rejected_bytes:
            found.append(f"{REJECTED_NAME}: missing, or too short")
    return found


def _damage(path: Path, size_bytes: int, sha256: str) -> str | None:
    try:
        found_bytes = path.stat().st_size
        if found_bytes != size_bytes:
            return f"has {found_bytes:,} bytes, and was written with {size_bytes:,}"
        if sha256_of(path) != sha256:
            return "has other contents than were written (SHA-256 differs)"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
