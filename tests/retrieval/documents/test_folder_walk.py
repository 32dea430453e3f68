"""Which files are found, in which order and under which names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bgem3_retrieval.documents.folder import SourceFile, Walk, display_name, walk
from bgem3_retrieval.errors import InputFileError, UnreadableDocumentError


def make_files(folder: Path, *names: str) -> None:
    """Files with a word in each."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("word")


def found(files: Walk, folder: Path) -> list[str]:
    """The names of the files, from a folder on."""
    return [file.name.removeprefix(f"{folder}/") for file in files]


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Folders stand among the files; the order is the same each time."""
    make_files(tmp_path, "b.md", "a/z.txt", "a/b/c.html", "c.pdf", "a.txt")
    files = walk([tmp_path])
    expected = ["a/b/c.html", "a/z.txt", "a.txt", "b.md", "c.pdf"]

    assert expected == found(files, tmp_path)
    assert expected == found(files, tmp_path)


def test_names_are_absolute_wherever_the_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders with the same files inside have different names for them."""
    make_files(tmp_path, "one/a.txt", "two/a.txt")
    monkeypatch.chdir(tmp_path / "one")
    names = [file.name for file in walk([".", "../two"])]

    assert [f"{tmp_path}/one/a.txt", f"{tmp_path}/two/a.txt"] == names
    assert ["a.txt", f"{tmp_path}/two/a.txt"] == [display_name(name) for name in names]


def test_names_can_be_relative_to_a_folder(tmp_path: Path) -> None:
    """So they outlive its move; what is outside has no such name."""
    make_files(tmp_path, "root/docs/a.txt", "b.txt")
    root = tmp_path / "root"

    assert ["docs/a.txt"] == [file.name for file in walk([root / "docs"], root=root)]
    assert ["docs/a.txt"] == [file.name for file in walk([root], root=root)]
    with pytest.raises(InputFileError, match="is not below"):
        walk([tmp_path / "b.txt"], root=root)


def test_hidden_and_unknown_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    """Word's lock files are hidden ones; a file without a suffix is looked into."""
    make_files(tmp_path, "a.TXT", ".git/b.txt", ".c.txt", "~$d.docx", "e.PNG", "f.png", "README")
    (tmp_path / "binary").write_bytes(b"\0\1\2")
    files = walk([tmp_path])

    assert ["README", "a.TXT"] == found(files, tmp_path)
    assert 3 == files.hidden
    assert {".png": 2, "": 1} == dict(files.unknown)


def test_a_file_that_is_named_is_taken(tmp_path: Path) -> None:
    """Whatever its name; and once, however often it is named."""
    make_files(tmp_path, ".hidden.txt", "a.unknown", "b/c.txt")
    files = walk([tmp_path / ".hidden.txt", tmp_path / "a.unknown", tmp_path / "b", tmp_path])

    assert [".hidden.txt", "a.unknown", "b/c.txt"] == found(files, tmp_path)
    assert 2 == files.repeated


def test_links_are_followed_once(tmp_path: Path) -> None:
    """Circles end, and a link that leads nowhere is told."""
    make_files(tmp_path, "docs/a.txt", "elsewhere/b.txt")
    docs = tmp_path / "docs"
    (docs / "circle").symlink_to(docs)
    (docs / "link").symlink_to(tmp_path / "elsewhere")
    (docs / "z.txt").symlink_to(docs / "a.txt")
    (docs / "nowhere.txt").symlink_to(docs / "gone")
    files = walk([docs])

    assert ["a.txt", "link/b.txt"] == found(files, docs)
    assert 2 == files.repeated
    assert [f"{docs}/nowhere.txt"] == [problem.source for problem in files.problems]


def test_what_is_neither_file_nor_folder_is_told(tmp_path: Path) -> None:
    """A pipe would never end."""
    os.mkfifo(tmp_path / "pipe.txt")
    files = walk([tmp_path])

    assert [] == list(files)
    assert ["is neither a file nor a folder"] == [problem.reason for problem in files.problems]


def test_a_path_where_nothing_is_is_refused(tmp_path: Path) -> None:
    """A disk that is not mounted is no reason to forget what was on it."""
    with pytest.raises(InputFileError, match=r"gone: cannot be read: No such file or directory"):
        walk([tmp_path / "gone"])


def test_a_folder_that_cannot_be_read_keeps_what_is_indexed_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its problem is told, the others are found, and only they can be gone."""
    make_files(tmp_path, "closed/a.txt", "open/b.txt")
    list_folder = os.listdir

    def refuse(path: Path) -> list[str]:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(os, "listdir", refuse)
    files = walk([tmp_path])

    assert ["open/b.txt"] == found(files, tmp_path)
    assert ["cannot be read: Permission denied"] == [problem.reason for problem in files.problems]
    assert files.covers(f"{tmp_path}/open/gone.txt")
    assert files.covers(f"{tmp_path}/open/gone.csv#17")
    assert not files.covers(f"{tmp_path}/closed/a.txt")
    assert not files.covers(f"{tmp_path}-other/a.txt")


def test_a_name_that_is_not_unicode_is_shown_in_digits(tmp_path: Path) -> None:
    """A store keeps names as UTF-8; the file is read all the same."""
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb") as stream:
        stream.write(b"word")
    (file,) = walk([tmp_path])

    assert "caf\\xe9.txt" == Path(file.name).name
    assert b"word" == file.path.read_bytes()


def test_a_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    """SHA-256; a file that is gone has none."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"word")
    file = SourceFile(path, "a.txt", 4)

    assert hashlib.sha256(b"word").hexdigest() == file.fingerprint()
    path.unlink()
    with pytest.raises(UnreadableDocumentError, match=r"^a.txt: cannot be read: No such file"):
        file.fingerprint()
