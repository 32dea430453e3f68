"""Texts whose right answers are known, and how an answer is held against them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bgem3_client import Client, Embedding
from bgem3_client.encode_request import Output
from bgem3_export.reference_texts import REFERENCE_TEXTS

MODES: Final[tuple[tuple[Output, ...], ...]] = (
    ("dense", "sparse", "colbert"),
    ("dense",),
    ("sparse", "colbert"),
    ("dense", "sparse"),
)
"""Each caller asks for these in turn, so that every step of the ensemble is needed soon."""

# A batch sums up in another order: some 1e-6 in FP32. Two texts are apart by far more.
_TOLERANCE: Final = 1e-4
_MOST_TEXTS: Final = 3


@dataclass(frozen=True)
class Answer:
    """What came back for one text; None for what was not asked for."""

    dense: NDArray[np.float32] | None = None
    sparse: Mapping[int, float] | None = None
    colbert: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Question:
    """Some texts and the representations wanted of them."""

    texts: tuple[str, ...]
    modes: tuple[Output, ...]


class RightAnswers:
    """The answers of a server that nothing disturbed, to each text alone."""

    def __init__(self, client: Client) -> None:
        """Ask for them.

        Raises:
            AssertionError: Most texts have answers too much alike.
        """
        self._answers: dict[str, Answer] = {}
        for text in REFERENCE_TEXTS:
            answer = answer_of(client.encode([text], MODES[0])[0], MODES[0])
            # Of texts that the model cannot tell apart one is kept: a mix-up would go unseen.
            if all(
                _differences(answer, other, MODES[0]) == [*MODES[0]]
                for other in self._answers.values()
            ):
                self._answers[text] = answer
        assert len(self._answers) > len(REFERENCE_TEXTS) / 2

    def questions(self, seed: int) -> Iterator[Question]:
        """Yield questions without end: texts at random, modes in turn."""
        chance = random.Random(seed)
        texts = list(self._answers)
        for number in itertools.count(seed):
            chosen = chance.sample(texts, chance.randint(1, _MOST_TEXTS))
            yield Question(tuple(chosen), MODES[number % len(MODES)])

    def mistakes(self, question: Question, answers: Sequence[Answer]) -> list[str]:
        """Say what is wrong with the answers to a question; nothing where they are right."""
        if len(answers) != len(question.texts):
            return [f"{len(answers)} answers to {len(question.texts)} texts"]
        return [
            f"{mode} of text {index}"
            for index, (text, given) in enumerate(zip(question.texts, answers, strict=True))
            for mode in _differences(self._answers[text], given, question.modes)
        ]


def answer_of(embedding: Embedding, modes: Sequence[Output]) -> Answer:
    """Return what the client gave for one text."""
    return Answer(
        dense=embedding.dense if "dense" in modes else None,
        sparse=embedding.sparse.as_dict() if "sparse" in modes else None,
        colbert=embedding.colbert if "colbert" in modes else None,
    )


def _differences(expected: Answer, given: Answer, modes: Sequence[Output]) -> list[Output]:
    """Return the representations that are not the same, or not there."""
    equal = {
        "dense": _is_close(expected.dense, given.dense),
        "sparse": _is_close(*_weights_side_by_side(expected.sparse or {}, given.sparse or {})),
        "colbert": _is_close(expected.colbert, given.colbert),
    }
    return [mode for mode in modes if not equal[mode]]


def _weights_side_by_side(
    one: Mapping[int, float], other: Mapping[int, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # A weight that rounding takes to 0 is not there at all.
    ids = sorted(one.keys() | other.keys())
    return (
        np.array([one.get(token_id, 0) for token_id in ids], np.float32),
        np.array([other.get(token_id, 0) for token_id in ids], np.float32),
    )


def _is_close(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool(np.allclose(one, other, rtol=0, atol=_TOLERANCE))
