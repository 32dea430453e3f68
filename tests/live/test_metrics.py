"""The project's own metrics stand beside Triton's."""

from __future__ import annotations

import re
from urllib.request import urlopen

import pytest
import tritonclient.grpc as grpcclient
from live.raw import embed

from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live


def read_metrics(triton: Addresses) -> dict[str, float]:
    """Return the values of our metrics by name and model."""
    with urlopen(triton.metrics) as response:
        text = response.read().decode()
    return {
        f"{name} {model}": float(value)
        for name, model, value in re.findall(
            r'^(bgem3_\w+)\{model="(\w+)"\} (\S+)$', text, flags=re.MULTILINE
        )
    }


def test_texts_tokens_and_truncations_are_counted(
    triton: Addresses, connection: grpcclient.InferenceServerClient
) -> None:
    before = read_metrics(triton)
    embed(connection, ["one two three four five six", "", "one"], max_length=4)
    after = read_metrics(triton)

    def grown(name: str) -> float:
        return after[name] - before[name]

    assert grown("bgem3_texts_total bge_m3_tokenizer") == 3
    assert grown("bgem3_tokens_total bge_m3_tokenizer") == 4 + 2 + 3
    assert grown("bgem3_truncated_texts_total bge_m3_tokenizer") == 1
    assert grown("bgem3_trunk_tokens_total bge_m3_trunk") == 4 + 2 + 3
    assert grown("bgem3_trunk_padded_tokens_total bge_m3_trunk") == 3 * 4
    assert after["bgem3_packing_efficiency_ratio bge_m3_trunk"] == pytest.approx(9 / 12)
