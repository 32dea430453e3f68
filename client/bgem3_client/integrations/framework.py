"""What is said where a framework is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def framework(name: str, requirement: str) -> Iterator[None]:
    """Import a framework inside this block.

    Args:
        name: The framework, as people call it.
        requirement: What to hand to ``pip install``.

    Raises:
        ModuleNotFoundError: A module is missing; the message says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.msg}: the {name} integration needs pip install '{requirement}'",
            name=error.name,
        ) from error
