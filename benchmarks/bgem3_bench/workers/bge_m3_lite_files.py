"""Make bge-m3-lite's graph of an ONNX export, with its own tool where that knows the shape.

``python bge_m3_lite_files.py CHECKPOINT FOLDER EXPORT`` writes ``model.onnx`` with the output named
as the package wants it and, at BGE-M3's shape, ``model_fused.onnx`` by its ``fuse``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Final

_OUTPUT: Final = "token_embeddings"
_DATA_FILE: Final = "model.onnx_data"
# What `fuse` adds is of an older operator set than Optimum's: from 18 on, Split wants an attribute.
# None of the export's own operators changed between the two.
_OPSET: Final = 17


def main(checkpoint: Path, folder: Path, export: Path) -> None:
    """Write the graphs, and the weights beside them."""
    import onnx
    from bge_m3_lite import fuse

    model = onnx.load(str(export / "model.onnx"), load_external_data=False)
    output = model.graph.output[0]
    for node in model.graph.node:
        for number, name in enumerate(node.output):
            if name == output.name:
                node.output[number] = _OUTPUT
    output.name = _OUTPUT
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = min(opset.version, _OPSET)
    onnx.save_model(model, str(folder / "model.onnx"))
    if (export / _DATA_FILE).is_file():
        # A copy: onnx and ONNX Runtime refuse links of either kind.
        shutil.copyfile(export / _DATA_FILE, folder / _DATA_FILE)
    config = json.loads((checkpoint / "config.json").read_bytes())
    shape = config["num_attention_heads"], config["hidden_size"], config["num_hidden_layers"]
    if shape == (fuse.NUM_HEADS, fuse.HIDDEN_SIZE, 24):
        fuse.fuse(folder / "model.onnx")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
