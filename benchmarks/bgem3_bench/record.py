"""What a run has measured so far, and the results made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from bgem3_bench.errors import WorkerError
from bgem3_bench.machine import this_machine
from bgem3_bench.plan import Plan
from bgem3_bench.pool import WorkerRecord
from bgem3_bench.results import (
    Accuracy,
    Failure,
    Latency,
    LatencyRound,
    Limit,
    MachineDescription,
    MixDescription,
    ModelDescription,
    OutputSet,
    Pass,
    Results,
    RunDescription,
    SystemDescription,
    Throughput,
)
from bgem3_bench.systems import System

ThroughputKey = tuple[str, str, OutputSet]
"""System, mix, outputs."""
LatencyKey = tuple[str, str, OutputSet, int]
"""System, mix, outputs, concurrency."""


@dataclass
class Record:
    """Figures by what they are of; filled while the run goes on."""

    passes: dict[ThroughputKey, list[Pass]] = field(default_factory=dict)
    accuracies: dict[ThroughputKey, Accuracy] = field(default_factory=dict)
    batch_sizes: dict[ThroughputKey, int | None] = field(default_factory=dict)
    latencies: dict[LatencyKey, list[LatencyRound]] = field(default_factory=dict)
    failures: dict[ThroughputKey | LatencyKey, Failure] = field(default_factory=dict)
    limits: list[Limit] = field(default_factory=list)

    def best_batch_size(self, system: System, mix: str) -> int | None:
        """Return the batch size that a system has been given for a mix, with any outputs."""
        for (name, of_mix, _), batch_size in self.batch_sizes.items():
            if (name, of_mix) == (system.name, mix):
                return batch_size
        return None

    def results(
        self, plan: Plan, workers: Mapping[str, WorkerRecord], run: RunDescription
    ) -> Results:
        """Return everything, in the order of the plan; what was not measured has no figures."""
        shape = plan.model.shape
        return Results(
            machine=MachineDescription(**asdict(this_machine())),
            model=ModelDescription(
                name=plan.model.name,
                note=plan.model.note,
                layers=shape.layers,
                hidden_size=shape.hidden,
                linear_flop_per_token=shape.linear_flop_per_token,
            ),
            run=run,
            mixes=tuple(
                MixDescription(name=mix.name, description=mix.description, lengths=mix.lengths)
                for mix in plan.mixes
            ),
            systems=tuple(
                _description(system, workers.get(system.worker_name, WorkerRecord()))
                for system in plan.systems
            ),
            throughput=tuple(
                self._throughput((system.name, cell.mix.name, cell.outputs))
                for cell in plan.cells
                for system in plan.systems
            ),
            latency=tuple(
                self._latency((system.name, cell.mix.name, cell.outputs, cell.concurrency))
                for cell in plan.latency_cells
                for system in plan.latency_systems
            ),
            limits=tuple(self.limits),
        )

    def _throughput(self, key: ThroughputKey) -> Throughput:
        system, mix, outputs = key
        return Throughput(
            system=system,
            mix=mix,
            outputs=outputs,
            batch_size=self.batch_sizes.get(key),
            passes=tuple(self.passes.get(key, ())),
            accuracy=self.accuracies.get(key),
            failure=self.failures.get(key),
        )

    def _latency(self, key: LatencyKey) -> Latency:
        system, mix, outputs, concurrency = key
        return Latency(
            system=system,
            mix=mix,
            outputs=outputs,
            concurrency=concurrency,
            rounds=tuple(self.latencies.get(key, ())),
            failure=self.failures.get(key),
        )


def failure_of(error: WorkerError) -> Failure:
    """Return what a report says of an error."""
    return Failure(kind=error.kind, message=str(error))


def _description(system: System, worker: WorkerRecord) -> SystemDescription:
    loaded = worker.loaded or {}
    failure = system.worker if isinstance(system.worker, Failure) else None
    if worker.failure is not None:
        failure = failure_of(worker.failure)
    return SystemDescription(
        name=system.name,
        label=system.label,
        ours=system.ours,
        worker=system.worker_name,
        precision=loaded.get("precision") or system.precision,
        settings=loaded.get("settings", ""),
        versions=loaded.get("versions", {}),
        startup_seconds=tuple(worker.startup_seconds),
        failure=failure,
    )
