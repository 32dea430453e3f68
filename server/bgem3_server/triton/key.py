"""The key to Triton's closed endpoints, on this side: made, kept, and kept out of sight."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import uuid4

from bgem3_client.triton_key import CLOSED_APIS, HEADER, key_file
from bgem3_server.settings import ServeSettings

_KEY_BYTES: Final = 32
# In /proc/PID/stat behind the name, which may hold anything and ends with a parenthesis.
_ARGUMENTS_START: Final = 45
_ARGUMENTS_END: Final = 46


def make_key(settings: ServeSettings) -> str | None:
    """Return the key of the settings, else a new one; None where nothing is to be closed."""
    if not settings.closed_endpoints:
        return None
    return settings.triton_key.get_secret_value() or secrets.token_urlsafe(_KEY_BYTES)


def closing_arguments(key: str) -> tuple[str, ...]:
    """Return the options with which Triton asks for the key, over HTTP and gRPC."""
    closed = f"{','.join(CLOSED_APIS)}:{HEADER}={key}"
    return f"--http-restricted-api={closed}", f"--grpc-restricted-protocol={closed}"


class KeyFiles:
    """Files with a key, one for each port, for clients that the same user runs."""

    def __init__(self) -> None:
        self._written: dict[Path, str] = {}

    def write(self, key: str, ports: Iterable[int]) -> None:
        """Write the files, readable by this user alone.

        Raises:
            OSError: They cannot be written.
        """
        for port in ports:
            file = key_file(port)
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = file.with_name(f".{port}.{uuid4().hex}")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as opened:
                opened.write(f"{key}\n")
            partial.replace(file)
            self._written[file] = key

    def remove(self) -> None:
        """Remove the files, unless another Triton has written its own meanwhile."""
        while self._written:
            file, key = self._written.popitem()
            try:
                is_ours = file.read_text(encoding="ascii").strip() == key
            except FileNotFoundError:
                continue
            if is_ours:
                file.unlink(missing_ok=True)


def hide_in_command_line(pid: int, secret: str) -> None:
    """Overwrite a secret in the command line of a child, which everybody on a machine can read.

    Triton takes the key in no other way than by an option, and has its own copy when it is up.

    Args:
        pid: The child; the kernel lets a parent of the same user do this.
        secret: ASCII.

    Raises:
        OSError: The kernel does not let us, or the secret is not there.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    numbers = fields.rpartition(")")[2].split()
    start, end = int(numbers[_ARGUMENTS_START]), int(numbers[_ARGUMENTS_END])
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        arguments = memory.read(end - start)
        if secret.encode() not in arguments:
            raise OSError(f"process {pid} shows no command line with it")
        memory.seek(start)
        memory.write(arguments.replace(secret.encode(), b"*" * len(secret)))
