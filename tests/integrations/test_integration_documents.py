"""The commands and examples of docs/integrations run, and both languages have the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from replay import load

FOLDER = Path(__file__).parents[2] / "docs" / "integrations"
PRODUCTS = ["anythingllm", "dify", "ragflow"]
FRAMEWORKS = ["haystack", "langchain", "llama-index"]
WRITTEN_URL = "localhost:33330"


def blocks(document, language):
    """Return the document's code blocks in a language."""
    text = (FOLDER / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_all_documents_are_known():
    """A new one is run too."""
    translated = [f"{product}.zh-CN.md" for product in PRODUCTS]
    english = [f"{name}.md" for name in PRODUCTS + FRAMEWORKS]

    assert sorted(english + translated) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("product", PRODUCTS)
def test_checks_succeed(product, keyed_service_url, key):
    """Each command as it stands, but for address and key, is answered with JSON."""
    commands = blocks(f"{product}.md", "sh")

    assert commands
    for command in commands:
        assert command.startswith("curl ")
        real = command.replace(f"http://{WRITTEN_URL}", keyed_service_url).replace("KEY", key)
        finished = subprocess.run(["bash", "-c", real], capture_output=True, text=True, timeout=60)
        assert 0 == finished.returncode, finished.stdout
        assert json.loads(finished.stdout)["data" if "rerank" not in command else "results"]


@pytest.mark.parametrize("product", PRODUCTS)
def test_translation_has_the_same_commands_and_tables(product):
    """What is typed is the same in both languages: commands, rows, and values in code style."""
    english, chinese = f"{product}.md", f"{product}.zh-CN.md"
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in (english, chinese)]
    rows = [re.findall(r"^\|.*\|$", text, re.MULTILINE) for text in texts]

    assert blocks(english, "sh") == blocks(chinese, "sh")
    assert len(rows[0]) == len(rows[1])
    for ours, theirs in zip(*rows, strict=True):
        assert set(re.findall("`[^`]+`", ours)) == set(re.findall("`[^`]+`", theirs))


@pytest.mark.parametrize("product", PRODUCTS)
def test_base_urls_are_those_of_the_replayed_requests(product):
    """What the tests say a user types is in the document."""
    text = (FOLDER / f"{product}.md").read_text(encoding="utf-8")
    typed = {value for replay in load(product) for value in replay.record["typed"].values()}

    for value in typed:
        address = value.format(
            service="http://HOST:33330", host="HOST:33330", model="bge_m3", key="KEY"
        )
        if "HOST" in address and not address.endswith("/rerank"):
            assert f"`{address}`" in text


def index_folder(framework, target, key):
    """Run the document's command that indexes a folder, as it stands but for address and key."""
    Path("handbook").mkdir()
    Path("handbook", "leave.md").write_text("# Leave\n\nAnnual leave is thirty days a year.\n")
    shell = "".join(blocks(f"{framework}.md", "sh")).replace("\\\n", "")
    (command,) = [line for line in shell.splitlines() if line.startswith("bgem3 ")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    finished = subprocess.run(
        command.replace(WRITTEN_URL, target).split(),
        env={**os.environ, "PATH": path, "BGEM3_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == finished.returncode, finished.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_examples_run_one_after_the_other(
    framework, keyed_service_url, key, tmp_path, monkeypatch, capsys
):
    """As they stand, but for address and key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BGEM3_API_KEY", "")
    target = keyed_service_url.removeprefix("http://")
    index_folder(framework, target, key)
    names = {}

    for example in blocks(f"{framework}.md", "python"):
        code = example.replace(WRITTEN_URL, target).replace('"KEY"', repr(key))
        exec(compile(code, f"{framework}.md", "exec"), names)

    printed = capsys.readouterr().out
    expected = {
        "haystack": "Parcels arrive",
        "langchain": "The pump carries the serial number QX-7741-B.\n",
        "llama-index": "Parcels arrive",
    }
    assert expected[framework] in printed
    assert "Annual leave is thirty days a year." in printed
    if framework == "langchain":
        assert "Open the settings and press Reset password.\n" in printed
