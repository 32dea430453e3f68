"""An export publishes a complete, checked version, or leaves everything as it was."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from fake_tensorrt import FakeTensorRT
from safetensors.numpy import load_file
from tiny_checkpoint import COLBERT_SIZE, HIDDEN_SIZE, LAYERS, write_heads, write_tiny_checkpoint
from tokenizers import Tokenizer

from bgem3_backend.contract import MODELS
from bgem3_backend.token_texts import TABLE_FILE, TokenTexts
from bgem3_export import export as exporting
from bgem3_export import parity, publishing
from bgem3_export.errors import (
    CheckpointError,
    DeviceError,
    DiskSpaceError,
    EngineError,
    ParityError,
    RepositoryError,
)
from bgem3_export.export import GRAPHS, export_checkpoint
from bgem3_export.file_hash import file_sha256
from bgem3_export.manifest import EngineTarget, Manifest
from bgem3_export.parity import TOLERANCES, OutputParity, check_graph_contract
from bgem3_export.publishing import exclusive
from bgem3_export.reference_texts import REFERENCE_TEXTS
from bgem3_export.source import find_source
from bgem3_export.tensorrt.plan import PlanBuilder
from bgem3_export.trunk_graph import (
    PLAN_FILE,
    write_trunk_graph,
)

pytestmark = pytest.mark.usefixtures("_one_thread")

VERSION_FILES = {
    "bge_m3_tokenizer": {"model.py", "tokenizer.json"},
    "bge_m3_token_texts": {"model.py", "token_texts.json"},
    "bge_m3_trunk": {
        "model.py",
        "model.onnx",
        "model.cuda.onnx",
        "model.tensorrt.onnx",
        "model.heads.onnx",
        "model.cuda.heads.onnx",
        "model.onnx.data",
    },
    "bge_m3_sparse": {"model.py", "merge.py", "sparse_linear.safetensors"},
    "bge_m3_colbert": {"model.py", "colbert_linear.safetensors"},
    "bge_m3": set(),
}


@pytest.fixture
def repository(tmp_path) -> Path:
    """Where the tests export to: the one entry of its folder."""
    return tmp_path / "repositories" / "tiny"


@pytest.fixture
def export(tiny_source, repository, progress):
    """Export the tiny checkpoint, with what a test wants otherwise."""

    def run(source=tiny_source, precision="fp32", device="cpu", **options):
        return export_checkpoint(source, repository, precision, device, progress, **options)

    return run


def beside(repository: Path) -> list[Path]:
    """Return what lies where the repository is to be; the lock of its exports stays there."""
    found = repository.parent.iterdir() if repository.parent.exists() else ()
    return [path for path in found if path.name != f".{repository.name}.lock"]


def snapshot(directory: Path) -> dict[str, tuple[int, str]]:
    """Return inode and hash of each file beside and below a repository."""
    return {
        str(path.relative_to(directory.parent)): (path.stat().st_ino, file_sha256(path))
        for path in directory.parent.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def version_files(repository: Path, version: str) -> dict[str, set[str]]:
    """Return the files of one version, by model."""
    return {
        model.name: {path.name for path in (repository / model.name / version).iterdir()}
        for model in MODELS
    }


def assert_nothing_was_published(repository: Path) -> None:
    """Neither a repository nor anything half-done beside it."""
    assert [] == beside(repository)


def test_the_first_export_is_version_1(export, repository, progress):
    """A complete repository, of which nothing is left elsewhere."""
    summary = export()

    assert (repository, "1", False) == (summary.repository, summary.version, summary.reused)
    assert VERSION_FILES == version_files(repository, "1")
    assert [repository] == beside(repository)
    assert ["writing the graph", "comparing with the checkpoint", "writing the manifest"] == (
        progress.steps
    )
    assert [(1, LAYERS), (2, LAYERS)] == progress.parts[:LAYERS]
    assert (len(REFERENCE_TEXTS) + 1,) * 2 == progress.parts[-2]


def test_token_texts_are_the_tokenizers(export, repository, tiny_checkpoint):
    """One for each id that the trunk takes."""
    export()
    texts = TokenTexts.read(repository / "bge_m3_token_texts" / "1" / TABLE_FILE)
    library = Tokenizer.from_file(str(tiny_checkpoint.tokenizer_file))

    assert tiny_checkpoint.config.vocabulary_size == texts.vocabulary_size
    assert [library.decode([i], skip_special_tokens=False) for i in range(364)] == [
        text.decode() for text in texts(np.arange(364))
    ]


def test_every_file_can_be_read_by_triton(export, repository):
    """Which may run as another user than the one who exports."""
    export()

    for path in [repository, *repository.rglob("*")]:
        wanted = 0o755 if path.is_dir() else 0o644
        assert wanted == path.stat().st_mode & 0o755 | (0o200 if path.is_dir() else 0), path


def test_the_manifest_says_what_was_made(export, repository, tiny_source):
    """Source, shape, tools, parity, and a hash of every file of the version."""
    summary = export()
    manifest = Manifest.read(repository)
    version = manifest.versions["1"]

    assert summary.manifest == manifest
    assert (HIDDEN_SIZE, COLBERT_SIZE, 364, 512, (0, 1, 2, 3), "fp32", "passages") == tuple(
        manifest.model.model_dump().values()
    )
    assert (tiny_source.name, tiny_source.revision, False, "cpu") == (
        version.source,
        version.revision,
        version.demo,
        version.checked_on,
    )
    assert {
        f"{model}/1/{name}": file_sha256(repository / model / "1" / name)
        for model, names in VERSION_FILES.items()
        for name in names
    } == version.files
    assert {"python", "onnx", "onnxruntime", "torch", "transformers"} <= set(version.tools)
    assert exporting.exporter_hash() == version.exporter
    age = datetime.now().astimezone() - datetime.fromisoformat(version.created)
    assert timedelta() <= age < timedelta(minutes=5)


def test_the_manifest_holds_the_parity_report(export, repository):
    """Every output, within its tolerance, on all texts."""
    export()
    report = Manifest.read(repository).versions["1"].parity

    assert {"dense", "hidden_states", "sparse", "colbert"} == set(report.outputs)
    assert len(REFERENCE_TEXTS) + 1 == report.texts
    assert report.tokens > 1000
    for name, output in report.outputs.items():
        assert TOLERANCES["fp32"][name] == output.tolerance
        assert output.holds
        assert 0.99999 <= output.smallest_cosine <= 1.0001


def test_half_precision_has_tolerances_of_its_own(export, repository):
    """They are held, and the figures are those of FP16: not FP32's under another name."""
    summary = export(precision="fp16")

    assert "fp16" == summary.manifest.model.precision
    for name, output in summary.parity.outputs.items():
        assert TOLERANCES["fp16"][name] == output.tolerance
        assert output.holds
    assert summary.parity.outputs["dense"].largest_difference > 1e-5


def test_heads_are_exported_as_they_are(export, repository, tiny_checkpoint):
    """The very numbers of the checkpoint."""
    export()
    head = load_file(repository / "bge_m3_colbert" / "1" / "colbert_linear.safetensors")

    np.testing.assert_array_equal(tiny_checkpoint.colbert_head.weight, head["weight"])
    np.testing.assert_array_equal(tiny_checkpoint.colbert_head.bias, head["bias"])


def test_a_demo_model_is_marked(export, tiny_source):
    """So that whoever reads the manifest can say it aloud."""
    from dataclasses import replace

    assert export(replace(tiny_source, is_demo=True)).manifest.versions["1"].demo


def test_the_second_export_is_version_2(export, repository, tmp_path):
    """Version 1 is linked, not copied, and stays as it was; its entry stays in the manifest."""
    export()
    before = snapshot(repository)
    other = tmp_path / "retrained"
    other.mkdir()
    write_tiny_checkpoint(other, seed=1)
    summary = export(find_source(str(other)))
    after = snapshot(repository)

    assert "2" == summary.version
    assert VERSION_FILES == version_files(repository, "1") == version_files(repository, "2")
    version_1 = {path: value for path, value in before.items() if "/1/" in path}
    assert version_1 == {path: after[path] for path in version_1}
    trunk = "tiny/bge_m3_trunk/{}/model.onnx.data"
    assert after[trunk.format(1)][1] != after[trunk.format(2)][1]
    assert ["1", "2"] == list(summary.manifest.versions)
    assert ["tiny-model", "retrained"] == [
        version.source for version in summary.manifest.versions.values()
    ]
    assert [repository] == beside(repository)


def test_one_export_at_a_time(export, repository):
    """A second one into the same folder is told so, and leaves the first alone."""
    with exclusive(repository), pytest.raises(RepositoryError, match="another export into"):
        export()

    assert [] == beside(repository)
    assert "1" == export().version


def test_what_a_killed_export_left_goes_with_the_next(export, repository):
    """The half-built folder of a process that could not clean up, and nothing else."""
    left_behind = repository.parent / f".{repository.name}.build-abc"
    other = repository.parent / f".{repository.name}.backup"
    for folder in (left_behind, other):
        (folder / "bge_m3").mkdir(parents=True)
    export()

    assert {repository, other} == set(beside(repository))


def test_a_number_is_never_used_again(export, repository):
    """The next version is above the highest one, also above 9."""
    manifest = export().manifest
    only_nine = manifest.model_copy(update={"versions": {"9": manifest.versions["1"]}})
    only_nine.write(repository)

    assert "10" == export().version


def test_reuse_leaves_a_current_repository_alone(export, repository, progress):
    """Nothing is written, and the summary is the one of before."""
    first = export()
    before = snapshot(repository)
    progress.steps.clear()
    second = export(reuse=True)

    assert before == snapshot(repository)
    assert (True, "1", first.manifest) == (second.reused, second.version, second.manifest)
    assert [] == progress.steps


def test_reuse_exports_a_changed_checkpoint(export, repository, tiny_directory):
    """Another content is another revision."""
    export()
    write_heads(tiny_directory, seed=7)

    assert ("2", False) == (
        (summary := export(find_source(str(tiny_directory)), reuse=True)).version,
        summary.reused,
    )


def test_reuse_exports_again_with_another_exporter(export, monkeypatch):
    """A fixed exporter must not leave its old output in place."""
    export()
    monkeypatch.setattr(exporting, "exporter_hash", lambda: "another")

    assert "2" == export(reuse=True).version


def test_the_exporters_hash_follows_its_files(tmp_path, monkeypatch):
    """Templates and sources count."""
    before = exporting.exporter_hash()
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "config.pbtxt").write_text("name: 'x'")
    monkeypatch.setattr(exporting, "templates_directory", lambda: templates)
    other = exporting.exporter_hash()
    (templates / "config.pbtxt").write_text("name: 'y'")

    assert 3 == len({before, other, exporting.exporter_hash()})


@pytest.mark.parametrize("reuse", [False, True])
def test_another_precision_is_refused(export, repository, reuse):
    """All versions of a repository share their configuration."""
    export()
    before = snapshot(repository)
    with pytest.raises(RepositoryError, match=r"precision fp32 \(there\) and fp16 \(new\)"):
        export(precision="fp16", reuse=reuse)

    assert before == snapshot(repository)


def test_another_shape_is_refused(export, repository, tiny_directory):
    """Every difference is named."""
    import torch

    export()
    before = snapshot(repository)
    head = {"weight": torch.ones(16, HIDDEN_SIZE), "bias": torch.ones(16)}
    torch.save(head, tiny_directory / "colbert_linear.pt")
    with pytest.raises(RepositoryError, match=r"colbert_size 24 \(there\) and 16 \(new\)\. All"):
        export(find_source(str(tiny_directory)))

    assert before == snapshot(repository)


def test_a_file_is_no_repository(export, repository):
    """It stays."""
    repository.parent.mkdir()
    repository.write_text("a letter")
    with pytest.raises(RepositoryError, match="is a file; choose a folder for --output"):
        export()

    assert "a letter" == repository.read_text()


def test_a_folder_of_something_else_is_refused(export, repository):
    """It stays, and so does what is in it."""
    repository.mkdir(parents=True)
    (repository / "letter").write_text("dear")
    with pytest.raises(RepositoryError, match=r"has no manifest\.json: it is not a repository"):
        export()

    assert ["letter"] == [path.name for path in repository.iterdir()]


def test_an_empty_folder_is_as_good_as_none(export, repository):
    """Somebody made it beforehand."""
    repository.mkdir(parents=True)

    assert "1" == export().version


def test_a_checkpoint_without_heads_fails_before_any_work(export, repository, tiny_directory):
    """Nothing was begun."""
    (tiny_directory / "colbert_linear.pt").unlink()
    with pytest.raises(CheckpointError, match=r"colbert_linear\.pt is missing"):
        export()

    assert_nothing_was_published(repository)


def test_a_checkpoint_without_weights_leaves_nothing(export, repository, tiny_directory):
    """Found out in the middle; what was written goes."""
    (tiny_directory / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds neither"):
        export()

    assert_nothing_was_published(repository)


def spoil_the_data(checkpoint, directory, precision, on_layer):
    """Write a graph, and then zeros over its position embeddings."""
    path = write_trunk_graph(checkpoint, directory, precision, on_layer)
    (positions,) = [
        tensor
        for tensor in onnx.load_model(str(path), load_external_data=False).graph.initializer
        if tensor.name == "position_embeddings"
    ]
    where = {entry.key: entry.value for entry in positions.external_data}
    with (directory / where["location"]).open("r+b") as data:
        data.seek(int(where["offset"]))
        data.write(bytes(int(where["length"])))
    return path


@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
def test_an_export_that_differs_is_not_published(export, repository, monkeypatch, exists):
    """The outputs that miss are named with their figures; a published version stays."""
    if exists:
        export()
    before = snapshot(repository)
    monkeypatch.setattr(exporting, "write_trunk_graph", spoil_the_data)
    with pytest.raises(ParityError) as caught:
        export()

    message = str(caught.value)
    for output in ("dense", "hidden_states", "sparse", "colbert"):
        assert re.search(rf"\n  {output}: smallest cosine -?0\.\d+ \(at least 0\.99999\)", message)
    assert "nothing was published" in message
    assert before == snapshot(repository)
    assert ([repository] if exists else []) == beside(repository)


def test_only_outputs_that_miss_are_named(export, repository, monkeypatch):
    """A head that is wrong is not the trunk's fault."""
    write_head = exporting._write_head

    def spoiled(head, path):
        if "sparse" in path.name:
            head = type(head)(head.weight + 0.01, head.bias)
        return write_head(head, path)

    monkeypatch.setattr(exporting, "_write_head", spoiled)
    with pytest.raises(ParityError) as caught:
        export()

    assert "\n  sparse: " in str(caught.value)
    assert not {"dense", "hidden_states", "colbert"} & set(str(caught.value).split(": ")[0].split())
    assert "\n  dense: " not in str(caught.value)
    assert "\n  colbert: " not in str(caught.value)
    assert_nothing_was_published(repository)


def test_a_representation_that_is_not_a_number_is_not_published(export, repository, monkeypatch):
    """No comparison with NaN may pass for "small enough"."""

    def broken(checkpoint, directory, precision, on_layer):
        path = write_trunk_graph(checkpoint, directory, precision, on_layer)
        data = np.memmap(path.with_name("model.onnx.data"), np.float32, "r+")
        data[-HIDDEN_SIZE:] = np.nan
        data.flush()
        return path

    monkeypatch.setattr(exporting, "write_trunk_graph", broken)
    with pytest.raises(Exception, match=r"not finite|: smallest cosine nan"):
        export()

    assert_nothing_was_published(repository)


@pytest.mark.parametrize(
    ("cosine", "difference", "holds"),
    [
        (0.99999, 1e-4, True),
        (0.999989, 1e-4, False),
        (1.0, 1.1e-4, False),
        (float("nan"), 0.0, False),
        (1.0, float("nan"), False),
    ],
)
def test_what_holds(cosine, difference, holds):
    """Both limits belong to what is allowed; NaN never does."""
    output = OutputParity(
        smallest_cosine=cosine,
        largest_difference=difference,
        tolerance=TOLERANCES["fp32"]["dense"],
    )

    assert holds is output.holds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: setattr(graph.output[0], "name", "embedding"), "embedding: float"),
        (
            lambda graph: setattr(graph.input[0].type.tensor_type, "elem_type", 7),
            "input_ids: int64",
        ),
        (
            lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 5),
            r"input_ids: int32 \[5\]",
        ),
        (
            lambda graph: setattr(graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 5),
            r"dense: float \[texts, 5\]",
        ),
    ],
    ids=["name", "type", "a fixed axis", "width"],
)
@pytest.mark.parametrize("file", GRAPHS)
def test_a_graph_of_another_interface_is_not_published(
    export, repository, monkeypatch, file, change, message
):
    """Before any value is compared: names, types, dynamic axes, widths."""

    def changed(checkpoint, directory, precision, on_layer):
        write_trunk_graph(checkpoint, directory, precision, on_layer)
        path = directory / file
        model = onnx.load_model(str(path), load_external_data=False)
        change(model.graph)
        path.write_bytes(model.SerializeToString())

    monkeypatch.setattr(exporting, "write_trunk_graph", changed)
    with pytest.raises(ParityError, match=f"the interface of {file} is .*{message}"):
        export()

    assert_nothing_was_published(repository)


def test_the_interface_depends_on_the_precision(tiny_checkpoint, tmp_path):
    """Hidden states of FP16 are not those of FP32."""
    graph = write_trunk_graph(tiny_checkpoint, tmp_path, "fp16")
    check_graph_contract(graph, HIDDEN_SIZE, "fp16")

    with pytest.raises(ParityError, match=r"hidden_states: float16 .*must be .*states: float \["):
        check_graph_contract(graph, HIDDEN_SIZE, "fp32")


L4 = EngineTarget(tensorrt="10.15.1.29", gpu="NVIDIA L4", compute_capability="8.9")
L40S = L4.model_copy(update={"gpu": "NVIDIA L40S"})


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make this a machine with a GPU and TensorRT, whose plans nobody has built before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def is_one_with(target: EngineTarget) -> None:
        builder = PlanBuilder(FakeTensorRT(), target)
        monkeypatch.setattr(exporting.PlanBuilder, "here", lambda: builder)

    is_one_with(L4)
    return is_one_with


@pytest.mark.usefixtures("machine")
def test_an_engine_is_part_of_its_version(export, repository, progress):
    """A file like the others, and what it was built for."""
    summary = export(engine="tensorrt")
    version = summary.manifest.versions["1"]
    plan = repository / "bge_m3_trunk" / "1" / PLAN_FILE

    assert L4 == version.engine
    assert file_sha256(plan) == version.files[f"bge_m3_trunk/1/{PLAN_FILE}"]
    assert "building the engine, which takes minutes" == progress.steps[-2]


def test_an_up_to_date_engine_is_reused(export, machine):
    """One for another GPU is not; and who asks for no engine takes any version."""
    export()
    with_engine = export(engine="tensorrt", reuse=True)
    again = export(engine="tensorrt", reuse=True)
    without = export(reuse=True)
    machine(L40S)
    elsewhere = export(engine="tensorrt", reuse=True)

    assert (False, True, True, False) == tuple(
        summary.reused for summary in (with_engine, again, without, elsewhere)
    )
    assert L40S == elsewhere.manifest.versions[elsewhere.version].engine


def test_an_engine_that_cannot_be_built_is_told_before_any_work(
    export, repository, progress, monkeypatch
):
    """Without TensorRT the graph is not even written."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="pip install tensorrt"):
        export(engine="tensorrt")

    assert [] == progress.steps
    assert_nothing_was_published(repository)


def test_versions_share_the_mix_that_tensorrt_is_planned_for(export):
    """Their configurations are one."""
    export(length_mix="queries")

    with pytest.raises(
        RepositoryError, match=r"length_mix queries \(there\) and documents \(new\)"
    ):
        export(length_mix="documents")


def test_a_disk_without_room_is_refused_before_any_work(export, repository, progress, monkeypatch):
    """The message says how much is needed, and how much there is."""
    monkeypatch.setattr(
        publishing.shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 2**20)
    )
    with pytest.raises(DiskSpaceError, match=r"needs 0\.1 GiB, and its disk has 0\.0 GiB left"):
        export()

    assert [] == progress.steps
    assert_nothing_was_published(repository)


@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
def test_a_disk_that_fills_up_leaves_nothing_behind(export, repository, monkeypatch, exists):
    """In the middle of the weights; a published version stays."""
    if exists:
        export()
    before = snapshot(repository)

    def full(checkpoint, directory, precision, on_layer):
        (directory / "model.onnx.data").write_bytes(bytes(1000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(exporting, "write_trunk_graph", full)
    with pytest.raises(DiskSpaceError, match="is full; make room"):
        export()

    assert before == snapshot(repository)
    assert ([repository] if exists else []) == beside(repository)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_noticed_while_the_heads_are_written(export, repository, monkeypatch):
    """By the real error of the system, on a device that is always full."""
    render = exporting.render_templates

    def with_full_device(shape, build, number):
        render(shape, build, number)
        (build / "bge_m3_sparse" / number / "sparse_linear.safetensors").symlink_to("/dev/full")

    monkeypatch.setattr(exporting, "render_templates", with_full_device)
    with pytest.raises(DiskSpaceError, match="is full"):
        export()

    assert_nothing_was_published(repository)


def test_killed_in_the_middle_leaves_the_published_repository(
    export, repository, tiny_source, progress, monkeypatch
):
    """No chance to clean up: the old version is whole, and the next export is not disturbed."""
    export()
    before = snapshot(repository)

    def killed(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(exporting, "check_graph_contract", killed)
    process = multiprocessing.get_context("fork").Process(
        target=export_checkpoint, args=(tiny_source, repository, "fp32", "cpu", progress)
    )
    process.start()
    process.join()
    monkeypatch.undo()
    after = snapshot(repository)

    assert -signal.SIGKILL == process.exitcode
    assert before == {path: value for path, value in after.items() if path.startswith("tiny/")}
    assert len(after) > len(before)
    assert "2" == export().version


def test_no_gpu_is_said_at_once(export, repository, progress, monkeypatch):
    """Before the graph is written; the message says what else would do."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cuda: PyTorch sees no NVIDIA GPU here"):
        export(device="cuda")

    assert [] == progress.steps
    assert_nothing_was_published(repository)


def test_an_onnx_runtime_without_cuda_is_said_to_be_one(export, repository, monkeypatch):
    """PyTorch sees a GPU, and ONNX Runtime is the package for CPUs."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(parity, "Reference", lambda checkpoint, device: None)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="install onnxruntime-gpu in place of onnxruntime"):
        export(device="cuda")

    assert_nothing_was_published(repository)


def test_long_texts_are_cut_to_what_the_model_takes(export, monkeypatch):
    """The tiny model has 512 positions; a larger one is compared on more."""
    monkeypatch.setattr(parity, "_LONG_TEXT_TOKENS", 100)
    shorter = export().parity
    monkeypatch.undo()

    assert export().parity.tokens > shorter.tokens + 400
