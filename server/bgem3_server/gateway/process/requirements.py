"""Whether the libraries of the extra ``gateway`` are installed, without importing them."""

from __future__ import annotations

from bgem3_client.command_line.requirements import require


def require_gateway() -> None:
    """Fail as an import would where the HTTP service cannot run.

    Raises:
        ModuleNotFoundError: A library is not installed; ``name`` says which.
    """
    require(
        "fastapi",
        "fastapi_offline",
        "httptools",
        "msgpack",
        "orjson",
        "prometheus_client",
        "python_multipart",
        "regex",
        "structlog",
        "tokenizers",
        "uvicorn",
        "uvloop",
    )
