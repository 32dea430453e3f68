"""What the README shows works as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_service import live_service

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str, containing: str) -> list[str]:
    """Return the README's code blocks of a language that contain something."""
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    chosen = [block for block in found if containing in block]
    assert chosen, (language, containing)
    return chosen


@pytest.fixture(scope="module")
def service(triton: Addresses, demo_repository: Path) -> Iterator[str]:
    """The URL of the HTTP service in front of the live server."""
    with live_service(GatewaySettings(triton=triton.grpc, tokenizer=demo_repository)) as url:
        yield url


def for_this(triton: Addresses, text: str) -> str:
    """Put the live server's addresses in the place of the default ones."""
    return text.replace("127.0.0.1:8001", triton.grpc).replace("http://127.0.0.1:8000", triton.http)


def curl(command: str) -> Any:
    """Run an example and return the JSON that it prints."""
    result = subprocess.run(
        shlex.split(command), capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(result.stdout)


def test_the_python_example(triton: Addresses) -> None:
    (example,) = blocks("python", "Client(")
    code = for_this(triton, example)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    assert result.stdout.startswith("(2, 384)")
    assert "colbert+sparse+dense" in result.stdout


def test_the_curl_example_for_triton(triton: Addresses) -> None:
    (example,) = blocks("sh", "/v2/models")
    (output,) = curl(for_this(triton, example))["outputs"]

    assert ("dense", "FP32", [1, 2, 384]) == (output["name"], output["datatype"], output["shape"])


def test_the_curl_example_for_all_representations(service: str) -> None:
    (example,) = blocks("sh", "/embed ")
    answer = curl(example.replace("http://127.0.0.1:33330", service))

    assert [384, 384] == [len(vector) for vector in answer["embeddings"]]
    assert 2 == len(answer["sparse_embeddings"])
    assert answer["token_lengths"] == [len(matrix) + 1 for matrix in answer["colbert_embeddings"]]


def test_the_curl_example_in_the_dialect_of_openai(service: str) -> None:
    (example,) = blocks("sh", "/v1/embeddings")
    answer = curl(example.replace("http://127.0.0.1:33330", service))

    assert [384, 384] == [len(item["embedding"]) for item in answer["data"]]


def test_the_curl_example_that_ranks(service: str) -> None:
    (example,) = blocks("sh", "/rerank")
    answer = curl(example.replace("http://127.0.0.1:33330", service))

    assert [0, 1] == [result["index"] for result in answer["results"]]


def test_the_encode_example(triton: Addresses, tmp_path: Path) -> None:
    (example,) = blocks("sh", "bgem3 encode")
    (tmp_path / "texts.txt").write_text("一行\nanother\n", "utf-8")
    command = [Path(sys.executable).parent / "bgem3", *shlex.split(example)[1:]]
    subprocess.run([*command, "--url", triton.grpc], cwd=tmp_path, check=True, timeout=120)
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "embeddings.parquet").num_rows == 2


def test_the_examples_of_index_and_search(triton: Addresses, tmp_path: Path) -> None:
    """Of a folder with a document; evaluating has tests of its own."""
    (example,) = blocks("sh", "bgem3 index")
    index, search = (shlex.split(line, comments=True)[1:] for line in example.splitlines()[:2])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "start.md").write_text("# 启动\n\n用 bgem3 serve 启动服务。\n", "utf-8")
    bgem3 = Path(sys.executable).parent / "bgem3"
    where = ("--url", triton.grpc, "--store", tmp_path / "store")
    subprocess.run([bgem3, *index, *where], cwd=tmp_path, check=True, timeout=120)
    found = subprocess.run(
        [bgem3, *search, *where, "--json"],
        cwd=tmp_path,
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )

    (hit,) = json.loads(found.stdout)["hits"]
    assert "用 bgem3 serve 启动服务。" in hit["text"]


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", README.read_text("utf-8")))
    makefile = (README.parent / "Makefile").read_text("utf-8")

    assert named <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
