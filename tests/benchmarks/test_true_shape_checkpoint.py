"""The random checkpoint, made small: its own writer of safetensors and the names of all weights."""

import pytest
import torch
from transformers import XLMRobertaModel

from bgem3_bench import true_shape_checkpoint
from bgem3_export.checkpoint import Checkpoint


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Return a checkpoint of the same layout, a thousandth of the size."""
    small = {"HIDDEN": 32, "LAYERS": 2, "HEADS": 4, "INTERMEDIATE": 64, "VOCABULARY": 500}
    for name, size in small.items():
        monkeypatch.setattr(true_shape_checkpoint, name, size)
    # Several pieces a matrix.
    monkeypatch.setattr(true_shape_checkpoint, "_ROWS_AT_A_TIME", 30)
    # The tokenizer is copied from a folder with these files.
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for name in true_shape_checkpoint._TOKENIZER_FILES:
        (tokenizer / name).write_text("{}")
    monkeypatch.setattr(true_shape_checkpoint, "demo_model", lambda progress: tokenizer)
    true_shape_checkpoint.write_true_shape_checkpoint(tmp_path / "first")
    return tmp_path / "first"


def test_transformers_finds_every_weight(directory):
    """None is missing, left over or misshapen, and layer norms leave the scale as it is."""
    model, report = XLMRobertaModel.from_pretrained(directory, output_loading_info=True)

    assert [] == sorted(report["missing_keys"])
    assert [] == sorted(report["unexpected_keys"])
    assert [] == sorted(report["mismatched_keys"])
    assert torch.equal(torch.ones(32), model.encoder.layer[1].output.LayerNorm.weight)
    assert model.embeddings.word_embeddings.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_exporter_reads_its_heads(directory):
    """One row for sparse weights, a square for ColBERT."""
    checkpoint = Checkpoint(directory)

    assert (1, 32) == checkpoint.sparse_head.weight.shape
    assert (32, 32) == checkpoint.colbert_head.weight.shape


def test_the_seed_decides_every_byte(directory, tmp_path):
    """The same seed gives the same file, another one another."""
    true_shape_checkpoint.write_true_shape_checkpoint(tmp_path / "same", seed=0)
    true_shape_checkpoint.write_true_shape_checkpoint(tmp_path / "other", seed=1)

    first, same, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "same", "other")
    )
    assert first == same
    assert first != other
