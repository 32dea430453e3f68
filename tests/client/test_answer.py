"""A server's answer is held against the contract."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from bgem3_client import ContractError, FakeTransport, InferRequest, NotFiniteError
from bgem3_client.answer import read_answer
from bgem3_client.encode_request import ALL_OUTPUTS, EncodeOptions

OPTIONS = EncodeOptions(ALL_OUTPUTS, return_tokens=True, return_hidden_states=True)
TEXTS = (b"one two", b"", b"three")


@pytest.fixture
def response():
    """Return a sound answer to all questions."""
    request = InferRequest(TEXTS, OPTIONS.tensors, OPTIONS.parameters, "bge_m3")
    return asyncio.run(FakeTransport().infer(request))


def changed(response, name, tensor):
    """Return the answer with another tensor."""
    return replace(response, tensors={**response.tensors, name: tensor})


def test_sound_answer_is_read(response):
    """What the contract says is accepted."""
    embeddings = read_answer(response, OPTIONS, len(TEXTS))

    assert (3, 16) == embeddings.dense.shape
    assert [3, 1, 2] == [len(rows) for rows in embeddings.colbert]
    assert [4, 2, 3] == [len(rows) for rows in embeddings.hidden_states]
    assert [["<s>", "one", "two", "</s>"], ["<s>", "</s>"], ["<s>", "three", "</s>"]] == (
        embeddings.tokens
    )


@pytest.mark.parametrize("name", [tensor.name for tensor in OPTIONS.tensors])
def test_missing_output_is_named(response, name):
    """An answer without an output that was asked for is another contract's."""
    tensors = {key: value for key, value in response.tensors.items() if key != name}

    with pytest.raises(ContractError, match=f"'{name}'"):
        read_answer(replace(response, tensors=tensors), OPTIONS, len(TEXTS))


@pytest.mark.parametrize("name", [tensor.name for tensor in OPTIONS.tensors])
def test_wrong_number_of_rows_is_named(response, name):
    """Every output has one row for each text, token or entry."""
    tensor = response.tensors[name]

    with pytest.raises(ContractError, match=name):
        read_answer(changed(response, name, tensor[:, :-1]), OPTIONS, len(TEXTS))


@pytest.mark.parametrize("name", [tensor.name for tensor in OPTIONS.tensors])
def test_wrong_type_is_named(response, name):
    """Every output has the contract's type."""
    tensor = np.zeros(response.tensors[name].shape, dtype=np.float64)

    with pytest.raises(ContractError, match=f"{name} as float64"):
        read_answer(changed(response, name, tensor), OPTIONS, len(TEXTS))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("token_lengths", [4, 0, 5]),
        ("full_token_lengths", [3, 2, 3]),
        ("sparse_lengths", [4, -1, 0]),
        ("token_lengths", [3, 3, 4]),
    ],
)
def test_lengths_that_cannot_be_are_refused(response, name, rows):
    """Lengths are positive, not more than before truncation, and add up."""
    with pytest.raises(ContractError):
        read_answer(changed(response, name, np.array([rows], dtype=np.int32)), OPTIONS, len(TEXTS))


@pytest.mark.parametrize("name", ["dense", "sparse_values", "colbert", "token_states"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_number_that_is_not_finite_is_the_servers_failure(response, name, number):
    """NaN never reaches an index: the server failed."""
    tensor = response.tensors[name].copy()
    tensor.flat[-1] = number

    with pytest.raises(NotFiniteError, match=name) as caught:
        read_answer(changed(response, name, tensor), OPTIONS, len(TEXTS))

    assert len(TEXTS) - 1 == caught.value.index


def test_weight_of_a_token_that_is_not_there_is_refused(response):
    """Sparse ids are ids of the texts' tokens."""
    indices = response.tensors["sparse_indices"].copy()
    indices[0, 0] = 3

    with pytest.raises(ContractError, match="not in the texts"):
        read_answer(changed(response, "sparse_indices", indices), OPTIONS, len(TEXTS))


def test_token_that_is_not_utf8_is_refused(response):
    """Token texts are text."""
    tokens = response.tensors["tokens"].copy()
    tokens[0, 1] = b"\xff"

    with pytest.raises(ContractError, match="UTF-8"):
        read_answer(changed(response, "tokens", tokens), OPTIONS, len(TEXTS))
