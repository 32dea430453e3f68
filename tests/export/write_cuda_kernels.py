"""Write the kernels that ONNX Runtime's CUDA provider registers for the operators of some graphs.

The released library says so itself. Run it in an environment with ``onnxruntime-gpu`` and ``onnx``
whose CUDA libraries load, for each version that the graphs have to run on:

    python write_cuda_kernels.py data/cuda_kernels.json model.cuda.onnx
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.capi import _pybind_state


def operators(graph: onnx.GraphProto) -> set[tuple[str, str]]:
    """Return (domain, operator) of each node, those in branches included."""
    found = set()
    for node in graph.node:
        found.add((node.domain, node.op_type))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= operators(attribute.g)
    return found


def kernels(wanted: set[tuple[str, str]], opset: int) -> dict[str, list[dict[str, str]]]:
    """Return the CUDA provider's kernels as of one opset, by operator: types of each constraint."""
    found: dict[str, list[dict[str, str]]] = {}
    for kernel in _pybind_state.get_all_opkernel_def():
        first, last = kernel.version_range
        version = opset if kernel.domain == "" else 1
        if (
            kernel.provider == "CUDAExecutionProvider"
            and (kernel.domain, kernel.op_name) in wanted
            and first <= version <= last
        ):
            types = {
                name: " ".join(
                    sorted(kind.removeprefix("tensor(").removesuffix(")") for kind in kinds)
                )
                for name, kinds in sorted(kernel.type_constraints.items())
            }
            name = f"{kernel.domain or 'ai.onnx'}:{kernel.op_name}"
            found.setdefault(name, []).append(types)
    return {name: sorted(found[name], key=json.dumps) for name in sorted(found)}


def main(table: Path, graphs: list[Path]) -> None:
    """Add this environment's ONNX Runtime to the table."""
    models = [onnx.load_model(str(graph), load_external_data=False) for graph in graphs]
    wanted = set().union(*(operators(model.graph) for model in models))
    (opset,) = {
        entry.version for model in models for entry in model.opset_import if not entry.domain
    }
    content = json.loads(table.read_text(encoding="utf-8")) if table.exists() else {}
    content["source"] = "get_all_opkernel_def() of the released onnxruntime-gpu packages"
    content["opset"] = opset
    content.setdefault("kernels", {})[onnxruntime.__version__] = kernels(wanted, opset)
    lines = json.dumps(content, indent=1)
    table.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
