"""``manifest.json`` is read as it was written, and refused when it is not one of ours."""

from __future__ import annotations

import json
import re

import pytest

from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import Manifest, ModelShape, Version
from bgem3_export.parity import OutputParity, ParityReport, Tolerance


def version(source: str) -> Version:
    """Return a made-up version."""
    tolerance = Tolerance(smallest_cosine=0.999, largest_difference=None)
    parity = OutputParity(smallest_cosine=0.9999, largest_difference=1e-5, tolerance=tolerance)
    return Version(
        source=source,
        revision="abc",
        demo=False,
        created="2026-11-22T12:00:00+00:00",
        checked_on="cpu",
        exporter="def",
        tools={"python": "3.11.9"},
        files={"bge_m3_trunk/1/model.onnx": "0123"},
        parity=ParityReport(texts=26, tokens=2151, outputs={"dense": parity}),
    )


@pytest.fixture
def manifest() -> Manifest:
    """A manifest of three versions."""
    return Manifest(
        model=ModelShape(
            hidden_size=32,
            colbert_size=24,
            vocabulary_size=364,
            max_length_tokens=512,
            ignored_token_ids=(0, 1, 2, 3),
            precision="fp32",
        ),
        versions={"9": version("a"), "10": version("模型"), "2": version("c")},
    )


def test_it_is_read_as_it_was_written(manifest, tmp_path):
    """Every field, other scripts included."""
    manifest.write(tmp_path)

    assert manifest == Manifest.read(tmp_path)
    assert "模型" in (tmp_path / "manifest.json").read_text(encoding="utf-8")


def test_the_newest_version_is_the_highest_number(manifest):
    """10 is above 9, as Triton counts."""
    assert "10" == manifest.newest


def test_a_folder_without_one_is_no_repository(tmp_path):
    """Whatever else it holds is left alone."""
    with pytest.raises(
        RepositoryError, match=re.escape(f"{tmp_path} has no manifest.json: it is not a repository")
    ):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"format_version": 1', b'{"a": "\xff"}'],
    ids=["empty", "cut off", "not UTF-8"],
)
def test_damaged_json_is_refused(tmp_path, content):
    """With what the parser says."""
    (tmp_path / "manifest.json").write_bytes(content)

    with pytest.raises(RepositoryError, match=r"is damaged: .*; export again"):
        Manifest.read(tmp_path)


def test_another_format_is_refused(manifest, tmp_path):
    """It is not called damaged: another release wrote it."""
    manifest.write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))

    with pytest.raises(RepositoryError, match="has format 2, and this release writes format 1"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("model"),
        lambda content: content["model"].pop("precision"),
        lambda content: content["model"].update(precision="int3"),
        lambda content: content.update(surprise=True),
        lambda content: content.update(versions={}),
        lambda content: content["versions"].update(latest=content["versions"].pop("10")),
        lambda content: content["versions"].update({"0": content["versions"].pop("10")}),
        lambda content: content["versions"]["10"].pop("parity"),
    ],
    ids=[
        "no model",
        "no precision",
        "unknown precision",
        "unknown field",
        "no versions",
        "a version without a number",
        "a version 0",
        "no parity",
    ],
)
def test_a_manifest_of_another_structure_is_refused(manifest, tmp_path, change):
    """As damaged: nobody's release wrote it."""
    manifest.write(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))

    with pytest.raises(RepositoryError, match=r"(?s)is damaged: .*; export again"):
        Manifest.read(tmp_path)


def test_json_that_is_no_object_is_refused(tmp_path):
    """A list, say."""
    (tmp_path / "manifest.json").write_text("[]")

    with pytest.raises(RepositoryError, match=r"(?s)is damaged: .*; export again"):
        Manifest.read(tmp_path)
