"""A checkpoint is read whole, or refused with a message that says what is wrong with which file."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import (
    COLBERT_SIZE,
    HIDDEN_SIZE,
    LAYERS,
    MAX_LENGTH_TOKENS,
    tiny_tokenizer,
    write_heads,
    write_tiny_checkpoint,
)
from tokenizers import Tokenizer, models

from bgem3_export.checkpoint import Checkpoint
from bgem3_export.errors import CheckpointError
from bgem3_export.trunk_graph import write_trunk_graph


def change_config(directory, **changes) -> None:
    """Change entries of ``config.json``; None takes one out."""
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def change_weights(directory, change) -> None:
    """Change the trunk's weights."""
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def refused(call, message: str) -> None:
    """Expect an error whose message begins with ``message``."""
    with pytest.raises(CheckpointError, match="^" + re.escape(message)):
        call()


def test_a_whole_checkpoint_is_read(tiny_checkpoint):
    """Shape, heads, tokenizer and special tokens."""
    config = tiny_checkpoint.config

    assert (HIDDEN_SIZE, LAYERS) == (config.hidden_size, config.layers)
    assert MAX_LENGTH_TOKENS == config.max_length_tokens
    assert (1, HIDDEN_SIZE) == tiny_checkpoint.sparse_head.weight.shape
    assert (COLBERT_SIZE, HIDDEN_SIZE) == tiny_checkpoint.colbert_head.weight.shape
    assert (COLBERT_SIZE,) == tiny_checkpoint.colbert_head.bias.shape
    assert (0, 1, 2, 3) == tiny_checkpoint.special_token_ids()
    assert tiny_checkpoint.tokenizer_file.is_file()


def test_heads_are_read_as_they_are(tiny_directory, tiny_checkpoint):
    """The very numbers of the file."""
    state = torch.load(tiny_directory / "colbert_linear.pt", weights_only=True)

    np.testing.assert_array_equal(state["weight"].numpy(), tiny_checkpoint.colbert_head.weight)
    np.testing.assert_array_equal(state["bias"].numpy(), tiny_checkpoint.colbert_head.bias)


def test_half_precision_checkpoints_are_read_in_full_precision(tiny_directory, tiny_checkpoint):
    """Weights and heads: what was stored in 16 bits is computed in 32."""
    change_weights(tiny_directory, lambda w: w.update({k: v.bfloat16() for k, v in w.items()}))
    head = torch.load(tiny_directory / "sparse_linear.pt", weights_only=True)
    torch.save({k: v.half() for k, v in head.items()}, tiny_directory / "sparse_linear.pt")
    name = "embeddings.word_embeddings.weight"
    weight = tiny_checkpoint.tensor(name, (tiny_checkpoint.config.vocabulary_size, HIDDEN_SIZE))

    assert np.float32 == weight.dtype == tiny_checkpoint.sparse_head.weight.dtype


@pytest.mark.parametrize("name", ["sparse_linear.pt", "colbert_linear.pt"])
def test_a_missing_head_is_never_replaced(tiny_directory, tiny_checkpoint, name):
    """The message says which file, and where to get it."""
    (tiny_directory / name).unlink()
    head = name.replace("linear.pt", "head")

    refused(
        lambda: getattr(tiny_checkpoint, head),
        f"{tiny_directory / name} is missing: the checkpoint must hold config.json",
    )


@pytest.mark.parametrize(
    ("file", "weight", "bias", "message"),
    [
        ("sparse", (1, 48), (1,), "holds weight [1, 48] and bias [1]; this trunk needs [1, 32]"),
        ("sparse", (2, 32), (2,), "holds weight [2, 32] and bias [2]; this trunk needs [1, 32]"),
        ("sparse", (32,), (1,), "holds weight [32] and bias [1]; this trunk needs [1, 32]"),
        ("sparse", (1, 32), (), "holds weight [1, 32] and bias []; this trunk needs [1, 32]"),
        (
            "colbert",
            (24, 48),
            (24,),
            "holds weight [24, 48] and bias [24]; this trunk needs [D, 32]",
        ),
        (
            "colbert",
            (24, 32),
            (16,),
            "holds weight [24, 32] and bias [16]; this trunk needs [D, 32]",
        ),
        ("colbert", (), (1,), "holds weight [] and bias [1]; this trunk needs [D, 32]"),
        ("colbert", (0, 32), (0,), "holds weight [0, 32] and bias [0]; this trunk needs [D, 32]"),
    ],
)
def test_a_misshapen_head_is_refused(tiny_directory, tiny_checkpoint, file, weight, bias, message):
    """A head of another model's, of another layer's, or of nothing."""
    path = tiny_directory / f"{file}_linear.pt"
    torch.save({"weight": torch.zeros(weight), "bias": torch.zeros(bias)}, path)

    refused(lambda: getattr(tiny_checkpoint, f"{file}_head"), f"{path} {message}")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.zeros(1, 32)}, "holds ['weight']; a head is one linear layer"),
        (
            {"0.weight": torch.zeros(1, 32), "0.bias": torch.zeros(1)},
            "holds ['0.bias', '0.weight']; a head is one linear layer",
        ),
        (torch.zeros(1, 32), "is not a state dict of tensors"),
        ({"weight": [1.0], "bias": [1.0]}, "is not a state dict of tensors"),
    ],
)
def test_a_file_that_is_no_head_is_refused(tiny_directory, tiny_checkpoint, state, message):
    """The message says what is there instead."""
    path = tiny_directory / "sparse_linear.pt"
    torch.save(state, path)

    refused(lambda: tiny_checkpoint.sparse_head, f"{path} {message}")


class _Code:
    """Runs a command when it is unpickled."""

    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("name", ["sparse_linear.pt", "pytorch_model.bin"])
def test_code_in_a_pickle_is_not_run(tiny_directory, tmp_path, name, legacy):
    """The file is refused, and nothing has happened; it does work where it is let."""
    marker = tmp_path / "ran"
    path = tiny_directory / name
    torch.save({"weight": _Code(marker)}, path, _use_new_zipfile_serialization=not legacy)
    (tiny_directory / "model.safetensors").unlink()
    checkpoint = Checkpoint(tiny_directory)

    def read():
        if name == "pytorch_model.bin":
            return checkpoint.tensor("embeddings.LayerNorm.weight", (HIDDEN_SIZE,))
        return checkpoint.sparse_head

    refused(read, f"{path} is damaged, or holds something other than tensors (code in it was not")
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("name", ["sparse_linear.pt", "pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:4a",
        lambda content: bytes(len(content)),
        lambda content: b"\x80\x02",
    ],
    ids=[
        "empty",
        "half",
        "one byte short",
        "a pointer to a large file",
        "zeros",
        "a pickle cut off",
    ],
)
def test_a_damaged_file_is_refused(tmp_path, name, damage):
    """Whatever the library that reads it makes of it."""
    write_tiny_checkpoint(
        tmp_path, weights_file=name if not name.startswith("sparse") else "model.safetensors"
    )
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    checkpoint = Checkpoint(tmp_path)

    def read():
        if name == "sparse_linear.pt":
            return checkpoint.sparse_head
        return checkpoint.tensor("embeddings.LayerNorm.weight", (HIDDEN_SIZE,))

    refused(read, f"{path} ")


def test_weights_from_before_pytorch_1_6_are_read(tmp_path):
    """They are no zip file, which is what can be mapped into memory."""
    model = write_tiny_checkpoint(tmp_path, weights_file="pytorch_model.bin")
    torch.save(
        model.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False
    )
    weight = Checkpoint(tmp_path).tensor("embeddings.LayerNorm.weight", (HIDDEN_SIZE,))

    np.testing.assert_array_equal(model.embeddings.LayerNorm.weight.detach().numpy(), weight)


def test_safetensors_come_before_pytorchs_format(tiny_directory):
    """As transformers chooses, which the export is compared with."""
    torch.save({}, tiny_directory / "pytorch_model.bin")

    assert Checkpoint(tiny_directory).tensor("embeddings.LayerNorm.weight", (HIDDEN_SIZE,)).any()


def test_a_missing_weight_is_named(tiny_directory, tiny_checkpoint, tmp_path):
    """A checkpoint with a hole in it is not exported."""
    name = "encoder.layer.1.output.dense.weight"
    change_weights(tiny_directory, lambda weights: weights.pop(name))

    refused(
        lambda: write_trunk_graph(tiny_checkpoint, tmp_path, "fp32"),
        f"the checkpoint in {tiny_directory} has no weight {name!r}: it is not a whole",
    )


@pytest.mark.parametrize(
    ("changes", "name", "there", "said"),
    [
        ({"hidden_size": 64}, "embeddings.word_embeddings.weight", [364, 32], [364, 64]),
        ({"vocab_size": 400}, "embeddings.word_embeddings.weight", [364, 32], [400, 32]),
        (
            {"max_position_embeddings": 1026},
            "embeddings.position_embeddings.weight",
            [514, 32],
            [1026, 32],
        ),
        (
            {"intermediate_size": 128},
            "encoder.layer.0.intermediate.dense.weight",
            [64, 32],
            [128, 32],
        ),
    ],
)
def test_weights_of_another_shape_are_refused(
    tiny_directory, tiny_checkpoint, tmp_path, changes, name, there, said
):
    """Weights and configuration that do not belong together."""
    change_config(tiny_directory, **changes)

    refused(
        lambda: write_trunk_graph(tiny_checkpoint, tmp_path, "fp32"),
        f"the weight {name!r} in {tiny_directory} is {there}, and config.json says {said}: the two",
    )


def test_no_weights_at_all(tiny_directory, tiny_checkpoint):
    """The message names the two files that would do."""
    (tiny_directory / "model.safetensors").unlink()

    refused(
        lambda: tiny_checkpoint.tensor("embeddings.LayerNorm.weight", (HIDDEN_SIZE,)),
        f"{tiny_directory} holds neither model.safetensors nor pytorch_model.bin: point at",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON: "),
        (b"", "is not valid JSON: "),
        (b'{"model_type": "\xff"}', "is not valid JSON: "),
        (b"[1, 2]", "does not hold a JSON object"),
    ],
)
def test_a_configuration_that_is_no_json_object(tiny_directory, tiny_checkpoint, content, message):
    """Damaged, or something else."""
    path = tiny_directory / "config.json"
    path.write_bytes(content)

    refused(lambda: tiny_checkpoint.config, f"{path} {message}")


def test_a_missing_configuration(tiny_directory, tiny_checkpoint):
    """The message says what a checkpoint must hold."""
    path = tiny_directory / "config.json"
    path.unlink()

    refused(lambda: tiny_checkpoint.config, f"{path} is missing: the checkpoint must hold")


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta-xl", "modernbert", None])
def test_another_architecture_is_refused(tiny_directory, tiny_checkpoint, model_type):
    """The type found is named, and what can be exported."""
    change_config(tiny_directory, model_type=model_type)

    refused(
        lambda: tiny_checkpoint.config,
        f"{tiny_directory / 'config.json'} describes a model of type {model_type!r}; only "
        "'xlm-roberta'",
    )


def test_another_activation_is_refused(tiny_directory, tiny_checkpoint):
    """The graph has GELU by its error function, and no approximation of it."""
    change_config(tiny_directory, hidden_act="gelu_new")

    refused(lambda: tiny_checkpoint.config, "the trunk's activation is 'gelu_new'; BGE-M3's is")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "'hidden_size': Field required"),
        ({"layer_norm_eps": None}, "'layer_norm_eps': Field required"),
        (
            {"num_hidden_layers": None, "vocab_size": None},
            "'num_hidden_layers': Field required; 'vocab_size': Field required",
        ),
        ({"vocab_size": "many"}, "'vocab_size': Input should be a valid integer"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers': Input should be greater than 0"),
        ({"pad_token_id": -1}, "'pad_token_id': Input should be greater than or equal to 0"),
    ],
)
def test_a_configuration_that_lacks_something(tiny_directory, tiny_checkpoint, changes, message):
    """All that is wrong is said at once, by the names in the file."""
    change_config(tiny_directory, **changes)

    refused(
        lambda: tiny_checkpoint.config,
        f"{tiny_directory / 'config.json'} is no trunk's: {message}",
    )


def test_a_missing_tokenizer(tiny_directory, tiny_checkpoint):
    """It is one of the files that a checkpoint must hold."""
    path = tiny_directory / "tokenizer.json"
    path.unlink()

    refused(lambda: tiny_checkpoint.tokenizer_file, f"{path} is missing")


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1.0"}', "nonsense"])
def test_a_damaged_tokenizer(tiny_directory, tiny_checkpoint, content):
    """What the library says is passed on."""
    path = tiny_directory / "tokenizer.json"
    path.write_text(content)

    refused(tiny_checkpoint.special_token_ids, f"{path} cannot be read: ")


@pytest.mark.parametrize("missing", ["<s>", "</s>", "<pad>", "<unk>"])
def test_a_tokenizer_without_the_special_tokens(tiny_directory, tiny_checkpoint, missing):
    """One is enough: the sparse head could not leave it out."""
    vocabulary = [token for token in ("<s>", "</s>", "<pad>", "<unk>", "a") if token != missing]
    path = tiny_directory / "tokenizer.json"
    Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary)}, "a")).save(str(path))

    refused(tiny_checkpoint.special_token_ids, f"{path} lacks one of the tokens <s>, </s>, <pad>")


def test_a_tokenizer_that_adds_no_special_tokens(tiny_directory, tiny_checkpoint):
    """Dense is the vector of ``<s>``: without one it would be some word's."""
    tokenizer = tiny_tokenizer()
    tokenizer.post_processor = None
    path = tiny_directory / "tokenizer.json"
    tokenizer.save(str(path))

    refused(tiny_checkpoint.special_token_ids, f"{path} does not put <s> and </s> around a text")


def test_a_tokenizer_that_pads_and_truncates_is_none_the_worse(tiny_directory, tiny_checkpoint):
    """Both are switched off wherever it is used."""
    tokenizer = tiny_tokenizer()
    tokenizer.enable_padding(length=8, pad_id=1, pad_token="<pad>")
    tokenizer.enable_truncation(8)
    tokenizer.save(str(tiny_directory / "tokenizer.json"))

    assert (0, 1, 2, 3) == tiny_checkpoint.special_token_ids()


def test_a_tokenizer_with_more_tokens_than_the_trunk(tiny_directory, tiny_checkpoint):
    """Its last ids would be outside the embeddings."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["one more"])
    path = tiny_directory / "tokenizer.json"
    tokenizer.save(str(path))

    refused(
        tiny_checkpoint.special_token_ids,
        f"{path} has 365 tokens, and the trunk knows 364: the tokenizer belongs to another model",
    )


def test_files_are_read_when_they_are_asked_for(tiny_directory):
    """A folder may lack what nobody wants."""
    for path in tiny_directory.iterdir():
        if path.name not in ("config.json", "sparse_linear.pt"):
            path.unlink()

    assert (1, HIDDEN_SIZE) == Checkpoint(tiny_directory).sparse_head.weight.shape


def test_heads_of_another_trunk_are_told_apart_from_none(tiny_directory, tmp_path):
    """The same file under a trunk of another width is refused."""
    other = tmp_path / "other"
    shutil.copytree(tiny_directory, other)
    change_config(other, hidden_size=64)
    write_heads(other)

    refused(
        lambda: Checkpoint(other).sparse_head,
        f"{other / 'sparse_linear.pt'} holds weight [1, 32] and bias [1]; this trunk needs [1, 64]",
    )
