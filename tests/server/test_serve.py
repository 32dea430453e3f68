"""`bgem3 serve` with the real tritonserver of the wheel."""

from __future__ import annotations

import ipaddress
import signal
import socket
import time
import urllib.request

import psutil
import pytest
import tritonclient.grpc as triton_grpc
from demo_manifest import demo_manifest
from serve_command import answer, family, shared_memory, still_running
from waiting import wait_until

from bgem3_client.address import Address
from bgem3_client.triton_key import key_headers

pytestmark = pytest.mark.live

# A request to a model whose process is dead fails after a second.
QUICK_PROBES = ("--probe-interval-seconds", "0.2", "--probe-timeout-seconds", "1.5")
QUICK_RESTART = ("--restart-delay-seconds", "0.1")


def test_ready_server_tells_its_addresses_and_stops_cleanly(make_repository, start_serve):
    """Ports of 0 become free ones, printed and written; all three answer; nothing is left."""
    serve = start_serve(make_repository())

    addresses = serve.wait_ready()
    triton = serve.triton()
    processes = family(triton)
    regions = shared_memory(triton)
    line = "ready: gRPC {grpc}  HTTP {http}  metrics {metrics}".format(**addresses)

    assert answer(addresses["grpc"]) == 5
    assert urllib.request.urlopen(addresses["http"] + "/v2/health/ready").status == 200
    assert b"nv_inference" in urllib.request.urlopen(addresses["metrics"]).read()
    assert ["model: bge_m3 version 1; profile cpu", line] == serve.printed.splitlines()
    assert len(processes) == 2
    assert len(regions) == 1

    serve.process.send_signal(signal.SIGTERM)

    assert serve.wait_exit() == 0
    assert not serve.ready_file.exists()
    assert still_running(processes) == []
    assert [region for region in regions if region.exists()] == []


def test_only_loopback_is_bound(make_repository, start_serve):
    """Unless it is asked to, no port of Triton is open to the network."""
    serve = start_serve(make_repository())
    serve.wait_ready()

    bound = {
        ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:"))
        for connection in serve.triton().net_connections()
        if connection.status == psutil.CONN_LISTEN
    }

    assert {ipaddress.ip_address("127.0.0.1")} == bound


def test_demo_model_is_said_aloud(make_repository, start_serve):
    """Nobody takes the demo model for BGE-M3."""
    repository = make_repository()
    demo_manifest().write(repository)

    serve = start_serve(repository)
    serve.wait_ready()

    assert "demo model: 384 dimensions, not BGE-M3" in serve.printed


def test_requests_in_flight_are_answered_at_a_stop(
    make_repository, start_serve, requests_in_flight
):
    """SIGTERM lets every request finish, those that wait behind others too."""
    serve = start_serve(make_repository())
    grpc = serve.wait_ready()["grpc"]
    triton = serve.triton()
    processes = family(triton)
    regions = shared_memory(triton)

    answers = [requests_in_flight.submit(answer, grpc, "sleep 0.3") for _ in range(6)]
    time.sleep(0.5)
    unanswered = sum(not future.done() for future in answers)
    serve.process.send_signal(signal.SIGTERM)

    assert unanswered >= 4
    assert [future.result() for future in answers] == [9] * 6
    assert serve.wait_exit() == 0
    assert still_running(processes) == []
    assert [region for region in regions if region.exists()] == []
    assert serve.complained.endswith("stopping: waiting for requests in flight\nstopped\n")


def test_second_signal_stops_at_once(make_repository, start_serve, requests_in_flight):
    """Whoever cannot wait sends the signal again; nothing is left then either."""
    serve = start_serve(make_repository())
    grpc = serve.wait_ready()["grpc"]
    triton = serve.triton()
    processes = family(triton)
    regions = shared_memory(triton)

    cut_off = requests_in_flight.submit(answer, grpc, "sleep 60")
    time.sleep(0.3)
    serve.process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in serve.complained)
    began = time.monotonic()
    serve.process.send_signal(signal.SIGINT)

    assert serve.wait_exit() == 128 + signal.SIGINT
    assert time.monotonic() - began < 3
    assert cut_off.exception() is not None
    assert still_running(processes) == []
    assert [region for region in regions if region.exists()] == []


def test_stop_while_the_models_load(make_repository, start_serve):
    """A server that is not ready yet has nothing to finish, and stops at once."""
    serve = start_serve(make_repository(initialize="time.sleep(60)"))
    wait_until(lambda: psutil.Process(serve.process.pid).children(recursive=True)[1:] != [])
    processes = psutil.Process(serve.process.pid).children(recursive=True)

    began = time.monotonic()
    serve.process.send_signal(signal.SIGTERM)

    assert serve.wait_exit() == 0
    assert time.monotonic() - began < 3
    assert still_running(processes) == []


def test_failing_model_is_named_with_its_reason(make_repository, start_serve):
    """The message has the model's own error and where it was raised, and not the log."""
    repository = make_repository(initialize='raise ValueError("sparse_linear.pt is missing")')

    serve = start_serve(repository)

    assert serve.wait_exit() == 1
    assert serve.printed == ""
    assert (
        f"bge_m3: ValueError: sparse_linear.pt is missing ({repository}/bge_m3/1/model.py:8)"
        in serve.complained
    )
    assert len(serve.complained.splitlines()) == 3


def test_dying_model_process_is_named_with_its_last_words(make_repository, start_serve):
    """A Python process that dies while loading leaves no error; what it printed is shown."""
    body = 'import os, sys; print("out of patience", file=sys.stderr); os._exit(3)'

    serve = start_serve(make_repository(initialize=body))

    assert serve.wait_exit() == 1
    assert "Stub process 'bge_m3_0_0' is not healthy" in serve.complained
    assert "out of patience" in serve.complained


def test_unreadable_config_is_named_with_its_place(make_repository, start_serve):
    """A mistake in config.pbtxt is shown with line and column."""
    repository = make_repository()
    config = repository / "bge_m3" / "config.pbtxt"
    config.write_text(config.read_text().replace("TYPE_INT32", "TYPE_INT33"))

    serve = start_serve(repository)

    assert serve.wait_exit() == 1
    assert f"bge_m3: failed to read text proto from {config}: 6:56: " in serve.complained


def test_port_in_use_is_named(make_repository, start_serve):
    """The message says which port, and which option gives another; Triton is not started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serve = start_serve(make_repository(), "--http-port", str(port))

        assert serve.wait_exit() == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in serve.complained
    assert "--http-port" in serve.complained


def test_crashed_triton_is_restarted(make_repository, start_serve):
    """After a SIGKILL Triton answers again at the same addresses, and the crash is reported."""
    serve = start_serve(make_repository(), *QUICK_RESTART)
    addresses = serve.wait_ready()
    crashed = serve.triton()
    orphans = crashed.children(recursive=True)
    regions = shared_memory(crashed)

    crashed.kill()
    wait_until(lambda: serve.printed.count("ready: ") == 2)

    assert answer(addresses["grpc"]) == 5
    assert "Triton was killed by SIGKILL" in serve.complained
    assert "restart 1 in 0.1 s" in serve.complained
    assert len(regions) == 1
    assert [region for region in regions if region.exists()] == []
    assert still_running(orphans) == []


def test_killed_model_process_is_noticed_and_replaced(make_repository, start_serve):
    """Triton stays 'ready' without its Python process; the probe finds out."""
    serve = start_serve(make_repository(), *QUICK_PROBES, *QUICK_RESTART)
    addresses = serve.wait_ready()
    (stub,) = serve.triton().children()

    stub.kill()
    wait_until(lambda: serve.printed.count("ready: ") == 2)

    assert answer(addresses["grpc"]) == 5
    assert "Triton is sick (3 of 3): Stub process 'bge_m3_0_0' is not healthy" in serve.complained


def test_hung_triton_is_noticed_and_replaced(make_repository, start_serve):
    """No answer and no work done means hung; a hung server is not waited for."""
    once = ("--probe-failures", "1")
    serve = start_serve(make_repository(), *QUICK_PROBES, *QUICK_RESTART, *once)
    addresses = serve.wait_ready()

    serve.triton().suspend()
    wait_until(lambda: serve.printed.count("ready: ") == 2)

    assert answer(addresses["grpc"]) == 5
    assert "Triton is hung (1 of 1)" in serve.complained


def test_busy_triton_is_left_alone(make_repository, start_serve, requests_in_flight):
    """Probes that wait behind a long computation, or behind many short ones, are no failures."""
    serve = start_serve(make_repository(), *QUICK_PROBES, "--probe-failures", "1")
    grpc = serve.wait_ready()["grpc"]

    one_long = requests_in_flight.submit(answer, grpc, "burn 2.5")
    assert one_long.result() == 8
    many_short = [requests_in_flight.submit(answer, grpc, "sleep 0.2") for _ in range(12)]
    assert [future.result() for future in many_short] == [9] * 12

    assert serve.printed.count("ready: ") == 1
    assert len(serve.complained.splitlines()) == 1


def test_unloaded_model_is_left_unloaded(make_repository, start_serve):
    """Somebody wanted that: it is said, once, and Triton is not restarted."""
    serve = start_serve(make_repository(), "--probe-interval-seconds", "0.1")
    grpc = serve.wait_ready()["grpc"]

    headers = key_headers(Address.parse(grpc))
    with triton_grpc.InferenceServerClient(grpc) as client:
        client.unload_model("bge_m3", headers=headers)
        wait_until(lambda: "the model is not loaded" in serve.complained)
        time.sleep(0.5)  # several probes more
        client.load_model("bge_m3", headers=headers)

    assert answer(grpc) == 5
    assert serve.printed.count("ready: ") == 1
    assert serve.complained.count("the model is not loaded") == 1


def test_triton_that_cannot_be_restarted_is_given_up(make_repository, start_serve, tmp_path):
    """The command ends with an error, and the reason, once the restarts are used up."""
    marker = tmp_path / "broken"
    body = f'import os; assert not os.path.exists("{marker}"), "the disk is gone"'
    serve = start_serve(make_repository(initialize=body), *QUICK_RESTART, "--restart-limit", "2")
    serve.wait_ready()

    marker.touch()
    serve.triton().kill()

    assert serve.wait_exit() == 1
    assert "restart 1 in 0.1 s" in serve.complained
    assert "restart 2 in 0.2 s" in serve.complained
    assert "AssertionError: the disk is gone" in serve.complained
    assert "given up after 2 restarts in a row" in serve.complained


def test_triton_ends_with_a_killed_server(make_repository, start_serve):
    """A SIGKILL of the command itself leaves no Triton on the ports."""
    serve = start_serve(make_repository())
    serve.wait_ready()
    triton = serve.triton()
    processes = family(triton)
    regions = shared_memory(triton)

    serve.process.kill()

    wait_until(lambda: not still_running(processes))
    assert [region for region in regions if region.exists()] == []


def test_hung_triton_ends_with_a_killed_server(make_repository, start_serve):
    """A Triton that cannot follow the kernel's signal is ended by its guard."""
    serve = start_serve(make_repository(), "--stop-timeout-seconds", "1")
    serve.wait_ready()
    triton = serve.triton()
    processes = family(triton)
    regions = shared_memory(triton)

    triton.suspend()
    serve.process.kill()

    wait_until(lambda: not still_running(processes))
    assert len(regions) == 1
    assert [region for region in regions if region.exists()] == []


def test_triton_options_are_passed_on(make_repository, start_serve):
    """What follows `--` goes to tritonserver, and its complaint comes back."""
    serve = start_serve(make_repository(), "--", "--no-such-option=1")

    assert serve.wait_exit() == 1
    assert "unrecognized option '--no-such-option=1'" in serve.complained
