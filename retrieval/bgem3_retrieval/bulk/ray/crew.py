"""The workers of a run: who is there, who died, and which shard goes to whom."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from bgem3_client.errors import BgeM3Error
from bgem3_retrieval.bulk.corpus.endpoint import ServedModel
from bgem3_retrieval.bulk.ray.library import ray_library
from bgem3_retrieval.bulk.ray.worker import EncodedShard, ShardWorker, WorkerSettings
from bgem3_retrieval.errors import ClusterError, ModelChangedError

# A worker begins a shard before the requests of the last one are all answered.
_SHARDS_PER_WORKER: Final = 2
# Nodes come and go; a shard that takes down one worker after the other is another matter.
_SHARD_LOSSES: Final = 5
# So are workers that never come to work, one after the other.
_FALSE_STARTS: Final = 3
_NOTICE_SECONDS: Final = 15.0


@dataclass(order=True)
class _Task:
    number: int
    name: str = field(compare=False)
    windows: list[Any] = field(compare=False)
    losses: int = field(default=0, compare=False)


@dataclass(eq=False)
class _Worker:
    actor: Any
    ready: bool = False
    shards: int = 0


class Crew:
    """Encodes shards on workers; one that died is replaced, and its shards go to others.

    Ray restarts nothing itself: a worker waits for a node with room, and its shards need not.
    Use it as a context manager.
    """

    def __init__(self, size: int, settings: WorkerSettings, say: Callable[[str], None]) -> None:
        """Ask the cluster for workers.

        Args:
            size: How many; each takes one CPU.
            settings: What they do.
            say: Told, in words, when a worker or a server fails.
        """
        self._ray = ray_library()
        self._size = size
        self._settings = settings
        self._say = say
        self._model: ServedModel | None = None
        self._workers: list[_Worker] = []
        self._calls: dict[Any, tuple[_Worker, _Task | None]] = {}
        self._waiting: list[_Task] = []
        self._finished: dict[int, EncodedShard] = {}
        self._false_starts = 0
        self._actor_class = self._ray.remote(
            num_cpus=1, max_restarts=0, max_concurrency=_SHARDS_PER_WORKER
        )(ShardWorker)
        for _ in range(size):
            self._hire()

    @property
    def shards_ahead(self) -> int:
        """How many shards to have on their way, so that all workers have something to do."""
        return self._size * (_SHARDS_PER_WORKER + 1)

    def open(self) -> ServedModel:
        """Return what the servers serve, as soon as one worker is there.

        Raises:
            ClusterError: The workers do not come up.
            ServerError: As :meth:`ShardWorker.open`.
        """
        while self._model is None:
            self._step()
        return self._model

    def send(self, number: int, name: str, windows: list[Any]) -> None:
        """Have a shard encoded.

        Args:
            number: Lower ones come first.
            name: What it is going to be called.
            windows: References to its windows in the object store.
        """
        heapq.heappush(self._waiting, _Task(number, name, windows))
        self._assign()

    def result(self, number: int) -> EncodedShard:
        """Return a shard that was sent, when it is written.

        Raises:
            ClusterError: Worker after worker died of it, or the workers do not come up.
            ServerError: As :meth:`ShardWorker.encode`.
            OutputError: It cannot be written.
        """
        while number not in self._finished:
            self._step()
        return self._finished.pop(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _hire(self) -> None:
        worker = _Worker(self._actor_class.remote(self._settings))
        self._workers.append(worker)
        self._calls[worker.actor.open.remote()] = (worker, None)

    def _assign(self) -> None:
        """Give what waits to whoever has the least to do."""
        while self._waiting:
            free = [
                worker
                for worker in self._workers
                if worker.ready and worker.shards < _SHARDS_PER_WORKER
            ]
            if not free:
                return
            worker = min(free, key=lambda found: found.shards)
            task = heapq.heappop(self._waiting)
            worker.shards += 1
            self._calls[worker.actor.encode.remote(task.name, task.windows)] = (worker, task)

    def _step(self) -> None:
        """Wait until something happened, and deal with it."""
        exceptions = self._ray.exceptions
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_NOTICE_SECONDS)
        if not done and not any(worker.ready for worker in self._workers):
            self._say(
                f"waiting for the cluster to start a worker: {self._size} were asked for, each "
                "takes 1 CPU"
            )
        for reference in done:
            worker, task = self._calls[reference]
            try:
                answer = self._ray.get(reference)
            except exceptions.RayTaskError as error:
                if isinstance(error.cause, BgeM3Error):
                    raise error.cause from None
                raise
            except exceptions.RayActorError as error:
                self._lost(worker, error)
            except exceptions.RayError as error:
                raise ClusterError(f"the Ray cluster failed: {error}") from error
            else:
                del self._calls[reference]
                self._answered(worker, task, answer)
        self._assign()

    def _answered(self, worker: _Worker, task: _Task | None, answer: Any) -> None:  # noqa: ANN401 - of `open` or of `encode`
        if task is None:
            self._model = self._model or answer
            if answer != self._model:
                raise ModelChangedError(f"a worker finds {answer}, and the others {self._model}")
            worker.ready = True
            self._false_starts = 0
            return
        worker.shards -= 1
        for message in answer.messages:
            self._say(f"{message} (seen from {answer.node})")
        self._finished[task.number] = answer

    def _lost(self, worker: _Worker, error: Exception) -> None:
        """Put another one in the place of a worker, and its shards back before all that wait."""
        self._ray.kill(worker.actor)  # also where it only cannot be reached
        self._workers.remove(worker)
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts >= _FALSE_STARTS:
                raise ClusterError(f"Ray's workers do not start: {error}") from error
        tasks = []
        for reference, (owner, task) in list(self._calls.items()):
            if owner is worker:
                del self._calls[reference]
                tasks += [task] if task else []
        for task in tasks:
            task.losses += 1
            if task.losses >= _SHARD_LOSSES:
                raise ClusterError(
                    f"{task.name}: {task.losses} workers died while they encoded it: {error}"
                ) from error
            heapq.heappush(self._waiting, task)
        names = ", ".join(sorted(task.name for task in tasks)) or "nothing"
        self._say(f"a worker died; others encode again: {names}")
        self._hire()
