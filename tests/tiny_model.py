"""A model that stands for the ensemble in tests of the server around it."""

from __future__ import annotations

from pathlib import Path

from bgem3_backend.contract import ENSEMBLE

_CONFIG = """
name: "bge_m3"
backend: "python"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "token_lengths" data_type: TYPE_INT32 dims: [ -1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""

# `sleep 2` makes the model wait, `burn 2` makes it compute, for so many seconds.
_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        verb, _, seconds = text.ravel()[0].partition(b" ")
        if verb == b"sleep":
            time.sleep(float(seconds))
        end = time.monotonic() + float(seconds if verb == b"burn" else 0)
        while time.monotonic() < end:
            pass
        lengths = np.vectorize(len, otypes=[np.int32])(text)
        return pb_utils.InferenceResponse([pb_utils.Tensor("token_lengths", lengths)])
"""


def write_tiny_model(repository: Path, initialize: str = "pass") -> None:
    """Write a model that answers with the length of each text in bytes.

    Args:
        repository: The folder of models.
        initialize: A line of Python that is run when the model is loaded.
    """
    version = repository / ENSEMBLE.name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(_CONFIG)
    (version / "model.py").write_text(_MODEL.replace("{initialize}", initialize))
