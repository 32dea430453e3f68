"""Dense vectors as JSON: the ways to write them, in turns in one run.

``python benchmarks/json_vectors.py`` writes vectors as BGE-M3's are (64 of 1,024 numbers, length 1)
with each way, and reads them back to count the float32 numbers that have changed. msgspec, pyarrow
and ssrjson take part where they are installed. All times are this process's own time on one core.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click
import numpy as np
import orjson
from numpy.typing import NDArray

from bgem3_bench.machine import this_machine
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_server.gateway.serialization.json import json_pieces
from bgem3_server.gateway.serialization.pieces import Piece
from bgem3_server.gateway.serialization.vectors import vectors

Matrix = NDArray[np.float32]
Writer = Callable[[Matrix], Iterable[Piece]]
"""Gives the JSON of a matrix, whole or in pieces, which are counted and forgotten one by one."""

_ROWS_A_PIECE = 16


@dataclass(frozen=True)
class Result:
    """What one way took and wrote; ``changed`` counts numbers that read back as others."""

    way: str
    milliseconds: float
    size_bytes: int
    changed: int


def _blocks(matrix: Matrix) -> Iterable[Matrix]:
    return (matrix[start : start + _ROWS_A_PIECE] for start in range(0, len(matrix), _ROWS_A_PIECE))


def _orjson(array: Any) -> bytes:
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def _joined(parts: Iterable[bytes]) -> Iterable[bytes]:
    """JSON arrays as one array: separators where the brackets were."""
    separator = b"["
    for part in parts:
        yield separator + part[1:-1]
        separator = b","
    yield b"]"


def _with_pyarrow(matrix: Matrix) -> Iterable[bytes]:
    pyarrow, compute = import_module("pyarrow"), import_module("pyarrow.compute")
    numbers = compute.cast(pyarrow.array(matrix.reshape(-1)), pyarrow.string())
    offsets = pyarrow.array(range(0, matrix.size + 1, matrix.shape[1]))
    rows = compute.binary_join(pyarrow.ListArray.from_arrays(offsets, numbers), ",").to_pylist()
    yield ("[" + ",".join(f"[{row}]" for row in rows) + "]").encode()


def _writers() -> dict[str, Writer]:
    ways: dict[str, Writer] = {
        "json, from lists": lambda matrix: [json.dumps(matrix.tolist()).encode()],
        "orjson, from lists": lambda matrix: [_orjson(matrix.tolist())],
        "orjson, from the array": lambda matrix: [_orjson(matrix)],
        "orjson, 16 rows at a time": lambda matrix: _joined(map(_orjson, _blocks(matrix))),
    }
    if find_spec("msgspec"):
        encoder = import_module("msgspec").json.Encoder()
        ways["msgspec, from lists"] = lambda matrix: [encoder.encode(matrix.tolist())]
    if find_spec("pyarrow"):
        ways["pyarrow's cast to text"] = _with_pyarrow
    if find_spec("ssrjson"):
        ssrjson = import_module("ssrjson")
        ssrjson.setup_numpy_types()
        ways["ssrjson, from the array"] = lambda matrix: [ssrjson.dumps_to_bytes(matrix)]
        ways["ssrjson, 16 rows at a time"] = lambda matrix: _joined(
            map(ssrjson.dumps_to_bytes, _blocks(matrix))
        )
    ways["the service, in OpenAI's shape"] = lambda matrix: json_pieces(
        {
            "object": "embedding",
            "index": index,
            "embedding": row,
        }
        for index, row in enumerate(vectors(matrix, "float"))
    )
    ways["the service"] = json_pieces
    return ways


def _read(text: bytes) -> Matrix:
    rows = [row["embedding"] if isinstance(row, dict) else row for row in json.loads(text)]
    return np.array(rows, np.float32)


def _milliseconds(write: Writer, matrix: Matrix) -> float:
    began = time.thread_time()
    for _ in write(matrix):
        pass
    return (time.thread_time() - began) * 1e3


@click.command()
@click.option("--texts", default=64, show_default=True, help="Vectors in an answer.")
@click.option("--size", default=1024, show_default=True, help="Numbers in a vector.")
@click.option("--turns", default=200, show_default=True, help="How often each way is measured.")
def main(texts: int, size: int, turns: int) -> None:
    """Measure the ways to write vectors as JSON."""
    matrix = np.random.default_rng(0).standard_normal((texts, size), dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    writers = _writers()
    times: dict[str, list[float]] = {name: [] for name in writers}
    for _ in range(turns):
        for name, write in writers.items():
            times[name].append(_milliseconds(write, matrix))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    results = []
    for name, write in writers.items():
        text = b"".join(write(matrix))
        changed = int((_read(text) != matrix).sum())
        results.append(Result(name, medians[name], len(text), changed))
    reference = medians["orjson, from the array"]
    rows = [
        [
            result.way,
            f"{result.milliseconds:.2f}",
            f"{reference / result.milliseconds:.1f}",
            f"{result.size_bytes / 1e3:,.0f}",
            str(result.changed),
        ]
        for result in results
    ]
    machine = this_machine()
    click.echo(f"{texts} vectors of {size} numbers, {machine.processor}, median of {turns}\n")
    click.echo(markdown_table(["", "ms", "× orjson", "KB", "numbers changed"], rows))
    write_json(
        output_directory() / "json_vectors.json", {"json_vectors": [asdict(r) for r in results]}
    )


if __name__ == "__main__":
    main()
