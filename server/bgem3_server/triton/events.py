"""What happens to a server while it is watched; ``str`` of each is a line for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bgem3_export.manifest import Manifest
from bgem3_export.trunk_config import BatchLimits
from bgem3_server.models.record import VersionRecord
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.installation import Installation
from bgem3_server.triton.probe import Finding, ServedModel
from bgem3_server.triton.profile import ProfileChoice


@dataclass(frozen=True)
class Starting:
    """Triton is about to be started, for the first time."""

    installation: Installation
    profile: ProfileChoice

    def __str__(self) -> str:
        return (
            f"starting Triton ({self.installation.origin}), "
            f"profile {self.profile.profile}: {self.profile.reason}"
        )


@dataclass(frozen=True)
class Batching:
    """What a batch of the trunk may hold, where its tokens are limited; before the first start.

    Attributes:
        library: What counts the tokens; None where it is missing, and only requests count.
    """

    repository: Path
    limits: BatchLimits
    library: Path | None

    def __str__(self) -> str:
        requests, tokens = f"{self.limits.requests} requests", f"{self.limits.tokens:,} tokens"
        if self.library is None:
            return (
                f"batches: at most {requests}; to limit them to {tokens} too: "
                f"bgem3 build-batcher {self.repository}"
            )
        counted = ", padding included" if self.limits.cost == "padded" else ""
        return f"batches: at most {requests} and {tokens}{counted}"


@dataclass(frozen=True)
class Launching:
    """A tritonserver is about to run, at these addresses; before every start.

    They are final unless somebody takes a port that was picked before Triton binds it: another
    event then tells the next ones.
    """

    addresses: Addresses

    def __str__(self) -> str:
        where = self.addresses
        return f"Triton will listen at {where.grpc} (gRPC) and {where.http}"


@dataclass(frozen=True)
class KeyProblem:
    """The key to Triton's closed endpoints is not where it should be, or where it should not be."""

    problem: str

    def __str__(self) -> str:
        return f"warning: the key to Triton's closed endpoints {self.problem}"


@dataclass(frozen=True)
class Ready:
    """Triton answers; after every start.

    Attributes:
        version: What serves, where the repository holds more versions than its manifest.
    """

    addresses: Addresses
    model: ServedModel
    manifest: Manifest | None
    profile: ProfileChoice
    version: VersionRecord | None = None

    def __str__(self) -> str:
        where = self.addresses
        return f"ready: gRPC {where.grpc}  HTTP {where.http}  metrics {where.metrics}"


@dataclass(frozen=True)
class Ailing:
    """A probe failed; Triton is restarted after ``allowed`` in a row."""

    finding: Finding
    failures: int
    allowed: int

    def __str__(self) -> str:
        return (
            f"Triton is {self.finding.health.value} ({self.failures} of {self.allowed}): "
            f"{self.finding.detail}"
        )


@dataclass(frozen=True)
class Absent:
    """Somebody unloaded the public model; Triton is left as it is."""

    finding: Finding

    def __str__(self) -> str:
        return f"the model is not loaded: {self.finding.detail}"


@dataclass(frozen=True)
class Restarting:
    """Triton failed and is started again after a wait."""

    cause: str
    attempt: int
    delay_seconds: float

    def __str__(self) -> str:
        return f"Triton {self.cause}; restart {self.attempt} in {self.delay_seconds:g} s"


@dataclass(frozen=True)
class Stopping:
    """Requests in flight may finish; no new ones are taken."""

    def __str__(self) -> str:
        return "stopping: waiting for requests in flight"


@dataclass(frozen=True)
class Stopped:
    """Nothing is left of Triton."""

    drained: bool

    def __str__(self) -> str:
        return "stopped" if self.drained else "stopped by force: requests in flight were cut off"


Event = (
    Starting
    | Batching
    | Launching
    | KeyProblem
    | Ready
    | Ailing
    | Absent
    | Restarting
    | Stopping
    | Stopped
)
