"""Compiles the batching strategy, once for each compiler."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_client.cache_folder import cache_folder
from bgem3_export.errors import CompilerError

LIBRARY_FILE: Final = "batchstrategy.so"
"""The name under which Triton looks for a batching strategy."""

_SOURCE: Final = Path(__file__).with_name("token_budget.c")
# Warnings are errors in the tests alone: another compiler may know more of them.
_OPTIONS: Final = (
    *("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"),
    # Triton closes the library before the thread that calls it has ended.
    "-Wl,-z,nodelete",
)
_COMPILERS: Final = ("cc", "gcc", "clang")
_TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True)
class Compiler:
    """A C compiler that runs.

    Attributes:
        command: The program and the options that it was named with.
        version: The first line of what it says about itself.
    """

    command: tuple[str, ...]
    version: str


def find_compiler() -> Compiler:
    """Return the compiler named by ``CC``, else the first of cc, gcc and clang.

    Raises:
        CompilerError: There is none, or it does not run.
    """
    named = os.environ.get("CC", "").strip()
    if named:
        return _ask(tuple(shlex.split(named)), "CC")
    for program in _COMPILERS:
        if shutil.which(program):
            return _ask((program,), "PATH")
    raise CompilerError(
        "there is no C compiler on PATH (cc, gcc or clang), and CC names none: "
        "apt-get install gcc libc6-dev (Debian, Ubuntu), or dnf install gcc (Fedora, RHEL). "
        "Without one, batches are limited by their requests alone (max_batch_size)"
    )


def build_library() -> Path:
    """Return the compiled library, from the user's cache where it was compiled before.

    Raises:
        CompilerError: There is no compiler, or it fails.
        OSError: The cache cannot be written to.
    """
    compiler = find_compiler()
    folder = cache_folder() / f"batching-{_fingerprint(compiler)}"
    library = folder / LIBRARY_FILE
    if library.is_file():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as building:
        built = Path(building) / LIBRARY_FILE
        _run([*compiler.command, *_OPTIONS, "-o", str(built), str(_SOURCE)])
        # Complete or not at all, also for another process that is building it.
        built.replace(library)
    return library


def _ask(command: tuple[str, ...], where: str) -> Compiler:
    try:
        said = _run([*command, "--version"])
    except CompilerError as error:
        raise CompilerError(f"the C compiler from {where} cannot be used: {error}") from error
    return Compiler(command, said.partition("\n")[0])


def _fingerprint(compiler: Compiler) -> str:
    parts = (*compiler.command, compiler.version, platform.machine(), *_OPTIONS)
    digest = hashlib.sha256("\0".join(parts).encode())
    digest.update(_SOURCE.read_bytes())
    return digest.hexdigest()[:16]


def _run(command: list[str]) -> str:
    """Run a compiler and return what it printed.

    Raises:
        CompilerError: It cannot be started, fails, or does not end.
    """
    try:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise CompilerError(f"'{command[0]}' cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CompilerError(
            f"'{shlex.join(command)}' had not ended after {_TIMEOUT_SECONDS} s"
        ) from error
    if run.returncode != 0:
        raise CompilerError(
            f"'{shlex.join(command)}' ended with exit status {run.returncode}; a compiler without "
            f"the C library's headers needs libc6-dev (Debian, Ubuntu):\n{run.stdout.strip()}"
        )
    return run.stdout
