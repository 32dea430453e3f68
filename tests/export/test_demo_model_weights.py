"""The E5S1 reader, and the steps from its BERT to BGE-M3's layout."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from bgem3_export.demo_model.heads import sparse_head
from bgem3_export.demo_model.trunk import (
    encoder_tensors,
    pooled_states,
    pooling_layer_tensors,
    trunk_config,
)
from bgem3_export.demo_model.weights import Dimensions, Weights, read_weights
from bgem3_export.errors import WeightsFormatError

DIMENSIONS = Dimensions(
    hidden=32, layers=2, heads=2, intermediate=64, vocabulary=40, positions=64, token_types=2
)
FLOAT32, FOUR_BIT = 0, 1


def e5s1_file(tensors: dict[str, tuple[int, int, bytes]], magic: bytes = b"E5S1") -> bytes:
    """Lay out ``tensors``, each a type, a count of values and its bytes, as the format says."""
    pieces, character_map = b"<s>a", b"\x01\x02\x03"
    header = magic + struct.pack("<i", 1)
    header += struct.pack("<7i", 32, 2, 2, 64, 40, 64, 2) + struct.pack("<fi", 1e-12, 0)
    header += struct.pack("<5iQ", 2, 0, 2, 1, 3, len(pieces))
    header += struct.pack("<3I2f", 0, 3, 4, 0.0, -1.5) + pieces
    header += struct.pack("<iI", 0, len(character_map)) + character_map
    entry_bytes = sum(2 + len(name.encode()) + 21 for name in tensors)
    offset = len(header) + 4 + entry_bytes
    directory, data = struct.pack("<i", len(tensors)), b""
    for name, (kind, count, content) in tensors.items():
        directory += struct.pack("<H", len(name.encode())) + name.encode()
        directory += struct.pack("<BIQQ", kind, count, offset + len(data), len(content))
        data += content
    return header + directory + data


def random_weights() -> Weights:
    """A tiny BERT of random weights."""
    random = np.random.default_rng(0)
    hidden, intermediate = DIMENSIONS.hidden, DIMENSIONS.intermediate
    sizes = {"q": hidden, "k": hidden, "v": hidden, "ao": hidden, "fi": intermediate, "fo": hidden}
    shapes = {
        "emb.word": 40 * hidden,
        "emb.pos": 64 * hidden,
        "emb.type": 2 * hidden,
        "emb.ln.w": hidden,
        "emb.ln.b": hidden,
    }
    for layer in range(DIMENSIONS.layers):
        for name, rows in sizes.items():
            columns = intermediate if name == "fo" else hidden
            shapes |= {f"l{layer}.{name}.w": rows * columns, f"l{layer}.{name}.b": rows}
        for name in ("aln", "oln"):
            shapes |= {f"l{layer}.{name}.w": hidden, f"l{layer}.{name}.b": hidden}
    return Weights(
        DIMENSIONS,
        1e-12,
        {name: random.normal(0, 0.3, size).astype(np.float32) for name, size in shapes.items()},
    )


def as_torch(tensors):
    """Return NumPy arrays as a PyTorch state dict."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}


def test_header_is_read():
    """Sizes and ε come out of the header, ε as the decimal it was written as."""
    weights = read_weights(e5s1_file({}))

    assert (
        weights.dimensions,
        weights.layer_norm_epsilon,
        weights.tensors,
    ) == (DIMENSIONS, 1e-12, {})


def test_float32_tensors_are_read_as_they_are():
    """Type 0 holds plain values."""
    values = np.array([1.5, -2.25, 3e-8], dtype=np.float32)
    weights = read_weights(e5s1_file({"emb.ln.w": (FLOAT32, 3, values.tobytes())}))

    np.testing.assert_array_equal(values, weights.tensors["emb.ln.w"])


def test_four_bit_blocks_are_low_nibbles_then_high_nibbles():
    """A block is a half-precision scale and 16 bytes; a value is (nibble − 8) × scale."""
    random = np.random.default_rng(1)
    content, expected = b"", []
    for scale in (0.5, -0.125, 0.0):
        nibbles = [int(nibble) for nibble in random.integers(0, 16, 32)]
        content += struct.pack("<e", scale)
        content += bytes(nibbles[i] | nibbles[i + 16] << 4 for i in range(16))
        expected += [(nibble - 8) * scale for nibble in nibbles]
    weights = read_weights(e5s1_file({"l0.q.w": (FOUR_BIT, 96, content)}))

    assert expected == weights.tensors["l0.q.w"].tolist()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (e5s1_file({}, magic=b"GGUF"), "no E5S1 file"),
        (e5s1_file({})[:60], "ends? at byte 60"),
        (e5s1_file({"a": (FLOAT32, 2, bytes(8))})[:-1], "file holds 7"),
        (e5s1_file({"a": (FLOAT32, 3, bytes(8))}), "needs 12 bytes"),
        (e5s1_file({"a": (7, 2, bytes(8))}), "unknown type 7"),
    ],
)
def test_a_damaged_file_is_refused(content, reason):
    """Another format, a file cut short and a tensor of the wrong size are told apart."""
    with pytest.raises(WeightsFormatError, match=reason):
        read_weights(content)


def test_bert_and_its_xlm_roberta_form_give_the_same_hidden_states():
    """Two unused position rows and one token type make XLM-RoBERTa of BERT, with no difference."""
    weights = random_weights()
    tensors = encoder_tensors(weights, vocabulary=40)
    bert_tensors = tensors | {
        "embeddings.position_embeddings.weight": weights.tensors["emb.pos"].reshape(64, 32),
        "embeddings.token_type_embeddings.weight": weights.tensors["emb.type"].reshape(2, 32),
    }
    bert_config = trunk_config(weights, vocabulary=40, layers=2) | {
        "model_type": "bert",
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
    }
    bert = BertModel(BertConfig(**bert_config), add_pooling_layer=False).eval()
    bert.load_state_dict(as_torch(bert_tensors))
    config = XLMRobertaConfig(**trunk_config(weights, vocabulary=40, layers=2))
    xlm_roberta = XLMRobertaModel(config, add_pooling_layer=False).eval()
    xlm_roberta.load_state_dict(as_torch(tensors))
    ids = torch.tensor([[0, 7, 21, 39, 4, 2]])
    with torch.inference_mode():
        expected = bert(ids).last_hidden_state
        actual = xlm_roberta(ids).last_hidden_state

    assert expected.abs().max() > 0.5
    assert (expected - actual).abs().max() == 0.0


def test_positions_are_repeated_up_to_8192():
    """Behind two unused rows the trained rows follow one another again and again."""
    weights = random_weights()
    rows = encoder_tensors(weights, 40)["embeddings.position_embeddings.weight"]
    trained = weights.tensors["emb.pos"].reshape(64, 32)

    assert rows.shape == (8_194, 32)
    np.testing.assert_array_equal(trained, rows[2:66])
    np.testing.assert_array_equal(trained, rows[-64:])


def test_pooling_layer_adds_the_centred_mean_to_every_row():
    """One more ordinary layer computes LN(h + mean(h) − 2μ), whatever was below."""
    weights = random_weights()
    mean_state = np.random.default_rng(2).normal(size=32).astype(np.float32)
    config = XLMRobertaConfig(**trunk_config(weights, vocabulary=40, layers=3))
    model = XLMRobertaModel(config, add_pooling_layer=False).eval()
    tensors = encoder_tensors(weights, 40) | pooling_layer_tensors(weights, mean_state)
    model.load_state_dict(as_torch(tensors))
    with torch.inference_mode():
        states = model(torch.tensor([[0, 7, 21, 39, 2]]), output_hidden_states=True).hidden_states
    expected = pooled_states(states[-2][0].numpy(), mean_state, 1e-12)

    np.testing.assert_allclose(states[-1][0].numpy(), expected, atol=1e-5)


def test_sparse_head_learns_rarity_from_states():
    """Where rarity is linear in the state, the head gives 0.3 of it back."""
    states = np.random.default_rng(3).normal(loc=1, size=(5_000, 8)).astype(np.float32)
    rarity = 0.4 + 0.05 * states[:, 0] - 0.03 * states[:, 5]
    head = sparse_head(states, -4 - 14 * rarity.astype(np.float64))
    actual = states @ head["weight"][0] + head["bias"]

    np.testing.assert_allclose(actual, 0.3 * rarity, atol=1e-3)
