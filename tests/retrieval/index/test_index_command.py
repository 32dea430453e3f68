"""``bgem3 index`` and ``bgem3 collections``: what they say, and what they end with."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from command_run import Outcome, run_command
from index_run import COLLECTION, Notes, WatchedTransport, words
from memory_store import MemoryStore

import bgem3_retrieval.connections
from bgem3_client import Client, InferRequest, InternalServerError
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.index import collections_command, command
from bgem3_retrieval.index.display import shown_seconds, time_left
from bgem3_retrieval.stores.point import Point


@dataclass
class Commands:
    """Runs the commands in this process, on a folder, with a fake server and a store in memory."""

    notes: Notes
    opened: list[MemoryStore] = field(default_factory=list)

    def index(self, *arguments: str) -> Outcome:
        """Run ``bgem3 index`` on the folder."""
        return self._run(command.index, [str(self.notes.folder), "-c", COLLECTION, *arguments])

    def collections(self, *arguments: str, answer: str = "") -> Outcome:
        """Run ``bgem3 collections``."""
        return self._run(collections_command.collections, arguments, answer)

    def connect(self, url: str, say: Callable[[str], None]) -> Client:
        """A client of the fake server."""
        self.notes.transport.closed = False
        return Client(transport=self.notes.transport, retries=RetryPolicy(attempts=1))

    def connect_store(
        self, address: str | None, say: Callable[[str], None] | None = None
    ) -> MemoryStore:
        """The store, as another process would open it."""
        self.opened.append(self.notes.store.reopened())
        return self.opened[-1]

    def _run(self, subcommand: click.Command, arguments: Sequence[str], stdin: str = "") -> Outcome:
        outcome = run_command(subcommand, arguments, stdin.encode())
        assert all(store.closed for store in self.opened)
        return outcome


@pytest.fixture
def commands(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands, started in the folder above the notes."""
    monkeypatch.chdir(notes.folder.parent)
    commands = Commands(notes)
    for module in (command, collections_command):
        monkeypatch.setattr(module, "connect_store", commands.connect_store)
    monkeypatch.setattr(command, "connect", commands.connect)
    return commands


def test_the_summary_says_what_was_done(commands: Commands) -> None:
    """The first time and the second time; files of other formats are counted."""
    commands.notes.write({"a.txt": words("a", 40), "b.md": "b", "c.png": b"\x89PNG"})
    first = commands.index("--max-tokens", "16")
    again = commands.index()

    assert (0, 0) == (first.exit_code, again.exit_code)
    assert "collection notes in memory: 2 added (" in first.stderr
    assert "chunks, " in first.stderr
    assert "1 file of other formats left alone: 1 .png" in first.stderr
    assert "collection notes in memory: 2 unchanged (" in again.stderr
    assert "" == first.stdout == again.stdout
    assert (16, 2) == (
        commands.notes.store.spec(COLLECTION).max_tokens,
        commands.notes.store.spec(COLLECTION).overlap_tokens,
    )


def test_what_is_skipped_is_said_and_counts(commands: Commands) -> None:
    """With names as people in this folder write them, and all of it in the file."""
    commands.notes.write({f"{number:02}.pdf": b"%PDF-1.4 and no more" for number in range(12)})
    commands.notes.write({"a.txt": "a"})
    outcome = commands.index("--errors", "skipped.jsonl")
    few = commands.index()
    lines = Path("skipped.jsonl").read_text().splitlines()
    told = [line for line in outcome.stderr.splitlines() if line.startswith("skipped: ")]

    assert (3, 3) == (outcome.exit_code, few.exit_code)
    assert 10 == len(told)
    assert told[0].startswith("skipped: notes/00.pdf: ")
    assert "1 added, 12 skipped" in outcome.stderr
    assert 12 == len(lines)
    assert commands.notes.source("11.pdf") == json.loads(lines[-1])["source"]
    assert "skipped: more of them; --errors FILE writes all to a file" in few.stderr


def test_the_summary_as_json(commands: Commands) -> None:
    """On standard output, for other programs."""
    commands.notes.write({"a.txt": "one two"})
    report = json.loads(commands.index("--json").stdout)

    assert ("notes", 1, 1, 0, 1, 4) == tuple(
        report[name] for name in ("collection", "files", "added", "changed", "chunks", "tokens")
    )


def test_a_dry_run_lists_and_asks_no_server(commands: Commands) -> None:
    """Nor does it write."""
    commands.notes.write({"a.txt": "a", "b.txt": "b"})
    commands.index()
    commands.notes.write({"a.txt": "changed", "c.txt": "c"})
    (commands.notes.folder / "b.txt").unlink()
    requests = len(commands.notes.transport.requests)
    outcome = commands.index("--dry-run")

    assert 0 == outcome.exit_code
    assert ["change  notes/a.txt", "add     notes/c.txt", "remove  notes/b.txt"] == (
        outcome.stdout.splitlines()
    )
    assert "dry run: 1 to add, 1 to change, 1 to remove" in outcome.stderr
    assert requests == len(commands.notes.transport.requests)
    assert ["a.txt", "b.txt"] == commands.notes.sources


def test_a_server_that_fails_says_how_to_go_on(commands: Commands) -> None:
    """With what is done already."""
    commands.notes.write({f"{number:03}.txt": words(f"a{number}", 20) for number in range(300)})
    seen = 0

    def fail(request: InferRequest) -> None:
        nonlocal seen
        seen += len(request.texts) if len(request.outputs) > 3 else 0
        if seen > 200:
            raise InternalServerError("it broke")

    commands.notes.transport = WatchedTransport(before=fail)
    outcome = commands.index("--recreate")
    commands.notes.transport = WatchedTransport()

    assert 1 == outcome.exit_code
    assert "are in the collection and stay; run the command again without --recreate" in (
        outcome.stderr
    )
    assert outcome.stderr.endswith("error: it broke\n")
    assert 0 == commands.index().exit_code
    assert 300 == len(commands.notes.sources)


def test_an_interrupt_keeps_what_is_done(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run goes on."""
    commands.notes.write({f"{number:03}.txt": words(f"a{number}", 20) for number in range(300)})
    original = MemoryStore.put
    puts = 0

    def interrupted(store: MemoryStore, name: str, points: Sequence[Point]) -> None:
        nonlocal puts
        puts += 1
        if puts == 3:
            signal.raise_signal(signal.SIGINT)
        original(store, name, points)

    monkeypatch.setattr(MemoryStore, "put", interrupted)
    outcome = commands.index()
    again = commands.index("--json")

    assert 130 == outcome.exit_code
    assert "interrupted: waiting for the requests that are on their way" in outcome.stderr
    assert "are in the collection and stay; run the command again, and it goes on" in outcome.stderr
    assert json.loads(again.stdout)["unchanged"] > 0
    assert 300 == len(commands.notes.sources)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run", "--recreate"], "everything would be encoded again"),
        (["--max-tokens", "8"], "--max-tokens"),
        (["--colbert", "some"], "--colbert"),
        (["--max-tokens", "100", "--overlap-tokens", "99"], "overlap"),
        (["--pool-factor", "4"], "colbert must be 'pooled'"),
        (["-c", "no name"], "cannot be a collection's name"),
        (["--root", "notes/deep"], "is not below"),
    ],
)
def test_what_does_not_fit_is_refused(
    commands: Commands, arguments: list[str], message: str
) -> None:
    """And no collection is made."""
    commands.notes.write({"a.txt": "a", "deep/b.txt": "b"})
    outcome = commands.index(*arguments)

    assert 2 == outcome.exit_code
    assert message in outcome.stderr
    assert [] == commands.notes.store.names()


def test_collections_are_listed_and_shown(commands: Commands) -> None:
    """With how they were made and what is in them."""
    commands.notes.write({"a.txt": words("a", 40), "b.txt": "b"})
    none = commands.collections("list")
    commands.index("--max-tokens", "16", "--colbert", "pooled")
    shown = commands.collections("show", COLLECTION, "--documents").stdout
    as_json = json.loads(commands.collections("show", COLLECTION, "--json").stdout)
    chunks = commands.notes.store.count(COLLECTION)

    assert "no collections in memory: 'bgem3 index' makes them" in none.stderr
    assert f"notes  {chunks:>9} chunks\n" == commands.collections("list").stdout
    assert "colbert     16 numbers a token, 2 tokens a vector" in shown
    assert "chunks of   up to 16 tokens, 2 repeated" in shown
    assert f"{1:>9} chunks  notes/b.txt" in shown
    assert (chunks, 2, 0) == (as_json["chunks"], as_json["documents"], as_json["incomplete"])


def test_a_collection_is_dropped_when_that_is_confirmed(commands: Commands) -> None:
    """And only then."""
    commands.notes.write({"a.txt": "a"})
    commands.index()
    kept = commands.collections("drop", COLLECTION, answer="n\n")
    names = commands.notes.store.names()
    dropped = commands.collections("drop", COLLECTION, "--yes")
    again = commands.collections("drop", COLLECTION, "--yes")

    assert (1, 0, 2) == (kept.exit_code, dropped.exit_code, again.exit_code)
    assert "Remove collection notes with its 1 chunk from memory?" in kept.stderr
    assert [COLLECTION] == names
    assert [] == commands.notes.store.names()


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command line can be read by everybody on the machine."""
    told: list[tuple[str, str | None]] = []

    def open_store(address: str, api_key: str | None, say: object) -> MemoryStore:
        told.append((address, api_key))
        return MemoryStore()

    monkeypatch.setattr("bgem3_retrieval.stores.address.open_store", open_store)
    monkeypatch.setenv("BGEM3_STORE_API_KEY", "secret")
    bgem3_retrieval.connections.connect_store("http://qdrant:6333")

    assert [("http://qdrant:6333", "secret")] == told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61.0, "1 min 01 s"), (4020.0, "1 h 07 min")],
)
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    """With two units at most."""
    assert text == shown_seconds(seconds)


def test_the_time_left_is_what_the_rate_so_far_says() -> None:
    """And nothing while it is not known."""
    assert "" == time_left(1.0, 10, 100)
    assert "" == time_left(10.0, 0, 100)
    assert "about 1 min 30 s left" == time_left(10.0, 10, 100)


def test_only_named_fields_are_metadata(commands: Commands) -> None:
    """Of tables, where some are named; else all that fit."""
    row = {"id": "a", "text": "Hello.", "year": 2024, "team": "blue", "note": "n" * 300}
    commands.notes.write({"t.jsonl": json.dumps(row)})
    commands.index("--metadata-field", "year", "--metadata-field", "note")
    (point,) = commands.notes.store.points(COLLECTION)

    assert {"year": 2024, "note": "n" * 300} == point.stored.metadata


def test_a_collection_with_other_options(commands: Commands) -> None:
    """Is told in the command's own options."""
    commands.notes.write({"a.txt": "a"})
    commands.index()
    outcome = commands.index("--max-tokens", "64")
    preview = commands.index("--max-tokens", "64", "--dry-run")

    assert (2, 2) == (outcome.exit_code, preview.exit_code)
    for text in (outcome.stderr, preview.stderr):
        assert "was made with --max-tokens 512, not with --max-tokens 64" in text
        assert "--recreate" in text
