"""Where a framework, or what a search needs, is not installed, it is said what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "missing", "requirement"),
    [
        ("client.langchain", "langchain_core", "bgem3-triton[langchain]"),
        ("client.langchain_qdrant", "langchain_qdrant", "langchain-qdrant"),
        ("client.langchain_milvus", "langchain_milvus", "langchain-milvus"),
        ("client.llama_index", "llama_index", "bgem3-triton[llama-index]"),
        ("client.haystack", "haystack", "bgem3-triton[haystack]"),
        ("retrieval.langchain", "langchain_core", "bgem3-triton[langchain,retrieval]"),
        ("retrieval.langchain", "platformdirs", "bgem3-triton[langchain,retrieval]"),
        ("retrieval.llama_index", "llama_index", "bgem3-triton[llama-index,retrieval]"),
        ("retrieval.haystack", "haystack", "bgem3-triton[haystack,retrieval]"),
    ],
)
def test_message_names_the_requirement(module, missing, requirement):
    """In a process where it cannot be found."""
    package, name = module.split(".")
    code = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        f"import bgem3_{package}.integrations.{name}\n"
    )

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert 1 == finished.returncode
    last_line = finished.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ModuleNotFoundError: No module named")
    assert f"pip install '{requirement}'" in last_line
