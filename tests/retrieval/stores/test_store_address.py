"""From an address to a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgem3_client import InvalidInputError
from bgem3_retrieval.stores.address import default_store_address, open_store


def test_a_folder(tmp_path: Path) -> None:
    """An embedded Qdrant; it shows where it is."""
    assert str(tmp_path / "index") == open_store(str(tmp_path / "index")).address


def test_the_home_folder() -> None:
    """``~`` is the user's."""
    assert str(Path.home() / "index") == open_store("~/index").address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://qdrant:6333", "http://qdrant:6333"),
        ("http://qdrant", "http://qdrant:6333"),
        ("https://x.cloud:443/prefix", "https://x.cloud:443/prefix"),
        ("http://[::1]:6333", "http://[::1]:6333"),
        ("http://qdrant:6333?grpc_port=7000", "http://qdrant:6333"),
    ],
)
def test_a_qdrant_server(address: str, shown: str) -> None:
    """Nobody is asked before the first request."""
    assert shown == open_store(address, "key").address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("localhost:6333", "write http://localhost:6333"),
        ("10.0.0.7:6333", "write http://10.0.0.7:6333"),
        ("ftp://host", "no store has addresses like 'ftp://host'"),
        ("grpc://host:6334", "http\\(s\\)://HOST:6333"),
        ("http://", "no URL"),
        ("http://host:99999", "no URL"),
        ("http://host:port", "no URL"),
        ("http://user:secret@host:6333", "BGEM3_STORE_API_KEY"),
        ("http://host:6333?grpc_port=x", "grpc_port=NUMBER"),
        ("http://host:6333?timeout=3", "grpc_port=NUMBER"),
        ("milvus:", "milvus:FILE.db"),
        ("milvus+http://", "no host"),
    ],
)
def test_what_is_no_address(address: str, message: str) -> None:
    """With what is wrong, and never with a password."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        open_store(address)

    assert "secret" not in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A database of Milvus is most likely meant as one."""
    file = tmp_path / "index.db"
    file.write_text("")

    with pytest.raises(InvalidInputError, match=f"milvus:{file}"):
        open_store(str(file))


def test_the_default_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder in the user's data directory."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert str(tmp_path / "bgem3" / "store") == default_store_address()
