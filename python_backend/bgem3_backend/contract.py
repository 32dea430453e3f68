"""The tensor contract of the model repository: every model, its inputs and its outputs.

This is the one place where tensor names, types and shapes are written down. The Python models and
the client take their names from here, the export checks the graph against it, and a test holds
every ``config.pbtxt`` to it, for every profile.

One row a request: the leading (batch) dimension of every tensor is 1 and is not listed in
``dims``. ``N`` counts the texts of a request, ``T`` their tokens, ``L`` those of the longest,
``S`` their sparse entries, ``C`` their ColBERT rows; ``H`` is the trunk's hidden size and ``D``
the ColBERT head's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MAX_POSITIONS_TOKENS: Final = 8192
"""The longest text BGE-M3 takes, special tokens included."""

DataType = Literal["STRING", "BOOL", "INT32", "FP16", "FP32", "HIDDEN"]
"""A Triton type without its ``TYPE_``; ``HIDDEN`` is the trunk's precision, FP16 or FP32."""

Dim = Literal["N", "T", "L", "S", "C", "H", "D"]


@dataclass(frozen=True)
class Tensor:
    """One input or output: its name, Triton type and dimensions behind the batch dimension."""

    name: str
    datatype: DataType
    dims: tuple[Dim, ...]


@dataclass(frozen=True)
class Model:
    """One folder of the repository: what goes in and what comes out."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def input(self, name: str) -> Tensor:
        """Return the input called ``name``; KeyError when the model has none."""
        return {tensor.name: tensor for tensor in self.inputs}[name]

    def output(self, name: str) -> Tensor:
        """Return the output called ``name``; KeyError when the model has none."""
        return {tensor.name: tensor for tensor in self.outputs}[name]


TEXT: Final = Tensor("text", "STRING", ("N",))
INPUT_IDS: Final = Tensor("input_ids", "INT32", ("T",))
LENGTHS: Final = Tensor("lengths", "INT32", ("N",))
# For TensorRT, which takes from the size of an input how far it has to pad: the tokenizer gives
# each request one number for each token of its longest text, and Triton makes the other of the
# largest in a batch.
COLUMNS: Final = Tensor("columns", "INT32", ("L",))
LONGEST: Final = Tensor("longest", "INT32", ("L",))
HIDDEN_STATES: Final = Tensor("hidden_states", "HIDDEN", ("T", "H"))
# Where the heads are in the trunk's graph: what the sparse head gives each token, before relu,
# which would turn minus infinity into an innocent zero.
TOKEN_WEIGHTS: Final = Tensor("token_weights", "FP32", ("T",))
# As many numbers as a request has ColBERT rows: Triton gives each request of a batch as many rows
# of an output as one of its inputs has, and it must have such an input.
COLBERT_ROWS: Final = Tensor("colbert_rows", "INT32", ("C",))

DENSE: Final = Tensor("dense", "FP32", ("N", "H"))
SPARSE_INDICES: Final = Tensor("sparse_indices", "INT32", ("S",))
SPARSE_VALUES: Final = Tensor("sparse_values", "FP32", ("S",))
SPARSE_LENGTHS: Final = Tensor("sparse_lengths", "INT32", ("N",))
COLBERT: Final = Tensor("colbert", "FP32", ("C", "D"))
COLBERT_FP16: Final = Tensor("colbert_fp16", "FP16", ("C", "D"))
COLBERT_LENGTHS: Final = Tensor("colbert_lengths", "INT32", ("N",))
# Copies of what the trunk consumes: Triton fails on an ensemble output that a step also takes.
TOKEN_LENGTHS: Final = Tensor("token_lengths", "INT32", ("N",))
TOKEN_IDS: Final = Tensor("token_ids", "INT32", ("T",))
# The hidden states of all tokens, CLS and EOS included, in FP32 whatever the trunk's precision. A
# copy too, and under another name, since the model that makes it takes `hidden_states`.
TOKEN_STATES: Final = Tensor("token_states", "FP32", ("T", "H"))
# The lengths before truncation: larger than `token_lengths` where a text was cut.
FULL_TOKEN_LENGTHS: Final = Tensor("full_token_lengths", "INT32", ("N",))
# The text that each token stands for.
TOKENS: Final = Tensor("tokens", "STRING", ("T",))

TOKENIZER: Final = Model(
    "bge_m3_tokenizer",
    inputs=(TEXT,),
    outputs=(INPUT_IDS, LENGTHS, TOKEN_LENGTHS, FULL_TOKEN_LENGTHS, COLUMNS, COLBERT_ROWS),
)
TOKEN_TEXTS: Final = Model("bge_m3_token_texts", inputs=(INPUT_IDS,), outputs=(TOKEN_IDS, TOKENS))
TRUNK: Final = Model("bge_m3_trunk", inputs=(INPUT_IDS, LENGTHS), outputs=(DENSE, HIDDEN_STATES))
SPARSE: Final = Model(
    "bge_m3_sparse",
    inputs=(HIDDEN_STATES, INPUT_IDS, LENGTHS),
    outputs=(SPARSE_INDICES, SPARSE_VALUES, SPARSE_LENGTHS),
)
COLBERT_HEAD: Final = Model(
    "bge_m3_colbert",
    inputs=(HIDDEN_STATES, LENGTHS),
    # The token states are here because this model takes nothing but what they need.
    outputs=(COLBERT, COLBERT_LENGTHS, COLBERT_FP16, TOKEN_STATES),
)
ENSEMBLE: Final = Model(
    "bge_m3",
    inputs=(TEXT,),
    outputs=(
        DENSE,
        SPARSE_INDICES,
        SPARSE_VALUES,
        SPARSE_LENGTHS,
        COLBERT,
        COLBERT_FP16,
        COLBERT_LENGTHS,
        TOKEN_STATES,
        TOKEN_LENGTHS,
        FULL_TOKEN_LENGTHS,
        TOKEN_IDS,
        TOKENS,
    ),
)
MODELS: Final = (ENSEMBLE, TOKENIZER, TOKEN_TEXTS, TRUNK, SPARSE, COLBERT_HEAD)


def version_name(version: str) -> str:
    """Return the ensemble that is one version of the model, whichever serves: ``bge_m3_v2``.

    Where versions were loaded side by side (``bgem3 models``), each has its own. The ensemble
    without a number is the one that serves, and its ``model_version`` says which that is; it
    cannot be asked for another version by number, since all versions of a Triton model share their
    steps.
    """
    return f"{ENSEMBLE.name}_v{version}"


def version_step_name(step: Model, version: str) -> str:
    """Return the name of a step of a version that was loaded beside others: ``bge_m3_v2_trunk``."""
    return step.name.replace(ENSEMBLE.name, version_name(version), 1)


# The same in the profiles whose graph holds the heads. The ensemble is the same to its clients.
TRUNK_WITH_HEADS: Final = Model(
    TRUNK.name,
    inputs=TRUNK.inputs,
    outputs=(DENSE, TOKEN_WEIGHTS, COLBERT, COLBERT_FP16, COLBERT_LENGTHS, TOKEN_STATES),
)
SPARSE_MERGE: Final = Model(
    SPARSE.name, inputs=(TOKEN_WEIGHTS, INPUT_IDS, LENGTHS), outputs=SPARSE.outputs
)
MODELS_WITH_HEADS: Final = (ENSEMBLE, TOKENIZER, TOKEN_TEXTS, TRUNK_WITH_HEADS, SPARSE_MERGE)

# Request parameters: they travel with the request, and the ensemble hands them to every step.
MAX_LENGTH_PARAMETER: Final = "max_length"
"""Integer, 1 to 8192, special tokens included; longer texts are cut to it. Default 8192."""
TRUNCATE_PARAMETER: Final = "truncate"
"""Boolean, default true; false makes a text longer than ``max_length`` an error."""

# Triton has few codes for errors, so more is said by what a message begins with: that it is about
# one text (``[index=3] ``, with INVALID_ARGUMENT), and the following. An ensemble puts its own name
# in front.
OUT_OF_MEMORY_MARK: Final = "[out_of_memory] "
"""With INTERNAL: there was not enough memory for the request; fewer or shorter texts may pass."""
NOT_FINITE_MARK: Final = "[not_finite] "
"""With INTERNAL: the model gave NaN or infinity for a text; ``[index=3] `` follows and names it."""
