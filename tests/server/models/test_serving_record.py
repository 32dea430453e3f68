"""What a repository says of its versions, and who may take the place of whom."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgem3_client.errors import UnavailableError
from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import Manifest
from bgem3_server.models.command import models
from bgem3_server.models.compatibility import check_replaces, read_export
from bgem3_server.models.control import TritonControl
from bgem3_server.models.errors import IncompatibleModelError
from bgem3_server.models.folders import add_base_ensemble, add_folders, write_choice
from bgem3_server.models.record import RECORD_FILE, ServingRecord, VersionRecord
from bgem3_server.models.start import Choice, prepare_choice


@pytest.fixture
def record(repository: Path) -> ServingRecord:
    """Of a repository with three versions, of which the first serves."""
    record = ServingRecord.of_export(Manifest.read(repository))
    version = record.versions["1"]
    return record.with_version("2", version).with_version("3", version)


def test_history_is_gone_through_backwards(record):
    """A switch is remembered; going back to a version forgets what came after it."""
    forth = record.with_serving("2").with_serving("3")

    assert ("1", "2") == forth.earlier
    assert ("1",) == forth.with_serving("2").earlier
    assert () == forth.with_serving("1").earlier
    assert ("1", "2", "3") == forth.loaded


def test_a_repository_as_exported_loads_everything(repository):
    """Without a record nothing is chosen, and nothing is written."""
    before = (repository / "bge_m3" / "config.pbtxt").read_text()

    assert Choice() == prepare_choice(repository)
    assert before == (repository / "bge_m3" / "config.pbtxt").read_text()
    assert not (repository / RECORD_FILE).exists()


def test_a_start_holds_the_files_to_the_choice(repository, exports, record):
    """What another export wrote over is put right; every step is of the version that serves."""
    add_base_ensemble(repository, "1")
    add_folders(exports[1], "1", repository, "2", "1")
    record = record.with_serving("2")
    record.write(repository)
    for name in ("config.pbtxt", "configs/cpu_heads.pbtxt"):
        shutil.copyfile(exports[0] / "bge_m3" / name, repository / "bge_m3" / name)
    chosen = prepare_choice(repository)
    text = (repository / "bge_m3" / "config.pbtxt").read_text()
    heads = (repository / "bge_m3" / "configs" / "cpu_heads.pbtxt").read_text()

    assert ("bge_m3", "bge_m3_v1", "bge_m3_v2") == chosen.models
    assert 'name: "bge_m3"\n' in text
    assert text.count('model_name: "bge_m3_v2_') == text.count("model_name:") == 7
    assert heads.count('model_name: "bge_m3_v2_') == heads.count("model_name:") > 0
    assert "versions: [ 2 ]" in text


def test_an_export_into_the_served_folder_changes_nothing(repository, record):
    """The version that the repository began with stays, also where a newer folder lies beside."""
    add_base_ensemble(repository, "1")
    shutil.copytree(repository / "bge_m3_trunk" / "1", repository / "bge_m3_trunk" / "2")
    write_choice(repository, record)

    assert "versions: [ 1 ]" in (repository / "bge_m3_trunk" / "config.pbtxt").read_text()
    assert "versions: [ 1 ]" in (repository / "bge_m3_trunk" / "configs" / "cpu.pbtxt").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.update(serving="9"),
        lambda content: content.update(loaded=[]),
        lambda content: content.update(format_version=2),
        lambda content: content.pop("base"),
        lambda content: content.update(serving="../1"),
    ],
)
def test_a_damaged_record_is_refused(repository, record, damage):
    """A choice that cannot be is said to be damaged, with the file's name."""
    content = json.loads(record.model_dump_json())
    damage(content)
    (repository / RECORD_FILE).write_text(json.dumps(content))

    with pytest.raises(RepositoryError, match="is damaged, or of another release"):
        prepare_choice(repository)


def test_a_changed_file_is_refused(exports, tmp_path):
    """An export whose files are not those of its manifest is not loaded."""
    export = Path(shutil.copytree(exports[1], tmp_path / "export"))
    graph = export / "bge_m3_trunk" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")

    with pytest.raises(IncompatibleModelError, match="is damaged: its SHA-256"):
        read_export(export)


def test_another_format_is_refused(exports, tmp_path):
    """A manifest of another release is refused, and both formats are named."""
    export = Path(shutil.copytree(exports[1], tmp_path / "export"))
    manifest = json.loads((export / "manifest.json").read_text())
    (export / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))

    with pytest.raises(RepositoryError, match="has format 2, and this release writes format 1"):
        read_export(export)


@pytest.mark.parametrize("model", ["bge_m3", "bge_m3_sparse"])
def test_another_contract_is_refused(exports, tmp_path, model):
    """Models that take or give other tensors than this release's are refused, by name."""
    export = Path(shutil.copytree(exports[1], tmp_path / "export"))
    config = export / model / "config.pbtxt"
    config.write_text(config.read_text().replace('"sparse_values" data', '"weights" data'))

    with pytest.raises(IncompatibleModelError, match=f"{model} of .* gives .*weights"):
        read_export(export)


@pytest.mark.parametrize("size", ["hidden_size", "colbert_size", "vocabulary_size"])
def test_vectors_of_another_size_are_refused(record, size):
    """What callers have stored would not compare; the message says what differs."""
    shape: VersionRecord = record.versions["1"]
    other = shape.shape.model_copy(update={size: 7})

    with pytest.raises(IncompatibleModelError, match=f"{size} 7 in place of"):
        check_replaces(shape.shape, other, Path("export"))


def test_another_precision_may_take_its_place(record):
    """Its vectors have the same size and meaning: FP16 may follow FP32."""
    shape = record.versions["1"].shape

    check_replaces(shape, shape.model_copy(update={"precision": "fp16"}), Path("export"))


def test_no_triton_is_said_so():
    """Nobody at the address: the message asks for what may be wrong."""
    with TritonControl("127.0.0.1:9", 5) as control, pytest.raises(UnavailableError, match="--url"):
        control.states("bge_m3")


def test_a_load_names_one_thing(repository):
    """An export or a version, not both, and not neither."""
    for arguments in ([], [str(repository), "--version", "1"]):
        result = CliRunner().invoke(models, ["load", str(repository), *arguments])

        assert 2 == result.exit_code
        assert "--version N" in result.output
