"""The callers of the fault tests see what they are there to see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from faults.questions import MODES, Answer, Question, RightAnswers, answer_of

from bgem3_client import Client, FakeTransport


def _cut(answer: Answer) -> Answer:
    assert answer.colbert is not None
    return dataclasses.replace(answer, colbert=answer.colbert[:-1])


def _moved(answer: Answer) -> Answer:
    assert answer.dense is not None
    return dataclasses.replace(answer, dense=answer.dense + np.float32(1e-3))


def _lighter(answer: Answer) -> Answer:
    assert answer.sparse is not None
    return dataclasses.replace(answer, sparse=dict(list(answer.sparse.items())[1:]))


def _not_a_number(answer: Answer) -> Answer:
    assert answer.dense is not None
    return dataclasses.replace(answer, dense=answer.dense * np.float32("nan"))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda answer: answer, []),
        (_moved, ["dense of text 1"]),
        (_not_a_number, ["dense of text 1"]),
        (_cut, ["colbert of text 1"]),
        (_lighter, ["sparse of text 1"]),
        (lambda answer: Answer(), [f"{mode} of text 1" for mode in MODES[0]]),
    ],
)
def test_a_wrong_answer_is_seen(damage: Callable[[Answer], Answer], found: list[str]) -> None:
    """Another number, a missing row or weight, nothing at all; and a right one is none."""
    with Client(transport=FakeTransport()) as client:
        right = RightAnswers(client)
        question = Question(next(right.questions(0)).texts[:1] * 2, MODES[0])
        answers = [answer_of(one, MODES[0]) for one in client.encode(question.texts, MODES[0])]

    assert found == right.mistakes(question, [answers[0], damage(answers[1])])


def test_answers_of_two_texts_that_change_places_are_seen() -> None:
    """Each is right, for somebody else."""
    with Client(transport=FakeTransport()) as client:
        right = RightAnswers(client)
        questions = right.questions(0)
        question = next(one for one in questions if len(one.texts) > 1)
        answers = [answer_of(one, MODES[0]) for one in client.encode(question.texts, MODES[0])]

    assert right.mistakes(question, answers[::-1])
    assert right.mistakes(question, answers[1:])
