"""Export a checkpoint to ONNX with Optimum, nothing set by hand.

``python optimum_export.py CHECKPOINT FOLDER`` writes ``model.onnx`` and, from 2 GB on,
``model.onnx_data``, with the checkpoint's own tokenizer files beside them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

# Optimum saves the tokenizer again in another form; users of the folder are to see the original.
_TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentencepiece.bpe.model",
)


def main(checkpoint: Path, folder: Path) -> None:
    """Write the export."""
    from optimum.exporters.onnx import main_export

    main_export(
        str(checkpoint),
        str(folder),
        task="feature-extraction",
        library_name="transformers",
        device="cpu",
        # The benchmark compares values itself; Optimum's check needs the model twice in memory.
        do_validation=False,
    )
    for name in _TOKENIZER_FILES:
        shutil.copyfile(checkpoint / name, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
