"""All targets."""

from __future__ import annotations

from importlib import import_module

from fuzz.target import Target

GROUPS = ("parsers", "documents", "tokenizer", "service")
"""The modules with targets. A search instruments what its own one imports, which takes a while."""


def targets_of(group: str) -> dict[str, Target]:
    """Return the targets of a module by name."""
    return {target.name: target for target in import_module(f"fuzz.{group}").targets()}
