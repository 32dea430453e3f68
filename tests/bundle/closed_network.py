"""Run by ``offline.py`` where there is no network: serves what was installed, and asks it once.

    closed_network.py BGEM3 REPOSITORY READY_FILE

It uses nothing but Python's standard library, and prints what came of it as JSON.
"""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_READY_SECONDS = 120


def main() -> None:
    """Open loopback, see that all else is closed, serve, and ask."""
    bgem3, repository, ready_file = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
    interfaces = [name for _, name in socket.if_nameindex()]
    begun = time.monotonic()
    arguments = ["--port", "0", "--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    with subprocess.Popen(
        [bgem3, "serve", repository, "--host", "127.0.0.1", "--ready-file", ready_file, *arguments],
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            while not Path(ready_file).exists():
                if server.poll() is not None:
                    sys.exit(f"the server has ended with {server.returncode}")
                if time.monotonic() - begun > _READY_SECONDS:
                    sys.exit("the server is not ready in time")
                time.sleep(0.1)
            ready_seconds = time.monotonic() - begun
            addresses = json.loads(Path(ready_file).read_text(encoding="utf-8"))
            answer = _embed(addresses["service"])
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(timeout=120)
    print(json.dumps([interfaces, ready_seconds, answer, status]))


def _embed(service: str) -> object:
    question = {"texts": ["如何重置密码", "a text"], "mode": ["dense", "sparse", "colbert"]}
    request = urllib.request.Request(
        f"{service}/embed",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
