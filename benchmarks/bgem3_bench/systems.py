"""What is compared: this package in several forms, and what people would use instead."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from bgem3_bench.errors import WorkError
from bgem3_bench.peers.catalogue import PEERS, Peer
from bgem3_bench.peers.commands import worker_command
from bgem3_bench.peers.environments import Unavailable
from bgem3_bench.results import Failure, Precision
from bgem3_bench.worker_process import WorkerCommand
from bgem3_bench.workers.own_trunk import AUTO, ENGINES, REFERENCE_ENGINE, precision_of

BEST: Final = "best"
LIST_TEXTS: Final = 32
"""Texts in a request that holds a list."""
ALL: Final = "all"
"""On the command line: every system that there is."""

REFERENCE: Final = f"in-process-{REFERENCE_ENGINE}"
"""The system that accuracy is measured against."""

# What FlagEmbedding's users have is its defaults; the others are shown at their best.
_SHOWN_WITH_DEFAULTS: Final = ("flag-embedding",)
_USUAL_PEERS: Final = (
    "flag-embedding",
    "sentence-transformers",
    "sentence-transformers-bf16",
    "optimum-onnx",
    "bge-m3-lite",
)


@dataclass(frozen=True)
class System:
    """One row of the comparison.

    Attributes:
        name: On the command line.
        label: In reports.
        what: What it is and how it is set, in a line.
        ours: Whether it is this package.
        usual: Whether it takes part where nobody chooses.
        worker_name: Systems with the same worker share a process, and are measured in it one after
            the other.
        batch_size: Texts a batch or request; None for the system's own default, "best" for the
            fastest on each mix.
        precision: Of the linear layers, where the process does not say.
        module: Of our own worker, and its ``options``.
        worker: How its process is started, or why it cannot be; None before :func:`prepare`.
    """

    name: str
    label: str
    what: str
    ours: bool
    usual: bool
    worker_name: str
    batch_size: int | Literal["best"] | None = None
    precision: Precision | None = None
    module: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    worker: WorkerCommand | Failure | None = None


def all_systems() -> list[System]:
    """Return everything that can be compared, the peers first."""
    return [system for peer in PEERS.values() for system in _of_peer(peer)] + _own_systems()


def chosen_systems(names: Sequence[str], *, int8: bool = False) -> list[System]:
    """Return the systems of these names, in the order of :func:`all_systems`.

    Args:
        names: None for the usual ones; ``all`` for every one. The reference takes part in any
            case: without it nobody's accuracy is known.
        int8: Whether our own that need an INT8 trunk take part too.

    Raises:
        WorkError: There is no system of a name.
    """
    systems = all_systems()
    if ALL in names:
        return systems
    unknown = [name for name in names if name not in {system.name for system in systems}]
    if unknown:
        raise WorkError(
            f"there is no system called {', '.join(unknown)}; 'bgem3 bench --list' shows all"
        )

    def is_chosen(system: System) -> bool:
        if system.name == REFERENCE or (int8 and system.ours and system.precision == "int8"):
            return True
        return system.name in names if names else system.usual

    return [system for system in systems if is_chosen(system)]


def prepare(
    system: System, repository: Path, checkpoint: Path, on_progress: Callable[[str], None]
) -> System:
    """Return a system that can be started, or says why not.

    Args:
        system: From :func:`chosen_systems`.
        repository: What `bgem3 export` has made of the checkpoint.
        checkpoint: For the peers, which may first make files of it, once.
        on_progress: Called with a few words before each step.
    """
    if system.ours:
        arguments = (sys.executable, "-P", "-m", f"bgem3_bench.workers.{system.module}")
        options = {"repository": str(repository), **system.options}
        return replace(system, worker=WorkerCommand(system.worker_name, arguments, options))
    found = worker_command(system.worker_name, checkpoint, on_progress)
    if isinstance(found, Unavailable):
        kind: Literal["not_installed", "unavailable"] = (
            "not_installed" if found.is_installable else "unavailable"
        )
        return replace(system, worker=Failure(kind=kind, message=str(found)))
    return replace(system, worker=found)


def _of_peer(peer: Peer) -> list[System]:
    usual = peer.name in _USUAL_PEERS
    system = System(
        name=peer.name,
        label=peer.title,
        what=f"{peer.what}; {peer.defaults}" if peer.defaults else peer.what,
        ours=False,
        usual=usual and (peer.best is None or peer.name in _SHOWN_WITH_DEFAULTS),
        worker_name=peer.name,
        precision=peer.options.get("precision", "fp32"),
    )
    if peer.best is None:
        return [system]
    best = replace(
        system,
        name=f"{peer.name}-best",
        label=f"{peer.title}, best batch",
        what=f"{peer.what}; {peer.best}",
        usual=usual,
        batch_size=BEST,
    )
    return [system, best]


def _own_systems() -> list[System]:
    systems = [
        System(
            name=f"in-process-{engine}",
            label=f"bgem3 in process, {engine}",
            what="tokenizer, trunk and heads in one process",
            ours=True,
            # An INT8 trunk is there only where it was exported.
            usual=precision_of(engine) != "int8",
            worker_name=f"in-process-{engine}",
            precision=_precision(engine),
            module="in_process",
            options={"engine": engine},
        )
        for engine in ENGINES
    ]
    triton = _served("triton", "bgem3 Triton, gRPC", AUTO, "grpc")
    http = _served("http", "bgem3 HTTP service", AUTO, "bgem3")
    systems += [triton, _with_lists(triton), http, _with_lists(http)]
    for engine in ENGINES:
        name, label = f"triton-{engine}", f"bgem3 Triton, gRPC, {engine}"
        systems.append(_served(name, label, engine, "grpc"))
    return systems


def _served(name: str, label: str, engine: str, protocol: str) -> System:
    which = "the engine that is best here" if engine == AUTO else engine
    return System(
        name=name,
        label=label,
        what=f"{which}, served; one text a request, 64 in flight",
        ours=True,
        usual=engine == AUTO,
        worker_name=name,
        precision=_precision(engine),
        module="served",
        options={"engine": engine, "protocol": protocol},
    )


def _with_lists(served: System) -> System:
    return replace(
        served,
        name=f"{served.name}-lists",
        label=f"{served.label}, lists",
        what=f"the same with {LIST_TEXTS} texts a request, 8 in flight",
        batch_size=LIST_TEXTS,
    )


def _precision(engine: str) -> Precision | None:
    for precision in get_args(Precision):
        if precision == precision_of(engine):
            return cast(Precision, precision)
    return None
