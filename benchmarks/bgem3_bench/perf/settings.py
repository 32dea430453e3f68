"""What a user asks of ``bgem3 perf``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bgem3_bench.perf.loads import Load, parse_loads
from bgem3_client.encode_request import Output

Protocol = Literal["grpc", "http"]
PROTOCOL_NAMES: Final = {"grpc": "gRPC", "http": "HTTP"}

DEFAULT_LOADS: Final = "1:64:x2"


@dataclass(frozen=True)
class PerfSettings:
    """The command's options, as given.

    Attributes:
        protocol: None, one or both.
        outputs: Empty for everything that the model has; None where nothing is said.
        program: The perf_analyzer to run.
        perf_analyzer_options: What followed ``--``.
    """

    repository: Path | None
    url: str | None
    protocol: tuple[Protocol, ...]
    model: str
    concurrency_range: tuple[Load, ...] | None
    request_rate_range: tuple[Load, ...] | None
    outputs: tuple[Output, ...] | None
    texts: Path | None
    texts_per_request: int
    max_length: int | None
    measurement_interval: int | None
    measurement_request_count: int | None
    shared_memory: Literal["none", "system"]
    timeout_seconds: float
    output: Path
    program: Path | None
    write_input: Path | None
    which: bool
    perf_analyzer_options: tuple[str, ...]

    @property
    def loads(self) -> tuple[Load, ...]:
        """The levels of load, in order."""
        given = (self.concurrency_range or ()) + (self.request_rate_range or ())
        return given or parse_loads(DEFAULT_LOADS, "concurrency")

    @property
    def asked_outputs(self) -> tuple[Output, ...]:
        """Empty for all that the model has."""
        if self.outputs is not None:
            return self.outputs
        # Nothing is put on a server of the user's that he has not asked for.
        return () if self.url is not None else ("dense", "sparse", "colbert")
