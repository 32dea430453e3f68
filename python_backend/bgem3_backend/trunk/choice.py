"""Which engine runs the trunk here, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from bgem3_backend.errors import TrunkEngineError
from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk.engine import EngineName, TrunkEngine
from bgem3_backend.trunk.int8 import int8_graph
from bgem3_backend.trunk.processor import BF16_FEATURES, INT8_FEATURES, processor_features


@dataclass(frozen=True)
class EngineChoice:
    """What was chosen and why.

    Attributes:
        name: The engine.
        reason: For a log line: "the processor has amx_bf16".
    """

    name: EngineName
    reason: str


def choose_engine(
    asked: str, features: frozenset[str], *, openvino_installed: bool, int8_exported: bool = False
) -> EngineChoice:
    """Choose by what is asked for, what is installed and what the processor has.

    Args:
        asked: An engine, or "auto".
        features: From :func:`processor_features`.
        openvino_installed: Whether OpenVINO can be imported.
        int8_exported: Whether the export made an INT8 trunk.

    Raises:
        TrunkEngineError: What is asked for cannot be had here.
    """
    bf16 = next((feature for feature in BF16_FEATURES if feature in features), None)
    int8 = next((feature for feature in INT8_FEATURES if feature in features), None)
    if asked == "auto":
        if not openvino_installed:
            return EngineChoice("onnxruntime-fp32", "OpenVINO is not installed")
        if bf16 is not None:
            return EngineChoice("openvino-bf16", f"the processor has {bf16}")
        if int8 is not None and int8_exported:
            return EngineChoice(
                "openvino-int8", f"the processor has {int8}, and no BF16; INT8 was exported"
            )
        return EngineChoice("openvino-fp32", "the processor does not multiply BF16")
    if asked.startswith("openvino") and not openvino_installed:
        raise TrunkEngineError(
            f"BGEM3_TRUNK_ENGINE={asked}, but OpenVINO is not installed where Triton's Python "
            "models run: pip install openvino, or set it to 'auto'"
        )
    if asked == "openvino-bf16" and bf16 is None:
        raise TrunkEngineError(
            f"BGEM3_TRUNK_ENGINE={asked}, but this processor has neither "
            f"{' nor '.join(BF16_FEATURES)}: set it to 'auto'"
        )
    if asked == "openvino-int8" and int8 is None:
        raise TrunkEngineError(
            f"BGEM3_TRUNK_ENGINE={asked}, but this processor has none of "
            f"{', '.join(INT8_FEATURES)}, without which INT8 is not exact: set it to 'auto'"
        )
    if asked == "openvino-int8" and not int8_exported:
        raise TrunkEngineError(
            f"BGEM3_TRUNK_ENGINE={asked}, but there is no INT8 trunk: export the model with "
            "--int8 and serve it with the profile 'cpu', or set it to 'auto'"
        )
    for name in get_args(EngineName):
        if name == asked:
            return EngineChoice(name, f"BGEM3_TRUNK_ENGINE={asked}")
    raise AssertionError(f"no engine is called {asked!r}")


def load_engine(graph: Path, settings: BackendSettings) -> tuple[TrunkEngine, EngineChoice]:
    """Choose an engine for this machine and load the exported graph with it.

    Args:
        graph: The exported ``model.onnx``, its data file beside it.
        settings: Say which engine, or leave it open, and how many threads.

    Raises:
        TrunkEngineError: What is asked for cannot be had here.
        RuntimeError: The engine cannot load the graph.
    """
    int8 = int8_graph(graph)
    choice = choose_engine(
        settings.trunk_engine,
        processor_features(),
        openvino_installed=find_spec("openvino") is not None,
        int8_exported=int8 is not None,
    )
    # Imported here: an engine that is not chosen need not be installed, and takes no memory.
    if choice.name == "onnxruntime-fp32":
        from bgem3_backend.trunk.onnx_engine import OnnxEngine

        return OnnxEngine(graph, settings.trunk_threads), choice
    from bgem3_backend.trunk.openvino_engine import OpenVinoEngine

    if choice.name != "openvino-int8":
        return OpenVinoEngine(graph, settings.trunk_threads, choice.name), choice
    assert int8 is not None
    engine = OpenVinoEngine(int8, settings.trunk_threads, choice.name)
    if not engine.passed_gate:
        raise TrunkEngineError(
            f"{int8} does not say that it passed the accuracy gate, so it is not served: export "
            "the model again with --int8, or remove the file"
        )
    return engine, choice
