"""Which engine runs the CPU trunk, by settings, installation and processor."""

from __future__ import annotations

import numpy as np
import pytest

from bgem3_backend.errors import TrunkEngineError
from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk.choice import EngineChoice, choose_engine, load_engine
from bgem3_backend.trunk.processor import processor_features

AMX = frozenset({"avx2", "avx512f", "amx_bf16", "avx512_bf16"})
AVX512_BF16 = frozenset({"avx2", "avx512f", "avx512_bf16"})
AVX2 = frozenset({"avx2"})


@pytest.mark.parametrize(
    ("features", "installed", "expected"),
    [
        (AMX, True, EngineChoice("openvino-bf16", "the processor has amx_bf16")),
        (AVX512_BF16, True, EngineChoice("openvino-bf16", "the processor has avx512_bf16")),
        (AVX2, True, EngineChoice("openvino-fp32", "the processor does not multiply BF16")),
        (frozenset(), True, EngineChoice("openvino-fp32", "the processor does not multiply BF16")),
        (AMX, False, EngineChoice("onnxruntime-fp32", "OpenVINO is not installed")),
    ],
)
def test_auto_takes_the_fastest_that_is_there(features, installed, expected):
    """BF16 where the processor multiplies it; ONNX Runtime where OpenVINO is not installed."""
    assert expected == choose_engine("auto", features, openvino_installed=installed)


@pytest.mark.parametrize("asked", ["openvino-bf16", "openvino-fp32", "onnxruntime-fp32"])
def test_what_is_asked_for_is_taken(asked):
    """The reason names the setting."""
    choice = choose_engine(asked, AMX, openvino_installed=True)

    assert EngineChoice(asked, f"BGEM3_TRUNK_ENGINE={asked}") == choice


@pytest.mark.parametrize(
    ("asked", "features", "installed", "message"),
    [
        ("openvino-fp32", AMX, False, "OpenVINO is not installed .* pip install openvino"),
        ("openvino-bf16", AMX, False, "OpenVINO is not installed .* pip install openvino"),
        ("openvino-bf16", AVX2, True, "neither amx_bf16 nor avx512_bf16: set it to 'auto'"),
    ],
)
def test_what_cannot_be_had_is_refused(asked, features, installed, message):
    """Not replaced in silence: whoever asks for an engine would measure another."""
    with pytest.raises(TrunkEngineError, match=message):
        choose_engine(asked, features, openvino_installed=installed)


def test_the_processors_features_are_linuxs_names():
    """Every x86-64 processor that runs this project's wheels has SSE2."""
    assert "sse2" in processor_features()


def test_the_engine_that_is_asked_for_is_loaded(tiny_graph):
    """By the settings of the process, with their threads."""
    settings = BackendSettings(trunk_engine="onnxruntime-fp32", trunk_threads=1)
    engine, choice = load_engine(tiny_graph, settings)
    dense, hidden_states = engine.run(np.array([0, 5, 2], np.int32), np.array([3], np.int32))

    assert "onnxruntime-fp32" == choice.name == engine.description.name
    assert 1 == engine.description.threads
    assert (1, 3) == (dense.shape[0], hidden_states.shape[0])


def test_auto_loads_what_was_chosen(tiny_graph):
    """On this processor, whichever it is."""
    engine, choice = load_engine(tiny_graph, BackendSettings())

    assert choice.name == engine.description.name
