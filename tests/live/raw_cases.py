"""Requests that no client of ours would send: strategies for every model of the repository."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from live.poisoned_model import POISON
from tiny_checkpoint import HIDDEN_SIZE, tiny_tokenizer
from tritonclient.grpc import service_pb2

from bgem3_backend.contract import COLBERT_HEAD, ENSEMBLE, MODELS, TOKENIZER, Model, Tensor

VOCABULARY_SIZE: Final = tiny_tokenizer().get_vocab_size()
_POISON_ID: Final = tiny_tokenizer().token_to_id(POISON)
_TYPES: Final = {"STRING": "BYTES", "INT32": "INT32", "HIDDEN": "FP32", "FP32": "FP32"}
_OTHER_TYPES: Final = ("INT64", "UINT8", "BOOL", "FP16", "FP64", "BF16", "INT32", "FP32", "BYTES")
_NO_TYPES: Final = ("", "INT", "TYPE_INT32", "fp32", "\x00", "BYTES" * 1000)
_EDGES: Final = (0, -1, 1, 2, 3, 7, 8192, 8193, 32769, 2**31 - 1, -(2**31))
_SIZES: Final = (0, 1, 2, 3, -1, -2, 31, 33, 2**31, 2**32, 2**61, 2**62, 2**63 - 1, -(2**63))


@dataclass(frozen=True)
class RawTensor:
    """One input as it goes over the wire, whether or not its parts fit each other."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes


@dataclass(frozen=True)
class Case:
    """One request, and the arrays in it where it is well-formed."""

    model: Model
    tensors: tuple[RawTensor, ...]
    outputs: tuple[str, ...]
    parameters: tuple[tuple[str, Any], ...]

    def message(self) -> service_pb2.ModelInferRequest:
        """The request as gRPC sends it."""
        message = service_pb2.ModelInferRequest(model_name=self.model.name)
        for tensor in self.tensors:
            message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            message.raw_input_contents.append(tensor.content)
        for output in self.outputs:
            message.outputs.add(name=output)
        for name, value in self.parameters:
            kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
            setattr(message.parameters[name], kind, value)
        return message

    def arrays(self) -> dict[str, npt.NDArray[Any]] | None:
        """The inputs, batch dimension taken off; None where they are not what the contract says."""
        if len({tensor.name for tensor in self.tensors}) != len(self.tensors):
            return None
        arrays = {}
        for wanted in self.model.inputs:
            found = [tensor for tensor in self.tensors if tensor.name == wanted.name]
            array = _array(wanted, found[0]) if found else None
            if array is None:
                return None
            arrays[wanted.name] = array
        return arrays if len(arrays) == len(self.tensors) else None

    def is_one_row(self) -> bool:
        """Whether the leading dimension of every input is 1, as it has to be."""
        return all(tensor.shape[:1] == (1,) for tensor in self.tensors)

    def is_lost(self) -> bool:
        """Whether Triton 24.10 forgets the request: no rows and no elements, for a Python model.

        Its own sender waits for ever, and nobody else; the ensemble refuses the same.
        """
        no_rows = all(not tensor.content and _no_rows(tensor) for tensor in self.tensors)
        return self.model is not ENSEMBLE and no_rows

    def is_contagious(self) -> bool:
        """Whether Triton 24.10 fails the requests that the tokenizer is batched with.

        A text that says it is longer than what was sent: Triton's core does not see it, and its
        Python backend reads the texts of a batch before any model does.
        """
        texts = [tensor.content for tensor in self.tensors if tensor.datatype == "BYTES"]
        return any(_ends_early(content) for content in texts)

    def is_deadly(self) -> bool:
        """Whether Triton 24.10 takes a shape whose bytes overflow 64 bits.

        The process of the Python model dies of it before any Python of ours has run.
        """
        return any(_wraps(tensor) for tensor in self.tensors if tensor.datatype != "BYTES")

    def is_answered(self) -> bool | None:
        """Whether a server that reads nothing but this request can answer it; None: it may."""
        arrays = self.arrays()
        if arrays is None or not _holds(self.model, arrays):
            return False
        if not self.is_one_row():
            return None
        names = {output.name for output in self.model.outputs}
        odd_outputs = len(set(self.outputs)) != len(self.outputs) or not names >= set(self.outputs)
        if self.parameters or odd_outputs or _overflows(arrays):
            return None
        return True


def _no_rows(tensor: RawTensor) -> bool:
    # Triton's batch sizes have 32 bits.
    return bool(tensor.shape) and tensor.shape[0] % 2**32 == 0


def _holds(model: Model, arrays: dict[str, npt.NDArray[Any]]) -> bool:
    """Whether the inputs fit each other, the vocabulary, and what a request may hold."""
    if "text" in arrays:
        texts = arrays["text"]
        return 0 < texts.size and all(_is_utf8(text) for text in texts)
    ids = arrays.get("input_ids")
    if ids is not None and not (ids.size and ((ids >= 0) & (ids < VOCABULARY_SIZE)).all()):
        return False
    if "lengths" not in arrays:
        return True
    lengths = arrays["lengths"].astype(np.int64)
    rows = {array.shape[0] for name, array in arrays.items() if name != "lengths"}
    if not lengths.size or lengths.min() < 1 or rows != {lengths.sum()}:
        return False
    states = arrays.get("hidden_states")
    return states is None or (states.shape[1] == HIDDEN_SIZE)


def _overflows(arrays: dict[str, npt.NDArray[Any]]) -> bool:
    """Whether there may be NaN or infinity on the way: then an error is right."""
    return any(
        (name == "text" and any(POISON.encode() in text for text in array))
        or (name == "input_ids" and _POISON_ID in array)
        or (array.dtype == np.float32 and not (np.abs(array) < 1e30).all())
        for name, array in arrays.items()
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _array(wanted: Tensor, tensor: RawTensor) -> npt.NDArray[Any] | None:
    dims = tensor.shape[1:]
    # Of no rows Triton takes the rest as one.
    fits = len(dims) == len(wanted.dims) and min(dims, default=0) >= 0
    fits = fits and (tensor.shape[0] == 1 or _no_rows(tensor))
    if tensor.datatype != _TYPES[wanted.datatype] or not fits:
        return None
    if tensor.datatype == "BYTES":
        texts = _read_texts(tensor.content)
        return texts if texts is not None and (texts.size,) == dims else None
    dtype = np.dtype(np.int32 if tensor.datatype == "INT32" else np.float32)
    count = int(np.prod([int(size) for size in dims], dtype=object))
    if count * dtype.itemsize != len(tensor.content):
        return None
    return np.frombuffer(tensor.content, dtype).reshape(dims)


def _wraps(tensor: RawTensor) -> bool:
    sizes = (1, *tensor.shape[1:]) if _no_rows(tensor) else tensor.shape
    excess_bytes = math.prod(sizes) * 4 - len(tensor.content)
    return excess_bytes != 0 and excess_bytes % 2**64 == 0


def _ends_early(content: bytes) -> bool:
    place = 0
    while place + 4 <= len(content):
        place += 4 + struct.unpack_from("<I", content, place)[0]
    return place > len(content)


def _read_texts(content: bytes) -> npt.NDArray[np.object_] | None:
    texts, place = [], 0
    while place < len(content):
        if place + 4 > len(content):
            return None
        (size,) = struct.unpack_from("<I", content, place)
        place += 4 + size
        if place > len(content):
            return None
        texts.append(content[place - size : place])
    array = np.empty(len(texts), np.object_)
    array[:] = texts
    return array


def write_texts(texts: list[bytes]) -> bytes:
    """Return texts as Triton's BYTES are written: each behind its length."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=5)
_odd_lengths = st.lists(st.sampled_from(_EDGES) | st.integers(-3, 12), max_size=6)
_odd_ids = st.sampled_from([*_EDGES, VOCABULARY_SIZE, VOCABULARY_SIZE - 1])
_numbers = st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0, -0.0, 1.0])
_texts = st.lists(
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=8)
    | st.sampled_from([b"", b"<", b"\xff", b"\xed\xa0\x80", b"\x00", b"the password " * 700]),
    min_size=1,
    max_size=6,
)


@st.composite
def _content(draw: st.DrawFn, model: Model) -> dict[str, npt.NDArray[Any] | list[bytes]]:
    """Values of the right types and ranks, consistent with each other more often than not."""
    lengths = draw(_lengths)
    tokens = sum(lengths)
    content: dict[str, npt.NDArray[Any] | list[bytes]] = {}
    for tensor in model.inputs:
        if tensor.datatype == "STRING":
            content[tensor.name] = draw(_texts)
        elif tensor.name == "lengths":
            odd = draw(st.integers(0, 3)) == 0
            content[tensor.name] = np.array(draw(_odd_lengths) if odd else lengths, np.int32)
        elif tensor.name == "input_ids":
            ids = np.array(
                draw(
                    st.lists(st.integers(0, VOCABULARY_SIZE - 1), min_size=tokens, max_size=tokens)
                ),
                np.int32,
            )
            if draw(st.integers(0, 3)) == 0:
                ids[draw(st.integers(0, tokens - 1))] = draw(_odd_ids)
            if draw(st.integers(0, 7)) == 0:
                ids = ids[: draw(st.integers(0, tokens))]
            content[tensor.name] = ids
        else:
            rows = tokens if draw(st.integers(0, 5)) else draw(st.integers(0, tokens + 2))
            width = HIDDEN_SIZE if draw(st.integers(0, 9)) else draw(st.integers(0, 40))
            seed = draw(st.integers(0, 2**16))
            states = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
            if states.size and draw(st.integers(0, 5)) == 0:
                states.flat[draw(st.integers(0, states.size - 1))] = draw(_numbers)
            content[tensor.name] = states
    return content


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A request to any model: right, wrong in its values, or broken on the wire."""
    model = draw(st.sampled_from(MODELS))
    tensors = []
    for name, value in draw(_content(model)).items():
        wanted = model.input(name)
        if isinstance(value, list):
            shape: tuple[int, ...] = (1, len(value))
            raw = write_texts(value)
        else:
            shape, raw = (1, *value.shape), value.tobytes()
        tensors.append(RawTensor(name, _TYPES[wanted.datatype], shape, raw))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        tensors = draw(_broken(tensors))
    outputs = draw(
        st.lists(st.sampled_from([output.name for output in model.outputs]), unique=True)
        | st.lists(st.sampled_from([*(o.name for o in model.outputs), "nothing", ""]), max_size=4)
    )
    parameters = draw(_parameters) if model in (ENSEMBLE, TOKENIZER) else {}
    return Case(model, tuple(tensors), tuple(outputs), tuple(parameters.items()))


_parameters = st.dictionaries(
    st.sampled_from(["max_length", "truncate", "unknown", "sequence_id", "priority", "timeout"]),
    st.booleans() | st.sampled_from(_EDGES) | st.sampled_from([2**63 - 1, -(2**63), "", "8", "ü"]),
    max_size=2,
)


@st.composite
def _broken(draw: st.DrawFn, tensors: list[RawTensor]) -> list[RawTensor]:
    """The same inputs with one thing wrong, which need not be wrong after all."""
    if not tensors:
        return tensors
    place = draw(st.integers(0, len(tensors) - 1))
    tensor = tensors[place]
    rest = [*tensors[:place], *tensors[place + 1 :]]
    kind = draw(st.sampled_from(["shape", "size", "type", "content", "name", "drop", "double"]))
    name, datatype, shape, content = tensor.name, tensor.datatype, tensor.shape, tensor.content
    match kind:
        case "shape":
            shape = tuple(draw(st.lists(st.sampled_from(_SIZES), max_size=4)))
        case "size" if shape:
            sizes = list(shape)
            sizes[draw(st.integers(0, len(sizes) - 1))] = draw(st.sampled_from(_SIZES))
            shape = tuple(sizes)
        case "type":
            datatype = draw(st.sampled_from(_OTHER_TYPES) | st.sampled_from(_NO_TYPES))
        case "content":
            cut = content[: draw(st.integers(0, len(content)))]
            content = draw(st.sampled_from([cut, content + b"\x00" * 4, content * 2, b""]))
            content = draw(st.just(content) | st.binary(max_size=64))
        case "name":
            name = draw(st.sampled_from(["", "text", "lengths", "nothing", COLBERT_HEAD.name]))
        case "drop":
            return rest
        case "double":
            return [*tensors, tensor]
    return [*rest, RawTensor(name, datatype, shape, content)]
