"""Retrieval tasks of MTEB and C-MTEB, by name, fetched from their hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import CollectionFetchError, MissingLibraryError
from bgem3_retrieval.evaluation.dataset import Dataset, Query, checked_dataset

if TYPE_CHECKING:
    from mteb.abstasks.retrieval import AbsTaskRetrieval


def load_task(name: str, split: str = "test") -> list[Dataset]:
    """Return the collections of a task: one, or one for each language or part that it has.

    Args:
        name: As MTEB has it.
        split: Whose judgements; where the task has one split alone (C-MTEB's is "dev"), that one.

    Raises:
        MissingLibraryError: ``mteb`` is not installed.
        InvalidInputError: There is no such task, it is none of retrieval, or has no such split.
        CollectionFetchError: It cannot be fetched.
    """
    try:
        import mteb
        from mteb.abstasks.retrieval import AbsTaskRetrieval
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f"--task {name} needs MTEB's own package: pip install mteb"
        ) from error
    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise InvalidInputError(f"MTEB has no task {name!r}: {_one_line(error)}") from error
    if not isinstance(task, AbsTaskRetrieval):
        raise InvalidInputError(
            f"{name} is a task of {task.metadata.type}, and what is measured here is retrieval"
        )
    splits = list(task.eval_splits)
    if split not in splits:
        if len(splits) != 1:
            raise InvalidInputError(
                f"{name} has no split {split!r}: choose with --split one of {', '.join(splits)}"
            )
        split = splits[0]
    try:
        task.load_data()
    # ConnectionError, the hub's HTTP errors, and what a cache without the files raises.
    except OSError as error:
        raise CollectionFetchError(
            f"{name} cannot be fetched from its hub ({_one_line(error)}). Where no hub can be "
            "reached, copy the collection in BEIR's layout and name its folder"
        ) from error
    return task_datasets(task, split)


def task_datasets(task: AbsTaskRetrieval, split: str) -> list[Dataset]:
    """Return the collections of a task that is loaded.

    Args:
        task: MTEB's.
        split: One of the task's.
    """
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    datasets = []
    for subset, splits in task.dataset.items():
        data = splits[split]
        name = task.metadata.name
        datasets.append(
            checked_dataset(
                name if len(task.dataset) == 1 else f"{name} ({subset})",
                TaskCorpus(data["corpus"]),
                [
                    Query(str(row["id"]), str(row["text"]), {"language": row.get("language")})
                    for row in data["queries"]
                ],
                _judgements(data["relevant_docs"]),
            )
        )
    return datasets


class TaskCorpus:
    """The documents of a task; their texts stay in the files that ``datasets`` has mapped.

    A document's text is its title and its text with a space between them, as MTEB joins them.
    """

    def __init__(self, rows: Any) -> None:  # noqa: ANN401 - a `datasets.Dataset`
        """Look through the rows: ``id``, ``text`` and, where there is one, ``title``."""
        self._rows = rows
        self.ids: Sequence[str] = [str(identifier) for identifier in rows["id"]]
        self.characters = np.array([len(_text(row)) for row in rows], np.int64)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of some documents; see :class:`Corpus`."""
        return [_text(self._rows[row]) for row in rows]


def _text(row: Mapping[str, Any]) -> str:
    return f"{row.get('title') or ''} {row['text']}".strip()


def _judgements(relevant: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    return {
        str(query): {str(document): int(score) for document, score in judged.items()}
        for query, judged in relevant.items()
    }


def _one_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    text = str(error.args[0]) if error.args else ""
    return text.strip().split("\n")[0] or type(error).__name__
