"""Requests as any Triton client may send them, past our own client's checks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpcclient

from bgem3_backend.contract import ENSEMBLE

# Many times what counting takes.
_SETTLE_SECONDS = 0.02

_TYPES = {"int32": "INT32", "int64": "INT64", "float32": "FP32", "object": "BYTES"}


def texts_array(texts: Sequence[str | bytes]) -> npt.NDArray[np.object_]:
    """[1, N] of bytes."""
    row = np.empty((1, len(texts)), np.object_)
    row[0, :] = [text.encode() if isinstance(text, str) else text for text in texts]
    return row


def infer(
    connection: grpcclient.InferenceServerClient,
    model: str,
    inputs: dict[str, npt.NDArray[Any]],
    outputs: Sequence[str],
    **parameters: Any,
) -> dict[str, npt.NDArray[Any]]:
    """Send one request and return the outputs that came back."""
    tensors = []
    for name, value in inputs.items():
        tensor = grpcclient.InferInput(name, list(value.shape), _TYPES[value.dtype.name])
        tensor.set_data_from_numpy(value)
        tensors.append(tensor)
    result = connection.infer(
        model,
        tensors,
        outputs=[grpcclient.InferRequestedOutput(name) for name in outputs],
        parameters=parameters or None,
    )
    return {name: result.as_numpy(name) for name in outputs}


def embed(
    connection: grpcclient.InferenceServerClient,
    texts: Sequence[str | bytes],
    outputs: Sequence[str] = ("dense",),
    **parameters: Any,
) -> dict[str, npt.NDArray[Any]]:
    """Send texts to the ensemble."""
    return infer(connection, ENSEMBLE.name, {"text": texts_array(texts)}, outputs, **parameters)


def executions(connection: grpcclient.InferenceServerClient, model: str) -> tuple[int, int]:
    """Return (requests answered, batches executed) of a model so far.

    A step answers before it is counted, so this waits until the counts stand still.
    """
    last = (-1, -1)
    while True:
        statistics = connection.get_inference_statistics(model).model_stats[0]
        counts = (statistics.inference_count, statistics.execution_count)
        if counts == last:
            return counts
        last = counts
        time.sleep(_SETTLE_SECONDS)
