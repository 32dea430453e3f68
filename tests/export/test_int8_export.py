"""``bgem3 export --int8``: a trunk that passes the gate, or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgem3_backend.trunk.int8 import INT8_GRAPH_FILE
from bgem3_export.command import export
from bgem3_export.errors import DeviceError, QuantizationError
from bgem3_export.export import export_checkpoint
from bgem3_export.int8 import quantize
from bgem3_export.int8.report import QuantizationReport
from bgem3_export.int8.requirements import check_processor
from bgem3_export.manifest import Manifest

pytestmark = pytest.mark.usefixtures("_one_thread")


def run(*arguments: object):
    """Run the command in this process."""
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def a_report(**changes: object) -> QuantizationReport:
    """Return a report of a trunk that passed, but for some changes."""
    report = QuantizationReport(
        engine="openvino-int8",
        texts=26,
        tokens=2695,
        int8_share=0.9,
        fp32_layers=("layer_0_output",),
        dense_cosine=0.9995,
        sparse_difference=0.009,
        colbert_cosine=0.998,
    )
    return report.model_copy(update=changes)


def test_the_demo_model_has_an_int8_trunk_that_passes(demo_repository_int8):
    """At least half of it in INT8, and as near to FP32 as was promised."""
    manifest = Manifest.read(demo_repository_int8)
    version = manifest.versions[manifest.newest]
    report = version.quantization

    assert 0.999 <= report.dense_cosine < 1
    assert 0 < report.sparse_difference <= 0.01
    assert 0.5 <= report.int8_share <= 1
    assert f"bge_m3_trunk/{manifest.newest}/{INT8_GRAPH_FILE}" in version.files


def test_the_command_shows_what_the_gate_found(demo_repository_int8):
    """The share in INT8 and both figures, with their limits."""
    result = run("demo", "--output", demo_repository_int8, "--int8", "--reuse")
    manifest = Manifest.read(demo_repository_int8)
    report = manifest.versions[manifest.newest].quantization

    assert 0 == result.exit_code
    assert (
        f"INT8: {report.int8_share:.0%} of the linear layers' multiplications; smallest cosine of "
        f"dense vectors {report.dense_cosine:.5f} (at least 0.999), sparse weights within "
        f"{report.sparse_difference:.2%} of the largest (at most 1%)\n"
    ) in result.stdout


def test_an_inaccurate_trunk_is_refused(tiny_source, tmp_path, progress, monkeypatch):
    """The error has the figures; nothing is published, not even the FP32 trunk.

    Where it is hopeless, no time is spent on searching for layers that are accurate.
    """
    quantized = quantize.quantize_linear

    def with_bad_scales(*arguments):
        layer = quantized(*arguments)
        return replace(layer, scale=layer.scale * 1.5)

    monkeypatch.setattr(quantize, "quantize_linear", with_bad_scales)
    repository = tmp_path / "repository"

    with pytest.raises(
        QuantizationError, match=r"^with 100% of .* smallest cosine .* \(at least 0\.999\)"
    ):
        export_checkpoint(tiny_source, repository, "fp32", "cpu", progress, int8=True)
    assert not repository.exists()
    assert "INT8: finding the layers that suffer most" not in progress.steps


def test_a_repository_without_int8_is_not_reused_for_it(tiny_source, tmp_path, progress):
    """It is made anew, and whoever asks for no INT8 takes either."""
    repository = tmp_path / "repository"
    export_checkpoint(tiny_source, repository, "fp32", "cpu", progress)
    without = Manifest.read(repository)
    version = without.versions["1"].model_copy(update={"quantization": a_report()})
    without.model_copy(update={"versions": {"1": version}}).write(repository)
    again = export_checkpoint(
        tiny_source, repository, "fp32", "cpu", progress, reuse=True, int8=True
    )

    assert again.reused
    assert a_report() == again.manifest.versions["1"].quantization


def test_int8_is_made_from_an_fp32_trunk_alone(tiny_directory, tmp_path):
    """FP16 is for GPUs."""
    result = run(
        tiny_directory, "--output", tmp_path / "repository", "--int8", "--precision", "fp16"
    )

    assert 2 == result.exit_code
    assert "--int8 is made from an FP32 trunk: add --precision fp32" in result.stderr


@pytest.mark.parametrize(
    ("changes", "accurate"),
    [
        ({}, True),
        ({"dense_cosine": 0.99899}, False),
        ({"sparse_difference": 0.0101}, False),
        ({"dense_cosine": float("nan")}, False),
        ({"sparse_difference": float("nan")}, False),
    ],
)
def test_both_limits_count(changes, accurate):
    """NaN passes neither."""
    assert accurate == a_report(**changes).is_accurate


@pytest.mark.parametrize(
    ("changes", "excess"),
    [
        ({"dense_cosine": 0.999, "sparse_difference": 0.0}, 1.0),
        ({"dense_cosine": 0.996, "sparse_difference": 0.0}, 2.0),
        ({"dense_cosine": 1.0000001, "sparse_difference": 0.03}, 3.0),
    ],
)
def test_the_excess_counts_in_errors(changes, excess):
    """1 is the limit, of dense vectors by their angle."""
    assert excess == pytest.approx(a_report(**changes).excess)


def test_a_processor_that_saturates_is_refused():
    """Before any work is done."""
    with pytest.raises(DeviceError, match="--int8: this processor does not add INT8 products"):
        check_processor(frozenset({"avx2", "avx512f"}))
    check_processor(frozenset({"avx2", "avx_vnni"}))


@pytest.fixture
def counts() -> list[int]:
    """How many layers were tried."""
    return []


@pytest.mark.parametrize("most", range(50, 101, 7))
def test_as_many_layers_are_int8_as_pass(counts, most):
    """The search ends close to the most, with a graph that passed as the last one written."""
    layers = [quantize.LinearLayer(f"layer_{n}", (), 8, 8) for n in range(100)]

    def attempt(int8_layers):
        counts.append(len(int8_layers))
        passes = len(int8_layers) <= most
        return a_report(int8_share=len(int8_layers) / 100, dense_cosine=0.9995 if passes else 0.9)

    report = quantize._most_that_pass(layers, attempt)

    assert report.is_accurate
    assert most - 4 < counts[-1] <= most
    assert counts[-1] / 100 == report.int8_share
    assert 8 >= len(counts)


def test_too_little_in_int8_is_refused(counts):
    """It would hardly be faster than FP32."""
    layers = [quantize.LinearLayer(f"layer_{n}", (), 8, 8) for n in range(100)]

    with pytest.raises(QuantizationError, match="This checkpoint is not fit for INT8"):
        quantize._most_that_pass(layers, lambda int8_layers: a_report(dense_cosine=0.99))


def test_the_int8_graph_is_marked(demo_repository_int8: Path):
    """With the figures: an engine loads no other."""
    manifest = Manifest.read(demo_repository_int8)
    graph = demo_repository_int8 / "bge_m3_trunk" / manifest.newest / INT8_GRAPH_FILE
    import onnx

    (entry,) = onnx.load_model(str(graph), load_external_data=False).metadata_props

    assert "bgem3_accuracy_gate" == entry.key
    assert manifest.versions[manifest.newest].quantization == (
        QuantizationReport.model_validate_json(entry.value)
    )
