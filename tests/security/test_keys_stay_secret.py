"""A key is nowhere but in the header that brings it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
from waiting import wait_until

KEY = "ship-shape-7f3a"
STORE_KEY = "store-keeper-91bd"
WRONG = "wrong-guess-55c2"
BGEM3 = Path(sys.executable).with_name("bgem3")


def test_keys_are_never_written(tmp_path: Path) -> None:
    """In no line of the log at its finest, no answer, no metric, no command line, no file."""
    output = tmp_path / "output"
    environment = {
        **os.environ,
        "BGEM3_API_KEYS": KEY,
        "BGEM3_STORE_API_KEY": STORE_KEY,
        "BGEM3_STORE": "http://127.0.0.1:9",
    }
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(BGEM3, "gateway", "--triton", "127.0.0.1:9", "--host", "127.0.0.1", "--port"),
                *("0", "--service-log-level", "debug", "--log-format", "json"),
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        wait_until(lambda: "http://" in output.read_text() or process.poll() is not None)
        line = next(line for line in output.read_text().splitlines() if "127.0.0.1:" in line)
        port = int(line.partition("127.0.0.1:")[2].partition(" ")[0].strip("/"))
        told = []
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for key in (KEY, WRONG, f"{KEY} {WRONG}"):
                headers = {"Authorization": f"Bearer {key}", "X-Timeout-Seconds": "2"}
                for method, path, body in (
                    ("POST", "/embed", b'{"texts": ["a"]}'),
                    ("POST", "/embed", b"no JSON"),
                    ("GET", "/collections", b""),
                    ("GET", "/nothing", b""),
                    ("PUT", "/embed", b""),
                ):
                    # By mistake in the query too, as people do.
                    answer = client.request(
                        method, path, content=body, headers=headers, params={"key": key}
                    )
                    told.append((answer.status_code, answer.text, str(answer.headers)))
            for path in ("/metrics", "/openapi.json", "/health"):
                told.append((0, client.get(path).text, ""))
        told.append((0, Path(f"/proc/{process.pid}/cmdline").read_text(), ""))
    finally:
        process.terminate()
        process.wait(60)
    told.append((0, output.read_text(), ""))
    shown = "\n".join(f"{text}\n{headers}" for _, text, headers in told)

    assert 401 in [status for status, _, _ in told]
    assert 503 in [status for status, _, _ in told]
    assert "/embed" in output.read_text()
    assert [] == [key for key in (KEY, STORE_KEY, WRONG) if key in shown]
