"""Whether the libraries of a subcommand are installed, without importing them."""

from __future__ import annotations

from importlib.util import find_spec


def require(*modules: str) -> None:
    """Fail as an import would, in no time.

    Called at the top of a command's module, which imports the libraries themselves only when the
    command runs.

    Raises:
        ModuleNotFoundError: One of the modules is not installed.
    """
    for name in modules:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
