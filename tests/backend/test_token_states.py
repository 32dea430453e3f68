"""Hidden states as an output: FP32 whatever the trunk's precision, and never NaN."""

from __future__ import annotations

import pytest
import torch

from bgem3_backend.errors import NotFiniteError
from bgem3_backend.token_states import token_states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_states_are_given_in_full_precision(dtype):
    """The same numbers, CLS and EOS included."""
    states = torch.tensor([[1.5, -2.0], [0.25, 65504.0], [0.0, 3.0]], dtype=dtype)
    output = token_states(states, torch.tensor([3]))

    assert torch.float32 == output.dtype
    assert states.tolist() == output.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("row", [0, 2])
def test_a_state_that_is_not_finite_is_an_error(row, value):
    """Of any token, the first included."""
    states = torch.ones(3, 2)
    states[row, 1] = value

    with pytest.raises(NotFiniteError, match="a hidden state that is not finite") as caught:
        token_states(states, torch.tensor([2, 1]))

    assert ({0: 0, 2: 1}[row],) == caught.value.indices
