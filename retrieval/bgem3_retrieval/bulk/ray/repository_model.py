"""A model repository without a server: tokenizer, trunk and heads in this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bgem3_backend.colbert import ColbertHead
from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    COLBERT_HEAD,
    COLBERT_LENGTHS,
    DENSE,
    FULL_TOKEN_LENGTHS,
    SPARSE,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKEN_TEXTS,
    TOKENIZER,
    TOKENS,
    TRUNK,
    Tensor,
)
from bgem3_backend.errors import InvalidRequestError, NotFiniteError, TrunkEngineError
from bgem3_backend.failed_allocation import is_failed_allocation
from bgem3_backend.heads import LinearHead
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.settings import BackendSettings
from bgem3_backend.sparse import SparseHead
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_backend.token_texts import TABLE_FILE, TokenTexts
from bgem3_backend.trunk import Trunk, TrunkOutput
from bgem3_backend.trunk.choice import load_engine
from bgem3_backend.trunk.engine import TrunkEngine
from bgem3_client.errors import InternalServerError, ServerOutOfMemoryError
from bgem3_client.transports import InferRequest
from bgem3_client.transports.base import failure, refusal
from bgem3_export.manifest import Manifest
from bgem3_retrieval.errors import ClusterError

Device = Literal["cpu", "cuda"]


class RepositoryModel:
    """The newest version of a repository, loaded: what its ensemble answers, computed here.

    The numbers are a server's with the same engine. Requests are computed one by one, so an
    answer depends on its own request alone.
    """

    def __init__(self, repository: Path, threads: int, device: Device) -> None:
        """Load it.

        Args:
            repository: Made by ``bgem3 export``.
            threads: For the trunk on a CPU; its engine is ``BGEM3_TRUNK_ENGINE``'s.
            device: Where the trunk and the heads are; "cuda" needs onnxruntime-gpu.

        Raises:
            RepositoryError: It has no manifest, or a damaged one.
            ClusterError: It cannot be loaded on this machine.
        """
        manifest = Manifest.read(repository)
        self._shape = manifest.model
        self._repository = repository
        self._version = manifest.newest
        self._device = torch.device(device)
        self._max_length_tokens = self._shape.max_length_tokens
        settings = BackendSettings(trunk_threads=threads)
        torch.set_num_threads(settings.head_threads)
        with _loading(repository):
            self._tokenizer = TextTokenizer(self._file(TOKENIZER.name, "tokenizer.json"))
            engine = _engine(self._file(TRUNK.name, "model.onnx"), settings, device)
            self._trunk = Trunk(engine, settings.microbatch_tokens)
            self._sparse = SparseHead(
                self._head(SPARSE.name, "sparse_linear.safetensors"),
                self._shape.ignored_token_ids,
                self._shape.vocabulary_size,
            )
            self._colbert = ColbertHead(self._head(COLBERT_HEAD.name, "colbert_linear.safetensors"))
        self.model_version: str = self._version
        self.output_shapes: dict[str, tuple[int, ...]] = {
            DENSE.name: (-1, -1, self._shape.hidden_size),
            COLBERT.name: (-1, -1, self._shape.colbert_size),
        }

    def answer(self, request: InferRequest) -> dict[str, NDArray[Any]]:
        """Return the tensors that a request asks for, by name, the leading 1 included.

        Raises:
            InvalidInputError: A text cannot be encoded; ``index`` names it.
            ServerOutOfMemoryError: There is not enough memory for the request.
            NotFiniteError: The model gave NaN or infinity; ``index`` names the text.
            InternalServerError: The model failed.
        """
        names = {tensor.name for tensor in request.outputs}
        with _answering():
            tensors = self._compute(request, names)
        return {name: tensors[name][np.newaxis] for name in names}

    def _compute(self, request: InferRequest, names: set[str]) -> dict[str, NDArray[Any]]:
        truncation = Truncation.from_parameters(dict(request.parameters), self._max_length_tokens)
        encodings = self._tokenizer.encode([text.decode() for text in request.texts])
        tokenized = self._tokenizer.pack(encodings, truncation)
        texts = tokenized.texts
        tensors: dict[str, NDArray[Any]] = {
            TOKEN_LENGTHS.name: texts.lengths,
            FULL_TOKEN_LENGTHS.name: tokenized.full_lengths,
            TOKEN_IDS.name: texts.input_ids,
        }
        if TOKENS.name in names:
            tensors[TOKENS.name] = self._token_texts(texts.input_ids)
        wants_sparse = not names.isdisjoint(_names(SPARSE.outputs))
        wants_colbert = not names.isdisjoint(_names((COLBERT, COLBERT_FP16, COLBERT_LENGTHS)))
        if DENSE.name not in names and not wants_sparse and not wants_colbert:
            return tensors
        output = self._run(texts, TRUNK.outputs if wants_sparse or wants_colbert else (DENSE,))
        tensors[DENSE.name] = output.dense
        if wants_sparse or wants_colbert:
            tensors |= self._heads(texts, output, wants_sparse, wants_colbert)
        return tensors

    def _run(self, texts: PackedTexts, outputs: Sequence[Tensor]) -> TrunkOutput:
        ((_, output),) = self._trunk.run([texts], lambda tokens, padded_tokens: None, outputs)
        if bad := output.not_finite_texts(texts.lengths):
            raise NotFiniteError("a vector", bad)
        return output

    @torch.inference_mode()
    def _heads(
        self, texts: PackedTexts, output: TrunkOutput, wants_sparse: bool, wants_colbert: bool
    ) -> dict[str, NDArray[Any]]:
        found: dict[str, torch.Tensor] = {}
        states = torch.from_numpy(output.hidden_states).to(self._device)
        lengths = torch.from_numpy(texts.lengths).to(self._device).long()
        if wants_sparse:
            ids = torch.from_numpy(texts.input_ids).to(self._device).long()
            sparse = self._sparse(states, ids, lengths)
            found[SPARSE_INDICES.name] = sparse.indices
            found[SPARSE_VALUES.name] = sparse.values
            found[SPARSE_LENGTHS.name] = sparse.lengths
        if wants_colbert:
            colbert = self._colbert(states, lengths)
            found[COLBERT.name] = colbert.vectors
            found[COLBERT_FP16.name] = colbert.vectors.half()
            found[COLBERT_LENGTHS.name] = colbert.lengths
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}

    @cached_property
    def _token_texts(self) -> TokenTexts:
        return TokenTexts.read(self._file(TOKEN_TEXTS.name, TABLE_FILE))

    def _file(self, model: str, name: str) -> Path:
        return self._repository / model / self._version / name

    def _head(self, model: str, name: str) -> LinearHead:
        return LinearHead.load(self._file(model, name), self._device)


def _names(tensors: Sequence[Tensor]) -> set[str]:
    return {tensor.name for tensor in tensors}


def _engine(graph: Path, settings: BackendSettings, device: Device) -> TrunkEngine:
    if device == "cpu":
        return load_engine(graph, settings)[0]
    from bgem3_backend.trunk.onnx_engine import OnnxEngine

    return OnnxEngine(graph, settings.trunk_threads, device)


@contextmanager
def _loading(repository: Path) -> Iterator[None]:
    """Say of whatever cannot be loaded where it was to be."""
    node = socket.gethostname()
    try:
        yield
    except TrunkEngineError as error:
        raise ClusterError(f"{node}: {error}") from error
    except ImportError as error:
        raise ClusterError(
            f"{node} has not what runs the model ({error}): pip install "
            "'bgem3-triton[backend,cpu,ray]' on every node"
        ) from error
    except Exception as error:
        # The engines and the tokenizer have no types of their own for a damaged file.
        raise ClusterError(f"{node}: {repository} cannot be loaded: {error}") from error


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what fails one request into the client's errors, as the way to a server does."""
    try:
        yield
    except InvalidRequestError as error:
        raise refusal(str(error)) from error
    except NotFiniteError as error:
        raise failure(str(error)) from error
    except (RuntimeError, MemoryError) as error:
        # torch.OutOfMemoryError and the engines' are RuntimeErrors.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and (
            not is_failed_allocation(str(error))
        ):
            raise InternalServerError(f"the model failed: {error}") from error
        raise ServerOutOfMemoryError(
            f"{socket.gethostname()} had not enough memory for this request: lower --batch-texts"
        ) from error
