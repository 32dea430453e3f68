"""A checkpoint in BGE-M3's layout: configuration, weights, the two heads and the tokenizer."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from safetensors import safe_open

from bgem3_export.errors import CheckpointError

CONFIG_FILE: Final = "config.json"
TOKENIZER_FILE: Final = "tokenizer.json"
SPARSE_HEAD_FILE: Final = "sparse_linear.pt"
COLBERT_HEAD_FILE: Final = "colbert_linear.pt"
SAFETENSORS_FILE: Final = "model.safetensors"
PYTORCH_FILE: Final = "pytorch_model.bin"

_SUPPORTED_MODEL_TYPE: Final = "xlm-roberta"
# Checkpoints saved from a model with a task head carry this in front of every trunk weight.
_TASK_MODEL_PREFIX: Final = "roberta."


class TrunkConfig(BaseModel):
    """The shape of an XLM-RoBERTa trunk, read from the names that transformers gives it."""

    model_config = ConfigDict(frozen=True)

    hidden_size: PositiveInt
    layers: PositiveInt = Field(validation_alias="num_hidden_layers")
    heads: PositiveInt = Field(validation_alias="num_attention_heads")
    intermediate_size: PositiveInt
    vocabulary_size: PositiveInt = Field(validation_alias="vocab_size")
    positions: PositiveInt = Field(validation_alias="max_position_embeddings")
    token_types: PositiveInt = Field(validation_alias="type_vocab_size")
    pad_token_id: NonNegativeInt
    layer_norm_epsilon: float = Field(validation_alias="layer_norm_eps")

    @property
    def max_length_tokens(self) -> int:
        """The longest text: position ids begin behind the padding position."""
        return self.positions - self.pad_token_id - 1


@dataclass(frozen=True)
class LinearHead:
    """One linear layer: weight [out, in] and bias [out], FP32."""

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


class Checkpoint:
    """A directory that holds a checkpoint; its files are read when they are asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @cached_property
    def config(self) -> TrunkConfig:
        """The trunk's shape.

        Raises:
            CheckpointError: No readable configuration, or not an XLM-RoBERTa as BGE-M3 uses it.
        """
        raw = self._read_json(CONFIG_FILE)
        model_type = raw.get("model_type")
        if model_type != _SUPPORTED_MODEL_TYPE:
            raise CheckpointError(
                f"{self.directory / CONFIG_FILE} describes a model of type {model_type!r}; "
                f"only {_SUPPORTED_MODEL_TYPE!r} (BGE-M3 and models fine-tuned from it) can be "
                "exported"
            )
        if raw.get("hidden_act", "gelu") != "gelu":
            raise CheckpointError(
                f"the trunk's activation is {raw['hidden_act']!r}; BGE-M3's is 'gelu', and the "
                "exported graph has no other"
            )
        try:
            return TrunkConfig.model_validate(raw)
        except ValidationError as error:
            wrong = "; ".join(f"{item['loc'][0]!r}: {item['msg']}" for item in error.errors())
            raise CheckpointError(
                f"{self.directory / CONFIG_FILE} is no trunk's: {wrong}"
            ) from error

    @cached_property
    def sparse_head(self) -> LinearHead:
        """The sparse head, H to 1.

        Raises:
            CheckpointError: The file is missing, unreadable or of another shape.
        """
        return self._head(SPARSE_HEAD_FILE, rows=1)

    @cached_property
    def colbert_head(self) -> LinearHead:
        """The ColBERT head, H to D; D is what the file says.

        Raises:
            CheckpointError: The file is missing, unreadable or of another shape.
        """
        return self._head(COLBERT_HEAD_FILE, rows=None)

    @property
    def tokenizer_file(self) -> Path:
        """The path of ``tokenizer.json``.

        Raises:
            CheckpointError: The file is missing.
        """
        return self._existing(TOKENIZER_FILE)

    def special_token_ids(self) -> tuple[int, ...]:
        """The ids that the sparse head leaves out: of cls, eos, pad and unk (not of mask).

        Source: FlagEmbedding 1.4.2, ``M3Embedder`` (``unused_tokens``).

        Raises:
            CheckpointError: The tokenizer names no such tokens.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.tokenizer_file))
        except Exception as error:
            raise CheckpointError(f"{self.tokenizer_file} cannot be read: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        found = [tokenizer.token_to_id(token) for token in ("<s>", "</s>", "<pad>", "<unk>")]
        ids = [token_id for token_id in found if token_id is not None]
        if len(ids) < len(found):
            raise CheckpointError(
                f"{self.tokenizer_file} lacks one of the tokens <s>, </s>, <pad>, <unk>: not an "
                "XLM-RoBERTa tokenizer"
            )
        if tokenizer.encode("").tokens != ["<s>", "</s>"]:
            raise CheckpointError(
                f"{self.tokenizer_file} does not put <s> and </s> around a text: not an "
                "XLM-RoBERTa tokenizer"
            )
        if tokenizer.get_vocab_size() > self.config.vocabulary_size:
            raise CheckpointError(
                f"{self.tokenizer_file} has {tokenizer.get_vocab_size()} tokens, and the trunk "
                f"knows {self.config.vocabulary_size}: the tokenizer belongs to another model"
            )
        return tuple(sorted(ids))

    def tensor(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Read one weight of the trunk as FP32; the name is transformers' ``XLMRobertaModel``'s.

        Raises:
            CheckpointError: No such weight, one of another shape, or no weights at all.
        """
        for candidate in (name, _TASK_MODEL_PREFIX + name):
            if candidate in self._tensor_names:
                value = self._read_tensor(candidate)
                if value.shape != shape:
                    raise CheckpointError(
                        f"the weight {candidate!r} in {self.directory} is {list(value.shape)}, and "
                        f"{CONFIG_FILE} says {list(shape)}: the two belong to different models"
                    )
                return value
        raise CheckpointError(
            f"the checkpoint in {self.directory} has no weight {name!r}: it is not a whole "
            "XLM-RoBERTa trunk"
        )

    @cached_property
    def _safetensors(self) -> Any | None:  # noqa: ANN401 - safetensors ships no type for it
        path = self.directory / SAFETENSORS_FILE
        if not path.is_file():
            return None
        try:
            return safe_open(str(path), framework="pt")
        except Exception as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    @cached_property
    def _pytorch_state(self) -> Mapping[str, torch.Tensor]:
        path = self.directory / PYTORCH_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{self.directory} holds neither {SAFETENSORS_FILE} nor {PYTORCH_FILE}: "
                "point at the folder that holds the checkpoint's files"
            )
        # Mapped, so that 2.3 GB of weights are read a tensor at a time; the format of before
        # PyTorch 1.6 cannot be.
        return _load_pytorch(path, mmap=zipfile.is_zipfile(path))

    @cached_property
    def _tensor_names(self) -> frozenset[str]:
        if self._safetensors is not None:
            return frozenset(self._safetensors.keys())
        return frozenset(self._pytorch_state)

    def _read_tensor(self, name: str) -> npt.NDArray[np.float32]:
        tensor = (
            self._safetensors.get_tensor(name)
            if self._safetensors is not None
            else self._pytorch_state[name]
        )
        return np.asarray(tensor.float().numpy(), np.float32)

    def _head(self, file: str, rows: int | None) -> LinearHead:
        path = self._existing(file)
        state = _load_pytorch(path, mmap=False)
        if not {"weight", "bias"} <= set(state):
            raise CheckpointError(
                f"{path} holds {sorted(state)}; a head is one linear layer, 'weight' and 'bias'"
            )
        weight = state["weight"].float().numpy()
        bias = state["bias"].float().numpy()
        fits = weight.ndim == 2 and weight.shape == (rows or len(weight), self.config.hidden_size)
        if not fits or weight.size == 0 or bias.shape != weight.shape[:1]:
            wanted = f"[{rows or 'D'}, {self.config.hidden_size}] and [{rows or 'D'}]"
            raise CheckpointError(
                f"{path} holds weight {list(weight.shape)} and bias {list(bias.shape)}; this "
                f"trunk needs {wanted}: the head belongs to another model"
            )
        return LinearHead(np.ascontiguousarray(weight), np.ascontiguousarray(bias))

    def _existing(self, file: str) -> Path:
        path = self.directory / file
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing: the checkpoint must hold {CONFIG_FILE}, {TOKENIZER_FILE}, "
                f"{SAFETENSORS_FILE} or {PYTORCH_FILE}, {SPARSE_HEAD_FILE} and {COLBERT_HEAD_FILE} "
                "as BAAI/bge-m3 does; copy the missing file from where the model came from"
            )
        return path

    def _read_json(self, file: str) -> dict[str, Any]:
        path = self._existing(file)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} does not hold a JSON object")
        return content


def _load_pytorch(path: Path, *, mmap: bool) -> Mapping[str, torch.Tensor]:
    """Load a state dict without running code from the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:
        # A damaged pickle can raise anything, and PyTorch's own message advises to run its code.
        raise CheckpointError(
            f"{path} is damaged, or holds something other than tensors (code in it was not run): "
            "fetch it again from where the model came from"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise CheckpointError(f"{path} is not a state dict of tensors")
    return state
