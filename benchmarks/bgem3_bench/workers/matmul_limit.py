"""The physical limit: the matrix multiplications of a trunk's own shapes and nothing else.

Reads lines ``{"op": "measure", "shapes": [[inputs, outputs], …], "tokens": T, "threads": N,
"precision": "fp32" | "bf16" | "int8", "seconds": S}`` and answers ``{"ok": true,
"flop_per_second": F, "kernel": …}``. FP32 and BF16 are oneDNN's, called by PyTorch's ``linear``;
INT8 is ``torch._int_mm``, without the scaling that a trunk needs around it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import torch

_KERNELS: Final = {
    "fp32": "oneDNN FP32 (torch linear)",
    "bf16": "oneDNN BF16 (torch linear)",
    "int8": "oneDNN INT8 (torch._int_mm)",
}
_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure(
    shapes: list[tuple[int, int]], tokens: int, precision: str, seconds: float
) -> dict[str, Any]:
    """Return how many multiplications and additions a second one layer's matrices take.

    Args:
        shapes: (inputs, outputs) of each matrix.
        tokens: Rows of the other factor: what a trunk computes at once.
        precision: Of both factors.
        seconds: Time to spend, in equal parts on each shape.
    """
    taken = sum(
        _fastest_seconds(_multiplication(tokens, inputs, outputs, precision), seconds / len(shapes))
        for inputs, outputs in shapes
    )
    flop = sum(2 * tokens * inputs * outputs for inputs, outputs in shapes)
    return {"flop_per_second": flop / taken, "kernel": _KERNELS[precision]}


def _multiplication(
    tokens: int, inputs: int, outputs: int, precision: str
) -> Callable[[], torch.Tensor]:
    if precision == "int8":
        left = torch.randint(-127, 128, (tokens, inputs), dtype=torch.int8)
        right = torch.randint(-127, 128, (inputs, outputs), dtype=torch.int8)
        return lambda: torch._int_mm(left, right)
    states = torch.randn(tokens, inputs, dtype=_TYPES[precision])
    weight = torch.randn(outputs, inputs, dtype=_TYPES[precision])
    return lambda: torch.nn.functional.linear(states, weight)


def _fastest_seconds(multiply: Callable[[], torch.Tensor], seconds: float) -> float:
    multiply()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        begin = time.perf_counter()
        multiply()
        taken.append(time.perf_counter() - begin)
    # What else the machine does only ever adds to it.
    return min(taken)


def main() -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "close":
            return
        torch.set_num_threads(request["threads"])
        with torch.inference_mode():
            answer = measure(
                request["shapes"], request["tokens"], request["precision"], request["seconds"]
            )
        print(json.dumps({"ok": True, **answer}), flush=True)


if __name__ == "__main__":
    main()
