"""The ports that would be listened on, and how many connections there may be."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from bgem3_client.address import Address
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, ok, problem, warning
from bgem3_server.doctor.processes import Process, listening_process
from bgem3_server.doctor.service_health import ForeignServiceError, ask_health
from bgem3_server.doctor.subject import Subject
from bgem3_server.doctor.triton_questions import NoAnswerError, TritonQuestions
from bgem3_server.errors import PortInUseError
from bgem3_server.listening import listen, reachable_host

# Each caller takes one, and every model process, file and log some.
_LEAST_DESCRIPTORS: Final = 1024


def free(subject: Subject) -> Iterator[Finding]:
    """Whether each port can be listened on, or is held by what should hold it."""
    settings, service = subject.settings, subject.service_settings
    for port in (
        _Port("Triton's gRPC", settings.address, settings.grpc_port, "--address", "--grpc-port"),
        _Port("Triton's HTTP", settings.address, settings.http_port, "--address", "--http-port"),
        _Port(
            "Triton's metrics",
            settings.address,
            settings.metrics_port,
            "--address",
            "--metrics-port",
        ),
        _Port("the HTTP service's", service.host, service.port, "--host", "--port"),
    ):
        yield _tried(port, subject)


@dataclass(frozen=True)
class _Port:
    """A port, whose it would be, and the options that name another."""

    whose: str
    host: str
    number: int
    host_option: str
    port_option: str


def _tried(port: _Port, subject: Subject) -> Finding:
    try:
        listen(
            port.host, port.number, host_option=port.host_option, port_option=port.port_option
        ).close()
    except PortInUseError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            return _taken(port, subject)
        return problem(
            Code.PORT_FORBIDDEN,
            str(error),
            "ports below 1024 are for root, and the address has to be one of this machine",
            port=port.number,
        )
    return ok(f"{port.number or 'any port'} is free ({port.whose})", port=port.number)


def _taken(port: _Port, subject: Subject) -> Finding:
    holder = _holder(port.number)
    details = {
        "port": port.number,
        "pid": holder.pid if holder else None,
        "process": holder.name if holder else None,
    }
    by = str(holder or "a process that cannot be seen from here")
    if _is_ours(port, holder, subject):
        return ok(f"{port.number} ({port.whose}) is served by {by}", **details)
    find_out = "" if holder else f"'sudo ss -ltnp sport = :{port.number}' shows it; "
    return problem(
        Code.PORT_TAKEN,
        f"{port.number} ({port.whose}) is taken by {by}",
        f"{find_out}end it, or take another port: {port.port_option} (0 picks a free one)",
        **details,
    )


def _is_ours(port: _Port, holder: Process | None, subject: Subject) -> bool:
    """Whether what listens is what should, and not in the way."""
    if port.port_option == "--port":
        # Its processes are Python, as many others are.
        try:
            ask_health(Address.parse(f"bgem3://{reachable_host(port.host)}:{port.number}"))
        except (OSError, ForeignServiceError):
            return False
        return True
    if holder is not None:
        return holder.is_triton
    # Another user's, perhaps: three ports beside each other, and Triton answers at the first.
    try:
        with TritonQuestions.to(
            Address.parse(f"{reachable_host(port.host)}:{subject.settings.grpc_port}")
        ) as triton:
            triton.version()
    except NoAnswerError:
        return False
    return True


def is_free(host: str, port: int) -> bool:
    """Tell whether nobody listens on a port of a host."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) != 0


def _holder(port: int) -> Process | None:
    return listening_process(port) if find_spec("psutil") is not None else None


def descriptors(subject: Subject) -> Iterator[Finding]:
    """Whether enough files and sockets may be open."""
    del subject
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _LEAST_DESCRIPTORS:
        yield warning(
            Code.FILE_LIMIT_LOW,
            f"{soft} files and sockets may be open: fewer callers than that at once",
            "ulimit -n 65536 before the start, LimitNOFILE=65536 for systemd, ulimits for Docker",
            soft=soft,
            hard=hard,
        )
        return
    yield ok(f"{soft:,} files and sockets may be open", soft=soft, hard=hard)


CHECKS: Final = (Check("ports.free", free), Check("ports.descriptors", descriptors))
