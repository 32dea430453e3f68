"""The INT8 trunk is served where it was exported, passed, and is exact."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from bgem3_backend.errors import TrunkEngineError
from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk import choice
from bgem3_backend.trunk.choice import EngineChoice, choose_engine, load_engine
from bgem3_backend.trunk.int8 import INT8_GRAPH_FILE, int8_graph
from bgem3_backend.trunk.onnx_engine import OnnxEngine
from bgem3_export.manifest import Manifest

AMX = frozenset({"avx512_vnni", "amx_bf16", "amx_int8"})
VNNI = frozenset({"avx512_vnni"})
AVX2 = frozenset({"avx2"})
INT8 = BackendSettings(trunk_engine="openvino-int8", trunk_threads=1)


@pytest.fixture(scope="module")
def graph(demo_repository_int8) -> Path:
    """The demo model's ``model.onnx``, the INT8 graph beside it."""
    newest = Manifest.read(demo_repository_int8).newest
    return demo_repository_int8 / "bge_m3_trunk" / newest / "model.onnx"


@pytest.fixture(scope="module")
def texts() -> list[np.ndarray]:
    """Texts of unlike length."""
    random = np.random.default_rng(0)
    return [
        np.concatenate([[0], random.integers(4, 200_000, length), [2]]).astype(np.int32)
        for length in (3, 30, 1, 61)
    ]


def run(engine, texts) -> tuple[np.ndarray, np.ndarray]:
    """Compute texts together."""
    lengths = np.array([text.size for text in texts], np.int32)
    dense, states = engine.run(np.concatenate(texts), lengths)
    return dense, states


def test_the_int8_trunk_is_loaded_and_near_fp32(graph, texts):
    """Random ids are no text, so not as near as the gate asks for."""
    engine, chosen = load_engine(graph, INT8)
    dense, _ = run(engine, texts)
    expected, _ = run(OnnxEngine(graph, 1), texts)
    cosines = (dense * expected).sum(axis=1)

    assert "openvino-int8" == engine.description.name == chosen.name
    assert 0.98 < cosines.min()
    assert 0.9999999 > cosines.min()


def test_a_text_is_the_same_alone_and_in_a_batch(graph, texts):
    """Each token is scaled by its own range.

    Attention is FP32 and rounds by the shape of the batch; what differs in the last bit may then
    be rounded to the next of 256 values. So the limit is wider than in FP32, and still far from
    what INT8 itself costs.
    """
    engine, _ = load_engine(graph, INT8)
    dense, _ = run(engine, texts)
    alone = np.concatenate([run(engine, [text])[0] for text in texts])

    assert 0.9999 < (alone * dense).sum(axis=1).min()


def test_a_graph_that_did_not_pass_is_not_loaded(graph, tmp_path):
    """Whoever put it there."""
    for file in graph.parent.glob("model*.onnx*"):
        if file.suffix == ".data":
            (tmp_path / file.name).hardlink_to(file)
        else:
            shutil.copyfile(file, tmp_path / file.name)
    unmarked = onnx.load_model(str(tmp_path / INT8_GRAPH_FILE), load_external_data=False)
    del unmarked.metadata_props[:]
    onnx.save_model(unmarked, str(tmp_path / INT8_GRAPH_FILE))

    with pytest.raises(TrunkEngineError, match="does not say that it passed the accuracy gate"):
        load_engine(tmp_path / "model.onnx", INT8)


def test_auto_takes_int8_where_there_is_no_bf16(graph, monkeypatch):
    """What was exported with --int8 is there to be used."""
    monkeypatch.setattr(choice, "processor_features", lambda: VNNI)
    engine, chosen = load_engine(graph, BackendSettings(trunk_engine="auto", trunk_threads=1))

    assert "openvino-int8" == engine.description.name
    assert "the processor has avx512_vnni, and no BF16; INT8 was exported" == chosen.reason


def test_a_graph_with_the_heads_inside_has_no_int8(graph):
    """The INT8 trunk beside it gives other outputs."""
    assert int8_graph(graph) == graph.with_name(INT8_GRAPH_FILE)
    assert int8_graph(graph.with_name("model.heads.onnx")) is None


@pytest.mark.parametrize(
    ("features", "exported", "expected"),
    [(AMX, True, "openvino-bf16"), (VNNI, False, "openvino-fp32"), (AVX2, True, "openvino-fp32")],
)
def test_auto_takes_another_elsewhere(features, exported, expected):
    """BF16 is as fast and more accurate; without VNNI INT8 is not exact."""
    chosen = choose_engine("auto", features, openvino_installed=True, int8_exported=exported)

    assert expected == chosen.name


def test_what_is_asked_for_is_taken():
    """Beside BF16 too."""
    chosen = choose_engine("openvino-int8", AMX, openvino_installed=True, int8_exported=True)

    assert EngineChoice("openvino-int8", "BGEM3_TRUNK_ENGINE=openvino-int8") == chosen


@pytest.mark.parametrize(
    ("features", "exported", "message"),
    [
        (AVX2, True, "this processor has none of amx_int8, avx512_vnni, avx_vnni"),
        (VNNI, False, "there is no INT8 trunk: export the model with --int8"),
    ],
)
def test_what_cannot_be_had_is_refused(features, exported, message):
    """Not replaced in silence."""
    with pytest.raises(TrunkEngineError, match=message):
        choose_engine("openvino-int8", features, openvino_installed=True, int8_exported=exported)
