"""`bgem3 gateway` as a process, in front of a server that speaks Triton's protocol."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from fake_triton import Behaviour
from gateway_command import GatewayProcess, embed, fake_triton
from waiting import wait_until

BGEM3 = Path(sys.executable).with_name("bgem3")
Start = Callable[..., GatewayProcess]


@pytest.fixture
def behaviour() -> Behaviour:
    """What the Triton of a test does."""
    return Behaviour()


@pytest.fixture
def start_gateway(behaviour: Behaviour, tmp_path: Path) -> Iterator[Start]:
    """Start `bgem3 gateway` on a free port of loopback; it is stopped after the test."""
    started: list[GatewayProcess] = []

    def start(*options: str, **environment: str) -> GatewayProcess:
        folder = tmp_path / f"gateway{len(started)}"
        folder.mkdir()
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [
                    *(BGEM3, "gateway", "--triton", triton, "--host", "127.0.0.1", "--port", "0"),
                    # One probe, and no more: what Triton is asked then are the test's requests.
                    *("--ready-interval-seconds", "3600"),
                    *("--ready-file", folder / "ready.json", *options),
                ],
                stdout=out,
                stderr=err,
                env={**os.environ, **environment},
            )
        started.append(GatewayProcess(process, folder))
        return started[-1]

    with fake_triton(behaviour) as triton:
        yield start
        for gateway in started:
            gateway.process.kill()
            gateway.process.wait()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    """Threads to send requests from."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def accepts_connections(url: str) -> bool:
    """Tell whether anybody listens there."""
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
    except ConnectionRefusedError:
        return False
    return True


def workers_of(gateway: GatewayProcess) -> list[psutil.Process]:
    """The processes that answer."""
    return psutil.Process(gateway.process.pid).children()


def test_it_says_where_it_listens_and_when_it_is_ready(start_gateway: Start) -> None:
    """A port of 0 becomes a free one; both lines are for people and on standard output."""
    gateway = start_gateway()

    url = gateway.wait_ready()
    lines = gateway.printed.splitlines()

    assert [f"listening: {url}", "ready: model bge-m3"] == lines
    assert embed(url).status_code == 200
    assert [] == workers_of(gateway)

    gateway.process.send_signal(signal.SIGTERM)

    assert 0 == gateway.process.wait(10)
    assert "stopping: waiting for requests in flight\nstopped\n" == gateway.complained
    assert not (gateway.folder / "ready.json").exists()


def test_the_bind_address_is_shown_with_one_that_works_here(start_gateway: Start) -> None:
    """Nobody can connect to 0.0.0.0, and everybody wants to know that it is open to all."""
    gateway = start_gateway("--host", "0.0.0.0")
    gateway.wait_ready()

    assert re.fullmatch(
        r"listening: http://0\.0\.0\.0:(\d+) \(on this machine http://127\.0\.0\.1:\1\)",
        gateway.printed.splitlines()[0],
    )


def test_ipv6(start_gateway: Start) -> None:
    """An IPv6 address stands in brackets in a URL."""
    gateway = start_gateway("--host", "::1")

    url = gateway.wait_ready()

    assert url.startswith("http://[::1]:")
    assert embed(url).status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_in_flight_at_a_stop_are_answered(
    start_gateway: Start, behaviour: Behaviour, callers: ThreadPoolExecutor, workers: str
) -> None:
    """All of them, with whole answers; new connections are refused meanwhile."""
    gateway = start_gateway("--workers", workers)
    url = gateway.wait_ready()
    asked = len(behaviour.headers)
    behaviour.delay_seconds = 1

    answers = [callers.submit(embed, url, f"text {number}") for number in range(10)]
    wait_until(lambda: len(behaviour.headers) == asked + 10)
    gateway.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not accepts_connections(url))

    assert not any(answer.done() for answer in answers)
    assert [200] * 10 == [answer.result().status_code for answer in answers]
    assert all(len(answer.result().json()["data"]) == 1 for answer in answers)
    assert 0 == gateway.process.wait(10)
    assert gateway.complained.endswith("\nstopped\n")


def test_a_load_balancer_has_time_to_notice(start_gateway: Start) -> None:
    """With a drain delay the service says that it stops, and answers all the same."""
    gateway = start_gateway("--drain-delay-seconds", "1.5")
    url = gateway.wait_ready()

    gateway.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in gateway.complained)

    assert 503 == httpx.get(f"{url}/health/ready").status_code
    assert 200 == embed(url).status_code
    assert 0 == gateway.process.wait(10)


def test_what_takes_too_long_at_a_stop_is_told_so(
    start_gateway: Start, behaviour: Behaviour, callers: ThreadPoolExecutor
) -> None:
    """Its caller gets a 503 that says why, not a broken connection; the exit status is still 0."""
    gateway = start_gateway("--stop-timeout-seconds", "1")
    url = gateway.wait_ready()
    behaviour.delay_seconds = 4

    answer = callers.submit(embed, url)
    time.sleep(0.3)
    gateway.process.send_signal(signal.SIGTERM)

    assert 503 == answer.result().status_code
    assert "stopped before it answered" in answer.result().json()["error"]["message"]
    assert 0 == gateway.process.wait(10)
    assert "stopped by force: requests in flight were cut off" in gateway.complained
    assert "Traceback" not in gateway.complained


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_second_signal_stops_at_once(
    start_gateway: Start, behaviour: Behaviour, callers: ThreadPoolExecutor, workers: str
) -> None:
    """Whoever cannot wait sends the signal again; no process is left then either."""
    gateway = start_gateway("--workers", workers)
    url = gateway.wait_ready()
    processes = workers_of(gateway)
    behaviour.delay_seconds = 60

    answer = callers.submit(embed, url)
    time.sleep(0.3)
    gateway.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in gateway.complained)
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGINT)

    assert 128 + signal.SIGINT == gateway.process.wait(10)
    assert time.monotonic() - began < 3
    assert answer.exception() is not None or answer.result().status_code == 503
    assert not any(process.is_running() for process in processes)


def test_workers_are_replaced_and_end_with_their_parent(start_gateway: Start) -> None:
    """One that is killed, one that hangs; a SIGKILL of the command leaves nobody on the port."""
    gateway = start_gateway("--workers", "2", "--hang-timeout-seconds", "1.5")
    url = gateway.wait_ready()

    workers_of(gateway)[0].kill()
    while_one_is_missing = [embed(url).status_code for _ in range(20)]
    wait_until(lambda: gateway.printed.count("ready: ") == 2)
    hung = workers_of(gateway)[0]
    hung.suspend()
    wait_until(lambda: gateway.printed.count("ready: ") == 3)
    workers = workers_of(gateway)
    gateway.process.kill()
    wait_until(lambda: not any(worker.is_running() for worker in workers))

    assert [200] * 20 == while_one_is_missing
    assert not hung.is_running()
    assert 2 == len(workers)
    assert "was killed by SIGKILL; restart 1 in 1 s" in gateway.complained
    assert "has done nothing for" in gateway.complained
    assert not accepts_connections(url)


@pytest.mark.parametrize("encrypted", [False, True])
def test_while_no_worker_answers_callers_are_told(
    start_gateway: Start, certificate: tuple[Path, Path], encrypted: bool
) -> None:
    """At once and in their dialect, on a connection that the next request does not use."""
    public, key = (str(path) for path in certificate)
    tls = ("--tls-certificate", public, "--tls-key", key) if encrypted else ()
    gateway = start_gateway("--workers", "2", "--hang-timeout-seconds", "60", *tls)
    url = gateway.wait_ready().replace("127.0.0.1", "localhost")
    verify = ssl.create_default_context(cafile=public) if encrypted else False
    workers = workers_of(gateway)

    for worker in workers:
        worker.suspend()
    first = embed(url, verify=verify)
    long = embed(url, "word " * 300_000, verify=verify)
    with httpx.Client(verify=verify, headers={"X-Request-Id": "mine"}) as client:
        rerank = client.post(f"{url}/rerank", json={"query": "a", "texts": ["b"]})
    for worker in workers:
        worker.resume()
    # It takes a moment to leave them the socket.
    wait_until(lambda: {200} == {embed(url, verify=verify).status_code for _ in range(10)})

    assert [503] * 3 == [first.status_code, long.status_code, rerank.status_code]
    assert ("1", "close") == (first.headers["Retry-After"], first.headers["Connection"])
    assert "not_ready" == first.json()["error"]["code"]
    assert "send the request again" in long.json()["error"]["message"]
    assert ("mine", "mine") == (rerank.json()["request_id"], rerank.headers["X-Request-Id"])
    assert set(workers) == set(workers_of(gateway))
    assert "no process of the HTTP service answers: callers get 503" in gateway.complained
    wait_until(lambda: gateway.printed.count("ready: ") == 2)


def test_metrics_of_all_workers_are_one_answer(start_gateway: Start) -> None:
    """Whichever worker is asked, the sum is told; the folder for it goes away at the end."""
    gateway = start_gateway("--workers", "2")
    url = gateway.wait_ready()
    folder = workers_of(gateway)[0].environ()["PROMETHEUS_MULTIPROC_DIR"]

    for _ in range(12):
        embed(url)
    counts = {
        line.rpartition(" ")[2]
        for _ in range(6)
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if line.startswith("bgem3_texts_total")
    }
    gateway.process.send_signal(signal.SIGTERM)
    gateway.process.wait(10)

    assert {"12.0"} == counts
    assert not Path(folder).exists()


def test_who_sends_no_request_is_not_waited_for(start_gateway: Start) -> None:
    """Nothing at all, or headers that come drop by drop; an idle connection is another matter."""
    url = start_gateway("--body-timeout-seconds", "1").wait_ready()
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    request = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"

    def ask(connection: socket.socket) -> bytes:
        """Send a request, and return the whole answer."""
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65_536)
        return answer

    def drip(connection: socket.socket, count: int) -> bytes:
        """Send a header's bytes one by one; return what came back when that ended."""
        with suppress(ConnectionError):
            for _ in range(count):
                connection.sendall(b"a")
                time.sleep(0.1)
        with suppress(ConnectionError):
            return connection.recv(65_536)
        return b""

    with (
        socket.create_connection(address, timeout=20) as silent,
        socket.create_connection(address, timeout=20) as first,
        socket.create_connection(address, timeout=20) as second,
    ):
        first.sendall(request[:-2] + b"X: ")
        answer = ask(second)
        time.sleep(1.5)
        later = ask(second)
        second.sendall(request[:-2] + b"X: ")

        assert b"" == silent.recv(1)
        assert b"" == drip(first, 30)
        assert b"" == drip(second, 30)
    assert answer.startswith(b"HTTP/1.1 200")
    assert later.startswith(b"HTTP/1.1 200")


def test_a_port_in_use_is_named(start_gateway: Start) -> None:
    """With the option that gives another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = start_gateway("--port", str(port))

        assert 1 == gateway.process.wait(20)
    assert (
        f"error: cannot listen on 127.0.0.1, port {port}: Address already in use; choose another "
        "with --port (0 picks a free one)\n"
    ) == gateway.complained
    assert "" == gateway.printed


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_setting_that_is_wrong_ends_it(
    start_gateway: Start, tmp_path: Path, workers: str
) -> None:
    """With the reason, and without a traceback."""
    gateway = start_gateway("--tokenizer", str(tmp_path / "nothing"), "--workers", workers)

    assert gateway.process.wait(20) in (1, 2)
    assert "is neither a tokenizer.json nor a model repository" in gateway.complained
    assert "Traceback" not in gateway.complained


def test_a_triton_that_is_away_is_said(start_gateway: Start) -> None:
    """The service listens and answers 503; people read why."""
    gateway = start_gateway("--triton", "127.0.0.1:1")
    url = gateway.wait_listening()
    wait_until(lambda: "not ready: " in gateway.complained)

    assert 503 == httpx.get(f"{url}/health/ready").status_code
    assert "127.0.0.1:1" in gateway.complained


def test_the_service_needs_no_torch() -> None:
    """Nor anything else that only the models and the export need."""
    heavy = {
        "torch",
        "onnx",
        "onnxruntime",
        "transformers",
        "pytriton",
        "bgem3_server.triton.probe",
    }
    code = f"import sys, bgem3_server.gateway.process.service; print({heavy} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "set()\n" == result.stdout


def test_https_with_a_client_certificate(
    start_gateway: Start, certificate: tuple[Path, Path]
) -> None:
    """Callers without a certificate of the authority get no connection."""
    public, key = (str(path) for path in certificate)
    gateway = start_gateway(
        *("--tls-certificate", public, "--tls-key", key, "--tls-client-authority", public)
    )
    url = gateway.wait_ready().replace("127.0.0.1", "localhost")

    context = ssl.create_default_context(cafile=public)
    with pytest.raises(httpx.TransportError):
        embed(url, verify=context)
    context.load_cert_chain(public, key)

    assert url.startswith("https://")
    assert 200 == embed(url, verify=context).status_code


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    public, key = folder / "certificate.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {public}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return public, key
