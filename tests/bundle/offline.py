"""`make bundle-test`: the demo model bundled, installed and served, with the network closed.

It takes a gigabyte and a half for the bundle and its packages, two and a half for the installation,
and a network for the first of three steps.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bgem3_server.bundle.bundle import Bundle, make_bundle

# Of this process alone: its own user has all rights in it, and no interface but a closed loopback.
CLOSED = ("unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",)))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with nothing in it: no caches."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def full_bundle(demo_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle, with the packages from where pip gets them."""
    begun = time.monotonic()
    bundle = make_bundle(
        demo_repository, tmp_path_factory.mktemp("bundle") / "demo", progress=print
    )
    print(
        f"bundled in {time.monotonic() - begun:.0f} s: {bundle.packages} packages, "
        f"{bundle.size_bytes / 2**20:,.0f} MiB"
    )
    return bundle


@pytest.fixture(scope="session")
def installed(full_bundle: Bundle, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was installed of it, without network."""
    folder = tmp_path_factory.mktemp("opt") / "bgem3"
    begun = time.monotonic()
    _run_closed(home, "sh", str(full_bundle.folder / "install.sh"), str(folder))
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*"))
    print(f"installed in {time.monotonic() - begun:.0f} s: {size_bytes / 2**20:,.0f} MiB")
    return folder


def test_an_installed_bundle_serves_without_network(installed: Path, home: Path) -> None:
    """From an empty home, with all packages and libraries from the bundle."""
    repository = next((installed / "models").iterdir())
    script = Path(__file__).with_name("closed_network.py")
    output = _run_closed(
        home,
        *(sys.executable, "-I", str(script)),
        *(str(installed / "bin" / "bgem3"), str(repository), str(home / "ready.json")),
    )
    interfaces, ready_seconds, answer, status = json.loads(output.splitlines()[-1])
    dense = answer["embeddings"]
    print(f"ready in {ready_seconds:.0f} s")

    assert interfaces == ["lo"]
    assert status == 0
    assert [len(vector) for vector in dense] == [384, 384]
    assert [math.hypot(*vector) for vector in dense] == pytest.approx([1, 1], abs=1e-3)
    assert "密码" in answer["sparse_embeddings"][0]["lexical_weights"]
    assert len(answer["colbert_embeddings"]) == 2


def test_the_commands_are_all_there(installed: Path, home: Path) -> None:
    """Those that serve and search; the bundled wheel can make bundles itself."""
    output = _run_closed(home, str(installed / "bin" / "bgem3"), "--help")

    assert list(installed.glob("lib/*/site-packages/bgem3_server/bundle/constraints.txt"))
    for command in ("serve", "gateway", "index", "search", "bundle"):
        assert f"\n  {command} " in output


def _run_closed(home: Path, *command: str) -> str:
    """Run a command without network, in the given home, and return what it prints."""
    run = subprocess.run(
        [*CLOSED, *command],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(home),
            "PYTHON": str(Path(sys.executable).resolve()),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
