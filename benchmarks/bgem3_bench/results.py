"""What a run measured, as it stands in ``results.json``.

Raw figures only: medians, ratios and shares are worked out when a report is made from them, so an
old file can be rendered by a newer report.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bgem3_bench.errors import FailureKind, ResultsError

RESULTS_FILE: Final = "results.json"
FORMAT_VERSION: Final = 1
INTERRUPTED: Final = "stopped by a signal (Ctrl-C)"
"""The note of a run that a user, or a machine, has stopped."""

OutputSet = Literal["dense", "all"]
"""Dense vectors alone, or dense, sparse and ColBERT from one call."""
Precision = Literal["fp32", "bf16", "int8"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MachineDescription(_Part):
    """The machine of the run."""

    processor: str
    cores: int = Field(description="Those that the run may use")
    features: tuple[str, ...] = Field(description="Instructions that decide the speed of a trunk")
    memory_bytes: int
    system: str
    python: str
    date: str


class ModelDescription(_Part):
    """The checkpoint that every system loads."""

    name: str
    note: str = Field(description="What must be said of it aloud, such as 'demo model'; or empty")
    layers: int
    hidden_size: int
    linear_flop_per_token: int = Field(
        description="Multiplications and additions of the linear layers for one token"
    )


class MixDescription(_Part):
    """One mix of texts."""

    name: str
    description: str
    lengths: tuple[int, ...] = Field(description="Tokens of each text, special tokens included")


class Failure(_Part):
    """Why something has no figures."""

    kind: FailureKind
    message: str


class SystemDescription(_Part):
    """A system under test, and how it was set."""

    name: str
    label: str
    ours: bool = Field(description="Whether it is this project")
    worker: str = Field(description="Systems with the same worker share a process, and its memory")
    precision: Precision | None = Field(description="Of the linear layers; None where not known")
    settings: str = ""
    versions: dict[str, str] = {}
    startup_seconds: tuple[float, ...] = Field(
        default=(), description="From the start of the process to the first answer, at each start"
    )
    failure: Failure | None = Field(default=None, description="Why it could not be started")


class Pass(_Part):
    """One pass over all texts of a mix, in one round."""

    round: int
    seconds: float
    cpu_seconds: float | None = Field(description="Of the system's processes")
    tokens: int | None = Field(description="Real tokens, as the system counts them")
    computed_tokens: int | None = Field(description="With padding; None where it does not tell")
    attention_tokens: int | None = Field(
        default=None,
        description="The same in attention, where more are padded there than in the linear layers",
    )
    peak_bytes: int | None = Field(
        description="Most memory of its processes during the pass; in round 0 with that for saving "
        "the vectors"
    )


class Accuracy(_Part):
    """The vectors of one system against those of the FP32 reference, over all texts of a mix."""

    dense_cosine_smallest: float | None = None
    dense_cosine_mean: float | None = None
    sparse_difference_largest: float | None = Field(
        default=None,
        description="Largest difference of a weight, relative to the largest weight of its text",
    )
    colbert_cosine_smallest: float | None = None
    colbert_cosine_mean: float | None = None
    note: str = Field(default="", description="What could not be compared, and why")


class Throughput(_Part):
    """One system on one mix."""

    system: str
    mix: str
    outputs: OutputSet
    batch_size: int | None = Field(description="Texts a batch or request; None: all at once")
    passes: tuple[Pass, ...] = ()
    accuracy: Accuracy | None = None
    failure: Failure | None = None


class LatencyRound(_Part):
    """Single-text requests of several callers, in one round."""

    round: int
    seconds: float
    latencies_seconds: tuple[float, ...]


class Latency(_Part):
    """One system asked for one text at a time by ``concurrency`` callers."""

    system: str
    mix: str
    outputs: OutputSet
    concurrency: int
    rounds: tuple[LatencyRound, ...] = ()
    failure: Failure | None = None


class Limit(_Part):
    """The matrix multiplications of the trunk's own shapes and nothing else, in one round."""

    round: int
    mix: str
    outputs: OutputSet
    precision: Precision
    kernel: str
    flop_per_second: float


class RunDescription(_Part):
    """How the run was made."""

    version: str = Field(description="Of this package")
    threads: int
    rounds: int
    seed: int
    started: str = Field(description="UTC, ISO 8601")
    seconds: float
    load_average: float = Field(description="Other work in the minute before")
    reference: str = Field(description="The system that accuracy is measured against")
    groups: tuple[tuple[str, ...], ...] = Field(
        description="Workers that were in memory at the same time"
    )
    complete: bool = Field(description="False where it was stopped, or ran out of its time")
    notes: tuple[str, ...] = ()


class Results(_Part):
    """A whole run."""

    format_version: Literal[1] = FORMAT_VERSION
    machine: MachineDescription
    model: ModelDescription
    run: RunDescription
    mixes: tuple[MixDescription, ...]
    systems: tuple[SystemDescription, ...]
    throughput: tuple[Throughput, ...]
    latency: tuple[Latency, ...]
    limits: tuple[Limit, ...]

    def write(self, path: Path) -> None:
        """Write the file; an older one stays whole until the new one is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            ResultsError: It cannot be read, or is not one of ours.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise ResultsError(
                f"{path} is not a results file of this release: {error.errors()[0]['msg']} at "
                f"{'.'.join(map(str, error.errors()[0]['loc'])) or 'its beginning'}"
            ) from error
