"""Numbers of tokens from a live Triton."""

from __future__ import annotations

from pathlib import Path

import pytest
import tritonclient.grpc as grpcclient

from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_client import Client
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

TEXTS = [
    "如何重置微信支付密码",
    "",
    "How do I reset my WeChat Pay password?",
    "🙂 e\u0301",
    "ﷺ" * 100,
    "word " * 9_000,
    "密码，" * 30_000,
]


def executions(triton: Addresses, model: str) -> int:
    """How often a model has run."""
    with grpcclient.InferenceServerClient(triton.grpc) as connection:
        statistics = connection.get_inference_statistics(model)
    return int(statistics.model_stats[0].execution_count)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_counts_are_the_tokenizers_and_nothing_else_runs(
    triton: Addresses, demo_repository: Path, protocol: str
) -> None:
    """Far above 8,192 tokens too; the trunk is not asked."""
    tokenizer = TextTokenizer(next(demo_repository.glob("bge_m3_tokenizer/*/tokenizer.json")))
    expected = [len(encoding) for encoding in tokenizer.encode(TEXTS)]
    trunk_runs = executions(triton, "bge_m3_trunk")

    with Client({"http": triton.http, "grpc": triton.grpc}[protocol]) as client:
        counts = client.count_tokens(TEXTS)

    assert expected == counts.tolist()
    assert max(expected) > 30_000
    assert trunk_runs == executions(triton, "bge_m3_trunk")
