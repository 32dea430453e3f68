"""What Triton does with the ensemble: which steps run, which subsets work, what is batched."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from live.raw import embed, executions

from bgem3_backend.contract import COLBERT_HEAD, ENSEMBLE, SPARSE, TOKEN_TEXTS, TOKENIZER, TRUNK

pytestmark = pytest.mark.live

STEPS = (TOKENIZER.name, TRUNK.name, SPARSE.name, COLBERT_HEAD.name, TOKEN_TEXTS.name)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["token_lengths"], (1, 0, 0, 0, 0)),
        (["dense"], (1, 1, 0, 0, 0)),
        (["dense", "token_lengths", "full_token_lengths"], (1, 1, 0, 0, 0)),
        (["sparse_indices", "sparse_values", "sparse_lengths"], (1, 1, 1, 0, 0)),
        (["colbert"], (1, 1, 0, 1, 0)),
        (["colbert_fp16"], (1, 1, 0, 1, 0)),
        (["token_states"], (1, 1, 0, 1, 0)),
        (["colbert", "colbert_fp16", "token_states"], (1, 1, 0, 3, 0)),
        (["dense", "sparse_values", "colbert"], (1, 1, 1, 1, 0)),
        (["tokens"], (1, 0, 0, 0, 1)),
        (["token_ids", "tokens", "dense"], (1, 1, 0, 0, 1)),
    ],
)
def test_a_request_runs_only_the_steps_it_needs(
    connection: grpcclient.InferenceServerClient,
    outputs: list[str],
    expected: tuple[int, ...],
) -> None:
    """Seen in Triton's own statistics: dense alone runs no head and makes no token text."""

    def ran() -> tuple[int, ...]:
        return tuple(executions(connection, step)[0] - count for step, count in before.items())

    before = {step: executions(connection, step)[0] for step in STEPS}
    embed(connection, ["one text", "another"], outputs)
    # A step answers before it is counted.
    deadline = time.monotonic() + 2
    while ran() != expected and time.monotonic() < deadline:
        time.sleep(0.01)

    assert expected == ran()


def test_every_subset_of_the_outputs_can_be_asked_for(
    connection: grpcclient.InferenceServerClient,
) -> None:
    """All of one, two and three outputs, all but one, and all."""
    names = [tensor.name for tensor in ENSEMBLE.outputs]
    everything = embed(connection, ["一段文字", "a text"], names)
    subsets = [
        subset
        for size in (1, 2, 3, len(names) - 1)
        for subset in itertools.combinations(names, size)
    ]
    for subset in subsets:
        answer = embed(connection, ["一段文字", "a text"], subset)

        for name in subset:
            np.testing.assert_array_equal(answer[name], everything[name], err_msg=str(subset))


def test_concurrent_requests_are_batched(connection: grpcclient.InferenceServerClient) -> None:
    """The trunk runs fewer times than there are requests."""
    requests_before, batches_before = executions(connection, TRUNK.name)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda i: embed(connection, [f"text number {i}"]), range(64)))
    requests, batches = executions(connection, TRUNK.name)

    assert requests - requests_before == 64
    assert batches - batches_before < 48


def test_half_precision_is_the_same_rounded(
    connection: grpcclient.InferenceServerClient,
) -> None:
    answer = embed(connection, ["半精度", "half precision"], ["colbert", "colbert_fp16"])

    assert answer["colbert_fp16"].dtype == np.float16
    np.testing.assert_array_equal(answer["colbert_fp16"], answer["colbert"].astype(np.float16))


def test_dense_is_the_first_token_state_brought_to_length_one(
    connection: grpcclient.InferenceServerClient,
) -> None:
    """Of each text; texts of unlike lengths, and one of CLS and EOS alone."""
    answer = embed(connection, ["", "两个 words", "a"], ["token_states", "dense", "token_lengths"])
    starts = np.cumsum(answer["token_lengths"][0]) - answer["token_lengths"][0]
    first = answer["token_states"][0, starts]

    assert answer["token_states"].dtype == np.float32
    np.testing.assert_allclose(
        answer["dense"][0], first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6
    )


def test_the_outputs_fit_together(connection: grpcclient.InferenceServerClient) -> None:
    """Lengths add up to rows, for texts with and without entries."""
    names = [tensor.name for tensor in ENSEMBLE.outputs]
    answer = embed(connection, ["", "two words", "<mask>"], names, max_length=4)
    lengths = answer["token_lengths"][0]

    assert lengths.tolist() == [2, 4, 3]
    assert answer["colbert_lengths"][0].tolist() == (lengths - 1).tolist()
    assert answer["colbert"].shape[1] == (lengths - 1).sum()
    assert answer["sparse_lengths"].sum() == answer["sparse_indices"].shape[1]
    assert answer["token_ids"].shape[1] == answer["tokens"].shape[1] == lengths.sum()
    assert answer["token_states"].shape[1] == lengths.sum()
    assert answer["dense"].shape[1] == 3
