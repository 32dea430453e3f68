"""The folder layout by which sentence-transformers' loader knows how to pool."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


@contextmanager
def sentence_transformers_layout(checkpoint: Path, max_length: int) -> Iterator[Path]:
    """Give a folder with the checkpoint's files and the modules that BAAI/bge-m3 comes with.

    A checkpoint that has them is given as it is. Without them the library would take the mean of
    all tokens. The folder is a temporary one of links.
    """
    if (checkpoint / "modules.json").is_file():
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="bgem3-layout-") as name:
        folder = Path(name)
        for file in checkpoint.resolve().iterdir():
            (folder / file.name).symlink_to(file)
        modules = [
            {
                "idx": number,
                "name": str(number),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, (path, kind) in enumerate(_MODULES)
        ]
        hidden = json.loads((checkpoint / "config.json").read_bytes())["hidden_size"]
        _write(folder / "modules.json", modules)
        _write(
            folder / "sentence_bert_config.json",
            {"max_seq_length": max_length, "do_lower_case": False},
        )
        for path, _ in _MODULES[1:]:
            (folder / path).mkdir()
        _write(
            folder / "1_Pooling" / "config.json",
            {
                "word_embedding_dimension": hidden,
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False,
                "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
            },
        )
        yield folder


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
