"""Where a framework or the libraries of a search are not installed, it is said what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "missing", "requirement"),
    [
        ("langchain", "langchain_core", "bgem3-triton[langchain,retrieval]"),
        ("langchain", "platformdirs", "bgem3-triton[langchain,retrieval]"),
        ("llama_index", "llama_index", "bgem3-triton[llama-index,retrieval]"),
        ("haystack", "haystack", "bgem3-triton[haystack,retrieval]"),
    ],
)
def test_message_names_the_requirement(module: str, missing: str, requirement: str) -> None:
    """In a process where it cannot be found."""
    code = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        f"import bgem3_retrieval.integrations.{module}\n"
    )

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert 1 == finished.returncode
    last_line = finished.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ModuleNotFoundError: No module named")
    assert f"pip install '{requirement}'" in last_line
