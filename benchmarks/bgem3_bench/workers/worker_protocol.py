"""How the benchmark talks to a system under test: lines of JSON between two processes.

A worker reads requests from its standard input and answers each on its standard output, one line
each. What it and its libraries print goes to standard error. It ends when its input ends.

=========== =================================== ==================================================
op          request                             answer, beside ``"ok": true``
=========== =================================== ==================================================
``load``    ``checkpoint``, ``threads``,        ``seconds``, ``versions``, ``settings``,
            ``max_length``, ``options``         ``precision``
``tune``    ``texts``, ``outputs``,             ``batch_size``, ``seconds_by_batch_size``,
            ``batch_sizes`` (optional)          ``settings``
``encode``  ``texts``, ``outputs``,             ``seconds``, ``cpu_seconds``, ``tokens``,
            ``batch_size`` (a number, null for  ``computed_tokens``,
            the default, "best" for what        ``attention_tokens``, ``batch_size``
            ``tune`` found), ``save``
``latency`` ``texts``, ``outputs``,             ``latencies_seconds``, ``seconds``
            ``concurrency``
``memory``                                      ``peak_bytes`` since the last reset, ``reset``
``close``                                       (the worker then ends)
=========== =================================== ==================================================

An error is ``{"ok": false, "kind": "unsupported" | "failed" | "out_of_memory", "message": …}``.

Standard library and NumPy alone, Python 3.9 or later, Linux: this file is imported by the Pythons
of foreign environments.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final, TextIO

import numpy as np
import numpy.typing as npt

try:
    from bgem3_bench.workers import process_usage as usage
except ModuleNotFoundError:
    import process_usage as usage  # type: ignore[no-redef,import-not-found]

OUTPUTS: Final = frozenset({"dense", "sparse", "colbert"})
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32)
"""What ``tune`` tries where the request names none."""
BEST: Final = "best"

# A size that takes this many times as long as the best so far ends the search: padding and caches
# only get worse with it.
_HOPELESS: Final = 1.5
_CLOSE: Final = 1.3

# Errors are told apart by type, but here there is none: PyTorch on a CPU and ONNX Runtime raise
# their general error when an allocation fails.
_FAILED_ALLOCATION: Final = re.compile(
    "DefaultCPUAllocator: (can't|not enough memory)"
    "|Failed to allocate memory for requested buffer of size"
    "|std::bad_alloc"
)

Answer = dict[str, Any]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Unsupported(Exception):  # noqa: N818 (it is nobody's error)
    """The system cannot do what was asked; no fault of anybody."""


@dataclass(frozen=True)
class Loaded:
    """What a system says of itself once it can answer.

    Attributes:
        versions: Package to version; see :func:`versions`.
        settings: How it was set, in one line.
        precision: Of the linear layers, "fp32", "bf16" or "int8"; None where the system does not
            say it.
    """

    versions: dict[str, str]
    settings: str
    precision: str | None = None


@dataclass(frozen=True)
class Embeddings:
    """Results as arrays, text after text; only what was asked for.

    Attributes:
        dense: [N, H].
        sparse_indices: [S], token ids, ascending within a text.
        sparse_values: [S].
        sparse_lengths: [N], entries of each text.
        colbert: [C, D].
        colbert_lengths: [N], rows of each text.
    """

    dense: Floats | None = None
    sparse_indices: Integers | None = None
    sparse_values: Floats | None = None
    sparse_lengths: Integers | None = None
    colbert: Floats | None = None
    colbert_lengths: Integers | None = None

    def save(self, path: Path) -> None:
        """Write what is there to an NPZ file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        with path.open("wb") as file:
            np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


class System(ABC):
    """One system under test, as its users would set it up.

    Attributes:
        outputs: What it gives.
        serialised: Whether callers wait for each other in :meth:`request`, as they do around a
            library in a service made by hand. A system that schedules by itself says False.
        counts_itself: Whether this process is part of the system. The client of a server is not.
        computed_tokens: Tokens that went through the model, padding included: the system adds to
            it, and each measurement starts it at 0. None where the system does not show it.
        attention_tokens: The same in attention, where more are padded there than elsewhere.
    """

    outputs: ClassVar[frozenset[str]] = frozenset({"dense"})
    serialised: ClassVar[bool] = True
    counts_itself: ClassVar[bool] = True
    computed_tokens: int | None = None
    attention_tokens: int | None = None

    @abstractmethod
    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> Loaded:
        """Get ready to answer. Libraries are imported here, so that the start-up has their time.

        Args:
            checkpoint: Folder in BGE-M3's layout.
            threads: Processor threads to compute with.
            max_length: Tokens that longer texts are cut to, special tokens included.
            options: The system's own.
        """

    @abstractmethod
    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Encode ``texts`` and return the results as the system gives them; timed.

        Args:
            texts: In any order of lengths.
            outputs: What to compute; a part of :attr:`outputs`.
            batch_size: Texts at once; None: the system's default.

        Raises:
            Unsupported: The system lets nobody choose a batch size.
        """

    @abstractmethod
    def embeddings(self, results: Any, outputs: frozenset[str]) -> Embeddings:
        """Turn what :meth:`encode` gave into arrays; not timed."""

    def request(self, text: str, outputs: frozenset[str]) -> None:
        """Answer one caller with one text; called from several threads."""
        self.encode([text], outputs, None)

    def count_tokens(self, texts: list[str]) -> int | None:
        """Return how many tokens the texts have, after truncation; None: it cannot be seen."""
        return None

    def process_ids(self) -> list[int]:
        """Return processes that work for the system and do not descend from this one."""
        return []

    def close(self) -> None:  # noqa: B027 (most need nothing)
        """Let go of what does not end with the process."""


def set_openmp_threads(threads: int) -> None:
    """Let every thread of this process compute with so many; before PyTorch is imported.

    ``torch.set_num_threads`` is for the thread that calls it alone.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of installed packages."""
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"Python": platform.python_version(), **found}


def sparse_embeddings(weights: Sequence[Mapping[Any, Any]]) -> Embeddings:
    """Return sparse results from a map of token id (number or its digits) to weight a text."""
    rows = [sorted((int(token), float(weight)) for token, weight in row.items()) for row in weights]
    flat = [entry for row in rows for entry in row]
    return Embeddings(
        sparse_indices=np.array([token for token, _ in flat], np.int64),
        sparse_values=np.array([weight for _, weight in flat], np.float32),
        sparse_lengths=np.array([len(row) for row in rows], np.int64),
    )


def colbert_embeddings(vectors: Sequence[npt.NDArray[Any]]) -> Embeddings:
    """Return ColBERT results from an array [tokens, D] a text."""
    return Embeddings(
        colbert=np.concatenate(vectors).astype(np.float32, copy=False),
        colbert_lengths=np.array([len(rows) for rows in vectors], np.int64),
    )


def merged(parts: Iterable[Embeddings]) -> Embeddings:
    """Return one value with the arrays of all ``parts``."""
    names = [field.name for field in fields(Embeddings)]
    pairs = ((name, getattr(part, name)) for part in parts for name in names)
    return Embeddings(**{name: array for name, array in pairs if array is not None})


def serve(system: System) -> None:
    """Answer requests about ``system`` until the input ends or one says ``close``."""
    requests, answers = _private_streams()
    worker = _Worker(system)
    for line in requests:
        answer = memoryview(json.dumps(worker.answer(line)).encode() + b"\n")
        try:
            while answer:
                answer = answer[os.write(answers, answer) :]
        except BrokenPipeError:
            break  # The benchmark has ended, and with it the input.
        if worker.closed:
            break
    worker.end()


def _private_streams() -> tuple[TextIO, int]:
    """Return where requests come from, and the file descriptor that answers go to.

    Nobody else is left anything to disturb them with.

    What is printed to file descriptor 1, by C++ or by a child process too, joins standard error;
    who reads descriptor 0 finds nothing.
    """
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


class _Worker:
    """Carries out requests, one after the other."""

    def __init__(self, system: System) -> None:
        self.closed = False
        self._system = system
        self._loaded = False
        self._best: dict[frozenset[str], int] = {}
        # One thread takes callers in the order they came. A lock does not: whoever returns it first
        # gets it again, the others starve, and the median looks like that of a lone caller.
        self._in_turn = ThreadPoolExecutor(1)
        self._token_counts: dict[tuple[str, ...], int | None] = {}
        self._operations = {
            "load": self._load,
            "tune": self._tune,
            "encode": self._encode,
            "latency": self._latency,
            "memory": self._memory,
            "close": self._close,
        }

    def answer(self, line: str) -> Answer:
        """Return the answer to one line; what goes wrong is an answer too."""
        try:
            request = json.loads(line)
            operation = self._operations.get(request.get("op"))
            if operation is None:
                raise Unsupported(f"there is no operation {request.get('op')!r}")
            if not self._loaded and request["op"] in {"tune", "encode", "latency"}:
                raise RuntimeError(f"{request['op']} before load")
            return {"ok": True, **operation(request)}
        except Unsupported as error:
            return {"ok": False, "kind": "unsupported", "message": str(error)}
        # Whatever a foreign library raises is for the benchmark to report, and is no reason to end.
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            no_memory = isinstance(error, MemoryError) or _FAILED_ALLOCATION.search(message)
            kind = "out_of_memory" if no_memory else "failed"
            return {"ok": False, "kind": kind, "message": message}

    def end(self) -> None:
        """Let the system go, once."""
        if self._loaded and not self.closed:
            self._system.close()
        self.closed = True

    def _load(self, request: Answer) -> Answer:
        begin = time.perf_counter()
        loaded = self._system.load(
            Path(request["checkpoint"]),
            request["threads"],
            request["max_length"],
            request.get("options") or {},
        )
        seconds = time.perf_counter() - begin
        self._loaded = True
        return {"seconds": seconds, **asdict(loaded)}

    def _tune(self, request: Answer) -> Answer:
        """Try batch sizes on texts like those to come, and remember the fastest."""
        texts, outputs = request["texts"], self._asked(request)
        seconds: dict[int, float] = {}

        def measure(batch_size: int) -> None:
            begin = time.perf_counter()
            self._system.encode(texts, outputs, batch_size)
            taken = time.perf_counter() - begin
            seconds[batch_size] = min(taken, seconds.get(batch_size, taken))

        # The first run of all is slower than any other.
        self._system.encode(texts[:1], outputs, 1)
        for batch_size in sorted(request.get("batch_sizes") or BATCH_SIZES):
            measure(batch_size)
            if seconds[batch_size] > _HOPELESS * min(seconds.values()):
                break
        # What came close has a second turn: another program may have been at work during the first.
        for batch_size in [
            size for size in seconds if seconds[size] < _CLOSE * min(seconds.values())
        ]:
            measure(batch_size)
        best = min(seconds, key=lambda size: seconds[size])
        self._best[outputs] = best
        relative = ", ".join(
            f"{size}: {taken / seconds[best]:.2f}" for size, taken in seconds.items()
        )
        return {
            "batch_size": best,
            "seconds_by_batch_size": {str(size): taken for size, taken in seconds.items()},
            "settings": f"batch size {best}, the fastest (time of each, relative: {relative})",
        }

    def _encode(self, request: Answer) -> Answer:
        texts, outputs = request["texts"], self._asked(request)
        batch_size = self._batch_size(request.get("batch_size"), outputs)
        tokens = self._tokens(texts)
        if self._system.computed_tokens is not None:
            self._system.computed_tokens = 0
        if self._system.attention_tokens is not None:
            self._system.attention_tokens = 0
        cpu_seconds, begin = usage.cpu_seconds_of(self._process_ids()), time.perf_counter()
        results = self._system.encode(texts, outputs, batch_size)
        seconds = time.perf_counter() - begin
        cpu_seconds = usage.cpu_seconds_of(self._process_ids()) - cpu_seconds
        computed_tokens = self._system.computed_tokens
        attention_tokens = self._system.attention_tokens
        if request.get("save"):
            self._system.embeddings(results, outputs).save(Path(request["save"]))
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "tokens": tokens,
            "computed_tokens": computed_tokens,
            "attention_tokens": attention_tokens,
            "batch_size": batch_size,
        }

    def _latency(self, request: Answer) -> Answer:
        outputs = self._asked(request)

        def ask(text: str) -> float:
            begin = time.perf_counter()
            if self._system.serialised:
                self._in_turn.submit(self._system.request, text, outputs).result()
            else:
                self._system.request(text, outputs)
            return time.perf_counter() - begin

        begin = time.perf_counter()
        with ThreadPoolExecutor(request["concurrency"]) as callers:
            latencies = list(callers.map(ask, request["texts"]))
        return {"latencies_seconds": latencies, "seconds": time.perf_counter() - begin}

    def _memory(self, _request: Answer) -> Answer:
        process_ids = self._process_ids()
        peak = usage.peak_bytes_of(process_ids)
        return {"peak_bytes": peak, "reset": usage.reset_peaks(process_ids)}

    def _close(self, _request: Answer) -> Answer:
        self.end()
        return {}

    def _asked(self, request: Answer) -> frozenset[str]:
        outputs = frozenset(request["outputs"])
        if not outputs or outputs - OUTPUTS:
            raise ValueError(f"outputs are some of {sorted(OUTPUTS)}, not {sorted(outputs)}")
        if missing := outputs - self._system.outputs:
            raise Unsupported(f"gives {_listed(self._system.outputs)}, not {_listed(missing)}")
        return outputs

    def _batch_size(self, asked: int | str | None, outputs: frozenset[str]) -> int | None:
        if asked == BEST:
            if outputs not in self._best:
                raise ValueError(f"the best batch size for {_listed(outputs)} is not known: tune")
            return self._best[outputs]
        if asked is None or isinstance(asked, int):
            return asked
        raise ValueError(f"batch_size is a number, null or {BEST!r}, not {asked!r}")

    def _tokens(self, texts: list[str]) -> int | None:
        # The same texts come once a round, and counting them takes a while.
        key = tuple(texts)
        if key not in self._token_counts:
            self._token_counts[key] = self._system.count_tokens(texts)
        return self._token_counts[key]

    def _process_ids(self) -> list[int]:
        family = usage.process_tree([os.getpid(), *self._system.process_ids()])
        if self._system.counts_itself:
            return family
        return [process_id for process_id in family if process_id != os.getpid()]


def _listed(outputs: Iterable[str]) -> str:
    return ", ".join(sorted(outputs))
