"""The key to Triton's closed endpoints: made, kept, hidden, and said when that is not possible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from live_server import QUIET, live_triton
from tiny_model import write_tiny_model
from waiting import wait_until

from bgem3_client.address import Address
from bgem3_client.cache_folder import cache_folder
from bgem3_client.command_line.settings_options import read_settings
from bgem3_client.triton_key import VARIABLE, key_file, key_headers
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.events import Event, KeyProblem
from bgem3_server.triton.key import KeyFiles, closing_arguments, hide_in_command_line, make_key

SECRET = "0123456789abcdef"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that no other test looks into, and no key in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)


def test_each_start_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long, unless there is one in the environment; none where nothing is closed."""
    first, second = make_key(QUIET), make_key(QUIET)
    monkeypatch.setenv(VARIABLE, SECRET)

    assert first != second
    assert first is not None
    assert 43 == len(first)
    assert SECRET == make_key(ServeSettings())
    assert make_key(ServeSettings(closed_endpoints=False)) is None


def test_both_protocols_are_closed() -> None:
    """The same endpoints, with the same key."""
    closed = f"model-repository,shared-memory,trace,logging:bgem3-key={SECRET}"

    assert closing_arguments(SECRET) == (
        f"--http-restricted-api={closed}",
        f"--grpc-restricted-protocol={closed}",
    )


@pytest.mark.parametrize("key", ["too-short", "sixteen letters!", "k=eykeykeykeykeykey"])
def test_a_key_that_is_none_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """It may be one letter off the real one."""
    monkeypatch.setenv(VARIABLE, key)

    with pytest.raises(click.UsageError, match=f"{VARIABLE}: .*16 letters") as caught:
        read_settings(ServeSettings, {})

    assert key not in str(caught.value)


def test_files_are_removed_unless_they_are_anothers() -> None:
    """A Triton that has taken over the port keeps its key."""
    ours, others = KeyFiles(), KeyFiles()
    ours.write("ours", (1, 2))
    others.write("others", (2,))
    ours.remove()
    left = [port for port in (1, 2) if key_file(port).exists()]
    others.remove()

    assert [2] == left
    assert [] == list((cache_folder() / "triton-keys").iterdir())


def test_a_secret_is_hidden_in_a_childs_command_line() -> None:
    """And nothing else of it; a child that does not have it is an error, not a success."""
    command = [sys.executable, "-c", "input()", f"--key={SECRET}", "--other"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        line = Path(f"/proc/{child.pid}/cmdline")
        wait_until(lambda: SECRET.encode() in line.read_bytes())  # it may still be starting
        hide_in_command_line(child.pid, SECRET)
        seen = line.read_bytes().split(b"\0")
        with pytest.raises(OSError, match="shows no command line with it"):
            hide_in_command_line(child.pid, SECRET)
        child.communicate(b"\n")

    assert [b"--key=****************", b"--other", b""] == seen[3:]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Triton serves all the same, and its closed endpoints are closed to everybody."""
    cache_folder().mkdir()
    (cache_folder() / "triton-keys").write_text("in the way")
    repository = tmp_path / "repository"
    write_tiny_model(repository)
    events: list[Event] = []
    with live_triton(repository, events.append) as addresses:
        assert key_headers(Address.parse(addresses.grpc)) == {}

    (problem,) = [event for event in events if isinstance(event, KeyProblem)]
    assert "cannot be kept for clients" in str(problem)
    assert f"set {VARIABLE}" in str(problem)
