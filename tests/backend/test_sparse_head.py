"""The sparse head equals FlagEmbedding's loop over tokens."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bgem3_backend.errors import NotFiniteError
from bgem3_backend.heads import LinearHead
from bgem3_backend.sparse import SparseHead, SparseOutput

VOCABULARY_SIZE = 12
IGNORED_IDS = (0, 1, 2, 3)
MASK = VOCABULARY_SIZE - 1

# A head that passes the one hidden value on: a token's weight is what a test says.
IDENTITY = LinearHead(torch.ones(1, 1), torch.zeros(1))


def run(
    texts: list[list[tuple[int, float]]],
    linear: LinearHead = IDENTITY,
    dtype: torch.dtype = torch.float32,
) -> SparseOutput:
    """Run the head on texts of (id, hidden value)."""
    tokens = [token for text in texts for token in text]
    head = SparseHead(linear, IGNORED_IDS, VOCABULARY_SIZE)
    return head(
        torch.tensor([[value] for _, value in tokens], dtype=dtype).reshape(-1, 1),
        torch.tensor([token for token, _ in tokens], dtype=torch.int64),
        torch.tensor([len(text) for text in texts], dtype=torch.int64),
    )


def by_text(output: SparseOutput) -> list[dict[int, float]]:
    """Take the concatenated entries apart."""
    lengths = output.lengths.tolist()
    return [
        dict(zip(indices.tolist(), values.tolist(), strict=True))
        for indices, values in zip(
            torch.split(output.indices, lengths), torch.split(output.values, lengths), strict=True
        )
    ]


def flag_embedding(text: list[tuple[int, float]]) -> dict[int, float]:
    """``M3Embedder._process_token_weights`` of FlagEmbedding 1.4.2, after its relu."""
    result: dict[int, float] = defaultdict(int)
    for token, value in text:
        weight = max(value, 0.0)
        if token not in IGNORED_IDS and weight > 0 and weight > result[token]:
            result[token] = weight
    return {token: weight for token, weight in result.items() if weight}


tokens = st.tuples(
    st.integers(0, VOCABULARY_SIZE - 1),
    st.sampled_from([0.0, -0.0, 2.0**-100]) | st.floats(-10, 10, width=32),
)


@given(texts=st.lists(st.lists(tokens, min_size=1, max_size=12), min_size=1, max_size=8))
def test_the_weights_are_flag_embeddings(texts):
    """Repeated, ignored and unweighted tokens, and texts without any entry, included."""
    output = run(texts)

    assert [flag_embedding(text) for text in texts] == by_text(output)
    assert int(output.lengths.sum()) == output.indices.numel() == output.values.numel()
    assert all(list(entries) == sorted(entries) for entries in by_text(output))


def test_special_tokens_get_no_weight_but_mask_does():
    """cls, pad, eos and unk are left out; ``<mask>`` is a token like any other."""
    output = run([[(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (MASK, 3.0)]])

    assert [{4: 2.0, MASK: 3.0}] == by_text(output)


def test_a_repeated_token_keeps_its_largest_weight():
    """Within a text; another text's weight for the same token is its own."""
    output = run([[(5, 1.0), (5, 4.0), (5, 2.0)], [(5, 3.0)]])

    assert [{5: 4.0}, {5: 3.0}] == by_text(output)


def test_texts_without_entries_have_a_length_of_zero():
    """First, between others and last."""
    empty = [(0, 1.0), (5, -1.0), (2, 1.0)]
    output = run([empty, [(5, 1.0)], empty, [(6, 1.0)], empty])

    assert [0, 1, 0, 1, 0] == output.lengths.tolist()
    assert [5, 6] == output.indices.tolist()


def test_a_request_without_any_entry():
    """Empty arrays of the right types, and a zero for each text."""
    output = run([[(0, 1.0)], [(2, 1.0)]])

    assert [0, 0] == output.lengths.tolist()
    assert (0,) == tuple(output.indices.shape) == tuple(output.values.shape)


def test_outputs_have_the_contracts_types():
    """INT32 indices and lengths, FP32 values."""
    output = run([[(5, 1.0)]], dtype=torch.float16)

    assert torch.int32 == output.indices.dtype == output.lengths.dtype
    assert torch.float32 == output.values.dtype


def test_the_linear_layer_is_applied_with_its_bias():
    """Against NumPy, on hidden states of more than one number."""
    random = np.random.default_rng(0)
    states = random.normal(size=(4, 8)).astype(np.float32)
    weight, bias = random.normal(size=(1, 8)).astype(np.float32), np.array([5.0], np.float32)
    head = SparseHead(
        LinearHead(torch.from_numpy(weight), torch.from_numpy(bias)), IGNORED_IDS, VOCABULARY_SIZE
    )
    output = head(torch.from_numpy(states), torch.tensor([4, 5, 6, 7]), torch.tensor([4]))

    assert [4, 5, 6, 7] == output.indices.tolist()
    np.testing.assert_allclose(output.values.numpy(), (states @ weight.T + bias)[:, 0], rtol=1e-5)


def test_half_precision_states_are_computed_in_full_precision():
    """FP16 states below FP16's smallest sum are not lost: 2048 + 1 is 2048 in FP16."""
    linear = LinearHead(torch.tensor([[1.0, 1.0]]), torch.zeros(1))
    head = SparseHead(linear, IGNORED_IDS, VOCABULARY_SIZE)
    states = torch.tensor([[2048.0, 1.0]], dtype=torch.float16)

    assert [2049.0] == head(states, torch.tensor([5]), torch.tensor([1])).values.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("token", [5, 0], ids=["a word", "an ignored token"])
def test_a_weight_that_is_not_finite_is_an_error(value, token):
    """Minus infinity too, which relu would turn into a zero that nobody notices."""
    with pytest.raises(NotFiniteError, match="a lexical weight that is not finite") as caught:
        run([[(5, 1.0)], [(token, value), (6, 1.0)], [(7, 1.0)], [(token, value)]])

    assert (1, 3) == caught.value.indices


@given(
    first=st.lists(tokens, min_size=1, max_size=8), second=st.lists(tokens, min_size=1, max_size=8)
)
def test_neighbours_do_not_matter(first, second):
    """A text's entries are the same alone and beside another."""
    assert by_text(run([first])) + by_text(run([second])) == by_text(run([first, second]))


def test_the_heads_file_is_read_in_full_precision(tmp_path):
    """Whatever precision it was stored in; the width tells what hidden states it takes."""
    from safetensors.torch import save_file

    weight = torch.tensor([[1.0, 0.5, -2.0]])
    save_file({"weight": weight.half(), "bias": torch.tensor([0.25]).half()}, tmp_path / "head")
    head = LinearHead.load(tmp_path / "head", torch.device("cpu"))

    assert torch.float32 == head.weight.dtype == head.bias.dtype
    assert [[1.0, 0.5, -2.0]] == head.weight.tolist()
    assert 3 == head.hidden_size
    assert [[2.25]] == head(torch.tensor([[0.0, 4.0, 0.0]])).tolist()


def test_a_heads_file_without_a_linear_layer_is_an_error(tmp_path):
    """The export never writes one; a damaged repository must not pass for a good one."""
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(1, 3)}, tmp_path / "head")

    with pytest.raises(KeyError, match="bias"):
        LinearHead.load(tmp_path / "head", torch.device("cpu"))
