"""The manifest of a repository that was never exported, for tests that only read it."""

from __future__ import annotations

from bgem3_export.manifest import Manifest, ModelShape, Version
from bgem3_export.parity_report import ParityReport


def demo_manifest() -> Manifest:
    """Say that version 1 is the demo model."""
    return Manifest(
        model=ModelShape(
            hidden_size=384,
            colbert_size=384,
            vocabulary_size=250002,
            max_length_tokens=8192,
            ignored_token_ids=(0, 1, 2, 3),
            precision="fp32",
        ),
        versions={
            "1": Version(
                source="demo",
                revision="0" * 64,
                demo=True,
                created="2026-01-01T00:00:00+00:00",
                checked_on="cpu",
                exporter="0" * 64,
                tools={},
                files={},
                parity=ParityReport(texts=0, tokens=0, outputs={}),
            )
        },
    )
