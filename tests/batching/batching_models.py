"""Models for Triton that say which requests they were given together."""

from __future__ import annotations

from pathlib import Path

BUDGET_TOKENS = 1000
COMPUTING_SECONDS = 0.3

_CONFIG = """
name: "bge_m3"
backend: "python"
max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "token_lengths" data_type: TYPE_INT32 dims: [ -1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
_ENTRY = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answer = pb_utils.Tensor("token_lengths", np.ones((1, 1), np.int32))
        return [pb_utils.InferenceResponse([answer]) for _ in requests]
"""
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 16
input [
  {{ name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true }},
  {{ name: "lengths" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true }}
]
output [ {{ name: "batch" data_type: TYPE_INT32 dims: [ -1 ] }} ]
dynamic_batching {{ {batching} }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
# Each answer is the batch that it was in: its number, its requests, and their tokens.
_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, arguments):
        self.batches = 0

    def execute(self, requests):
        time.sleep({seconds})
        self.batches += 1
        inputs = [pb_utils.get_input_tensor_by_name(request, "input_ids") for request in requests]
        tokens = sum(tensor.as_numpy().size for tensor in inputs)
        batch = np.array([[self.batches, len(requests), tokens]], np.int32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("batch", batch)]) for _ in requests]
"""


def write_model(
    repository: Path, name: str, parameters: dict[str, str], batching: str = ""
) -> Path:
    """Write a model that tells its batches, and return its folder."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    lines = [
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
        for key, value in parameters.items()
    ]
    config = _CONFIG.format(name=name, batching=batching) + "".join(lines)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1" / "model.py").write_text(_MODEL.format(seconds=COMPUTING_SECONDS))
    return folder
