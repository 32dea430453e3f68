"""What is said of model files, folders and files of keys."""

from __future__ import annotations

import getpass
import os

import pytest
from doctor_run import finding, findings, seen, without_privileges, write_repository

from bgem3_export.manifest import MANIFEST_FILE, Manifest
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Outcome
from bgem3_server.doctor.subject import Subject
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.models.record import RECORD_FILE, ServingRecord

WELL = [(Outcome.OK, None)]
MODEL_CHECKS = ("repository", "hashes", "unlisted", "links")


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_a_repository_as_it_was_exported(check, repository):
    """Every check of its files is content."""
    assert WELL == seen(f"model_files.{check}", Subject(repository=repository))


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_no_repository_was_named(check):
    """Then there is nothing to check, and it is no problem."""
    assert [(Outcome.NOT_APPLICABLE, None)] == seen(f"model_files.{check}")


def test_a_changed_byte_is_found(repository):
    """By the file's hash; the others are not complained of."""
    file = repository / "bge_m3_tokenizer" / "1" / "tokenizer.json"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)

    (found,) = findings("model_files.hashes", Subject(repository=repository))

    assert (Outcome.PROBLEM, Code.FILE_CHANGED) == (found.outcome, found.code)
    assert "bge_m3_tokenizer/1/tokenizer.json" == found.details["file"]


def test_a_missing_file_is_found(repository):
    """And a link that leads nowhere is one."""
    folder = repository / "bge_m3_tokenizer" / "1"
    (folder / "model.py").unlink()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/no/such/file")

    found = findings("model_files.hashes", Subject(repository=repository))

    assert [Code.FILE_MISSING] * 2 == [item.code for item in found]
    assert ["link" in item.message for item in found] == [False, True]


def test_progress_is_told_to_the_last_byte(repository):
    """With the file's name and its size."""
    told = []

    findings(
        "model_files.hashes",
        Subject(repository=repository, progress=lambda *step: told.append(step)),
    )

    assert ("bge_m3_tokenizer/1/model.py", 17, 17) in told


def test_a_file_that_the_manifest_does_not_know(repository):
    """It could be somebody else's code; what Python leaves beside models is not meant."""
    folder = repository / "bge_m3_tokenizer" / "1"
    (folder / "extra.py").write_text("import os")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "model.pyc").write_text("")

    found = finding("model_files.unlisted", Subject(repository=repository))

    assert (Outcome.WARNING, Code.FILE_UNLISTED) == (found.outcome, found.code)
    assert ["bge_m3_tokenizer/1/extra.py"] == found.details["files"]


def test_what_was_added_by_models_is_known(repository):
    """It has its own list: its files are held to that, and are nobody else's code."""
    record = ServingRecord.of_export(Manifest.read(repository))
    added = repository / "bge_m3_v2_tokenizer" / "2"
    added.mkdir(parents=True)
    (added / "model.py").write_text("changed")
    name = str((added / "model.py").relative_to(repository))
    version = record.versions["1"].model_copy(update={"files": {name: "0" * 64}})
    record.with_version("2", version).write(repository)

    found = finding("model_files.hashes", Subject(repository=repository))

    assert Outcome.OK is finding("model_files.unlisted", Subject(repository=repository)).outcome
    assert (Code.FILE_CHANGED, name) == (found.code, found.details["file"])
    (repository / RECORD_FILE).write_text("{")
    damaged = finding("model_files.repository", Subject(repository=repository))
    assert (Code.MANIFEST_UNREADABLE, True) == (damaged.code, RECORD_FILE in damaged.message)


def test_a_link_out_of_the_repository(repository, tmp_path):
    """A container does not have what it leads to; links inside are fine."""
    folder = repository / "bge_m3_tokenizer" / "1"
    (tmp_path / "elsewhere").write_text("{}\n")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(tmp_path / "elsewhere")
    (folder / "again.py").symlink_to("model.py")

    found = finding("model_files.links", Subject(repository=repository))

    assert (Outcome.WARNING, Code.FILE_IS_LINK) == (found.outcome, found.code)
    assert ["bge_m3_tokenizer/1/tokenizer.json"] == found.details["files"]


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("{", (Outcome.PROBLEM, Code.MANIFEST_UNREADABLE)),
        ('{"format_version": 99}', (Outcome.PROBLEM, Code.MANIFEST_UNREADABLE)),
        (None, (Outcome.WARNING, Code.MANIFEST_MISSING)),
    ],
    ids=["damaged", "of another release", "missing"],
)
def test_manifests_that_cannot_be_used(manifest, expected, repository):
    """What has none can be served all the same."""
    if manifest is None:
        (repository / MANIFEST_FILE).unlink()
    else:
        (repository / MANIFEST_FILE).write_text(manifest)

    assert [expected] == seen("model_files.repository", Subject(repository=repository))


def test_a_folder_that_is_no_repository(tmp_path):
    """Also one that is not there."""
    for folder in (tmp_path, tmp_path / "none"):
        subject = Subject(repository=folder)

        assert [(Outcome.PROBLEM, Code.NOT_A_REPOSITORY)] == seen("model_files.repository", subject)


def test_a_repository_that_this_user_cannot_read(open_folder):
    """Each file is opened; bits alone do not say it."""
    repository = write_repository(open_folder / "repository")
    closed = repository / "bge_m3_tokenizer" / "1" / "model.py"
    subject = Subject(repository=repository)
    with without_privileges(closed):
        well = seen("folders.repository", subject)
    closed.chmod(0)
    with without_privileges(closed):
        found = finding("folders.repository", subject)
        hashed = seen("model_files.hashes", subject)

    assert WELL == well
    assert (Outcome.PROBLEM, Code.FILE_UNREADABLE) == (found.outcome, found.code)
    assert [str(closed)] == found.details["files"]
    assert [(Outcome.PROBLEM, Code.FILE_UNREADABLE)] == hashed


def test_a_cache_of_this_user(tmp_path, monkeypatch):
    """Whether it is there already or not; nothing is left in it, nor is it made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = seen("folders.cache")
    made = list(tmp_path.iterdir())
    (tmp_path / "bgem3" / "wheels").mkdir(parents=True)
    after = seen("folders.cache")

    assert (WELL, [], WELL) == (before, made, after)
    assert [] == list((tmp_path / "bgem3" / "wheels").iterdir())


def test_a_cache_that_sudo_has_left(tmp_path, monkeypatch):
    """What belongs to somebody else is named, with the command that gives it back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "bgem3" / "wheels"
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, 12345, 12345)
        expected = [f"{folder} (user 12345)"]
    else:
        # Nobody else can give files away, so it is the user who is another.
        owner = getpass.getuser()
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        expected = [f"{folder.parent} ({owner})", f"{folder} ({owner})"]

    found = finding("folders.cache")

    assert (Outcome.PROBLEM, Code.CACHE_OWNED_BY_ANOTHER) == (found.outcome, found.code)
    assert expected == found.details["files"]


def test_a_cache_that_cannot_be_written_to(open_folder, monkeypatch):
    """As in a container whose root is read-only."""
    cache = open_folder / "bgem3"
    cache.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder))
    with without_privileges(cache):
        cache.chmod(0o555)
        found = seen("folders.cache")

    assert [(Outcome.PROBLEM, Code.CACHE_NOT_WRITABLE)] == found


@pytest.fixture
def key_of_triton(tmp_path, monkeypatch):
    """The file with the key of a Triton that runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "bgem3" / "triton-keys" / "8001"
    file.parent.mkdir(parents=True)
    file.write_text("a-secret-key-of-triton")
    file.chmod(0o600)
    return file


def test_a_key_that_its_owner_alone_can_read(key_of_triton):
    """That is how it is written."""
    assert WELL == seen("folders.keys")


def test_a_key_that_others_can_read(key_of_triton):
    """The key itself is not repeated."""
    key_of_triton.chmod(0o644)

    found = finding("folders.keys")

    assert (Outcome.PROBLEM, Code.KEY_FILE_OPEN) == (found.outcome, found.code)
    assert "0644" == found.details["mode"]
    assert "a-secret-key-of-triton" not in repr(found)


def test_key_files_of_the_service(tmp_path, monkeypatch):
    """One that is open to others is a warning, one that is not there a problem."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = tmp_path / "keys"
    keys.write_text("one\n")
    keys.chmod(0o640)
    settings = GatewaySettings(api_keys_file=keys, tls_key=tmp_path / "none.pem")

    found = seen("folders.keys", Subject(service_settings=settings))

    assert [
        (Outcome.WARNING, Code.KEY_FILE_OPEN),
        (Outcome.PROBLEM, Code.KEY_FILE_UNREADABLE),
    ] == found


def test_folders_that_may_not_be_entered(open_folder, monkeypatch):
    """As another user's home: said, and no check breaks off."""
    repository = write_repository(open_folder / "home" / "repository")
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder / "home" / "cache"))
    closed = repository.parent
    subject = Subject(repository=repository)
    with without_privileges(closed):
        closed.chmod(0)
        found = {
            check: seen(check, subject)
            for check in (
                *(f"model_files.{name}" for name in MODEL_CHECKS),
                *(f"folders.{name}" for name in ("repository", "cache", "keys")),
            )
        }
    closed.chmod(0o700)

    assert [(Outcome.PROBLEM, Code.FILE_UNREADABLE)] == found["model_files.repository"]
    assert [(Outcome.PROBLEM, Code.CACHE_NOT_WRITABLE)] == found["folders.cache"]
    assert WELL == found["folders.keys"]
