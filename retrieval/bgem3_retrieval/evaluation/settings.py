"""What the options of ``bgem3 eval`` ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import MissingLibraryError

# SciPy is slow to import, and 'bgem3 --help' imports this module too.
if TYPE_CHECKING:
    from bgem3_retrieval.evaluation.dataset import Dataset
    from bgem3_retrieval.evaluation.runs import Run
    from bgem3_retrieval.evaluation.systems import System, Weights


@dataclass(frozen=True)
class EvaluationSettings:
    """The command's options, as given."""

    folders: tuple[Path, ...]
    tasks: tuple[str, ...]
    split: str
    url: str
    systems: str | None
    weights: str | None
    runs: tuple[str, ...]
    peers: str | None
    checkpoint: str
    max_length: int
    candidates: int
    test: Literal["permutation", "t-test"]
    seed: int
    output: Path | None
    as_json: bool
    quick: bool
    timeout_seconds: float
    progress: bool | None

    def draws_progress(self) -> bool:
        """Whether to draw a bar: unless said otherwise, where somebody sees it."""
        return sys.stderr.isatty() if self.progress is None else self.progress

    @property
    def peer_names(self) -> list[str]:
        """The other libraries, each once."""
        return _names(self.peers)

    def systems_and_weights(self) -> tuple[list[System], Weights]:
        """Return the ways to rank, and what hybrids weigh scores by.

        Raises:
            click.UsageError: A name or a weight is none.
            InvalidInputError: There is no system of that name.
        """
        from bgem3_retrieval.evaluation.systems import (
            DEFAULT_WEIGHTS,
            NO_SYSTEMS,
            SYSTEM_NAMES,
            chosen_systems,
        )

        weights = DEFAULT_WEIGHTS
        if self.weights is not None:
            try:
                dense, sparse, colbert = map(float, self.weights.split(","))
            except ValueError:
                raise click.UsageError(
                    f"--weights are three numbers with commas between them, as 0.7,0.3,1, not "
                    f"{self.weights!r}"
                ) from None
            weights = (dense, sparse, colbert)
        if self.systems == NO_SYSTEMS:
            return [], weights
        names = SYSTEM_NAMES if self.systems is None else _names(self.systems)
        if not names:
            raise click.UsageError("--systems is empty: name some, or 'none'")
        return chosen_systems(names, weights), weights

    def check_peers(self, systems: list[System]) -> None:
        """Refuse at once what would fail after minutes.

        Raises:
            click.UsageError: There is nothing to rank, or no such peer.
            MissingLibraryError: What peers run with is not installed.
        """
        if not systems and not self.runs:
            raise click.UsageError("--systems none compares run files: add --run NAME=FILE")
        peers = self.peer_names
        if not peers:
            return
        if not systems:
            raise click.UsageError("--peers are ranked by --systems, and those are none")
        try:
            from bgem3_retrieval.evaluation.peers import PEER_NAMES
        except ModuleNotFoundError as error:
            raise MissingLibraryError(
                f"--peers needs {error.name}: pip install 'bgem3-triton[all]'"
            ) from error
        if unknown := [name for name in peers if name not in PEER_NAMES]:
            raise click.UsageError(
                f"there is no peer called {unknown[0]!r}: choose some of {', '.join(PEER_NAMES)}"
            )

    def run_files(self) -> dict[str, Run]:
        """Read the run files, by the names that they are to have.

        Raises:
            click.UsageError: An option is not NAME=FILE, or its name is taken.
            InputFileError: A file cannot be read.
        """
        from bgem3_retrieval.evaluation.runs import read_run
        from bgem3_retrieval.evaluation.systems import SYSTEM_NAMES

        runs: dict[str, Run] = {}
        for option in self.runs:
            name, separator, file = option.partition("=")
            if not separator or not name or not file:
                raise click.UsageError(f"--run is NAME=FILE, as bm25=bm25.trec, not {option!r}")
            if name in runs or name in SYSTEM_NAMES:
                raise click.UsageError(f"--run {option}: there is a system called {name!r} already")
            runs[name] = read_run(Path(file))
        if runs and max(1, len(self.folders) + len(self.tasks)) > 1:
            raise click.UsageError("--run belongs to one collection: evaluate one at a time")
        return runs

    def datasets(self, say: Callable[[str], None]) -> list[Dataset]:
        """Read the collections, each with a name of its own.

        Raises:
            BgeM3Error: One cannot be read, or not fetched.
        """
        from bgem3_retrieval.evaluation.beir import read_beir

        datasets = []
        for folder in self.folders:
            say(f"reading {folder}")
            datasets.append(read_beir(folder, self.split))
        for task in self.tasks:
            from bgem3_retrieval.evaluation.mteb_task import load_task

            say(f"loading {task}")
            datasets += load_task(task, self.split)
        if not datasets:
            from bgem3_retrieval.evaluation.collection import collection_folder

            datasets.append(read_beir(collection_folder(), name="shipped collection"))
        names = [dataset.name for dataset in datasets]
        # Folders of one name are told apart by their places.
        return [
            replace(dataset, name=f"{dataset.name} ({number})")
            if names.count(dataset.name) > 1
            else dataset
            for number, dataset in enumerate(datasets, 1)
        ]


def check_runs(run_files: Mapping[str, Run], datasets: list[Dataset]) -> None:
    """Refuse a run of other queries: it would have 0 everywhere, and look like a bad system.

    Raises:
        InvalidInputError: A run has nothing of any query of the collection.
    """
    for name, run in run_files.items():
        for dataset in datasets:
            if not any(query.id in run for query in dataset.queries):
                raise InvalidInputError(
                    f"run {name!r} has none of the queries of {dataset.name}: it has "
                    f"{next(iter(run))!r}, the collection {dataset.queries[0].id!r}"
                )


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
