"""The HTTP service that runs: is it ready, and does it answer this user."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Final

from bgem3_client.address import Address
from bgem3_client.errors import AccessError
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.sample_request import send_sample
from bgem3_server.doctor.service_health import ForeignServiceError, ask_health
from bgem3_server.doctor.subject import Subject


def health(subject: Subject) -> Iterator[Finding]:
    """Whether the service answers and is ready, and of which release it is."""
    address = subject.service_address
    if address is None and subject.named_service is None:
        yield _unknown()
        return
    if address is None:
        yield problem(
            Code.SERVER_ADDRESS_INVALID,
            f"{subject.service or subject.url} is no address of an HTTP service",
            "write --service http://HOST:33330, or https://… where it has a certificate",
        )
        return
    try:
        report = ask_health(address)
    except OSError as error:
        if subject.named_service is None:
            yield _silent(address)
            return
        yield problem(
            Code.SERVICE_UNREACHABLE,
            f"no HTTP service answers at {address.target}: {error}",
            "start it (bgem3 serve DIR, or bgem3 gateway), or correct the address; it is "
            "https://… where the service has a certificate",
            address=address.target,
        )
        return
    except ForeignServiceError as error:
        yield problem(
            Code.SERVICE_FOREIGN,
            f"what answers at {address.target} is not this project's HTTP service: {error}",
            "correct the address: the service's port is 33330, and Triton's HTTP port is not it",
            address=address.target,
        )
        return
    release, here = report["version"], metadata.version("bgem3-triton")
    details = {
        "address": address.target,
        "status": report["status"],
        "version": release,
        "triton": report["triton"].get("address"),
        "dimension": report.get("dimension"),
    }
    if report["status"] != "ready":
        yield problem(
            Code.SERVICE_NOT_READY,
            f"the service at {address.target} is {report['status']}: {report.get('reason')}",
            "it asks the Triton at "
            f"{report['triton'].get('address')} (--triton): see whether that one runs",
            **details,
        )
        return
    if release != here:
        yield warning(
            Code.SERVICE_OF_OTHER_RELEASE,
            f"the service at {address.target} is of release {release}, and this is {here}",
            "install the same release on both sides: what one has, the other may not know",
            **details,
        )
        return
    model = report.get("model", {})
    yield ok(
        f"the service at {address.target} is ready: {model.get('name')}, "
        f"{report.get('dimension')} dimensions, Triton at {report['triton'].get('address')}",
        **details,
    )


def _unknown() -> Finding:
    return not_applicable("nothing says where an HTTP service is (--service)")


def _silent(address: Address) -> Finding:
    return not_applicable(f"no HTTP service answers at {address.target}; --service names another")


def request(subject: Subject) -> Iterator[Finding]:
    """Whether it answers a real request of this user with sound vectors."""
    address = subject.service_address
    if address is None:
        yield _unknown()
        return
    try:
        ask_health(address)
    except (OSError, ForeignServiceError):
        if subject.named_service is None:
            yield _silent(address)
        else:
            yield not_applicable("the service does not answer")
        return
    url = f"{'bgem3' if address.tls is None else 'bgem3s'}://{address.target}"
    try:
        yield from send_sample(url, subject.headers)
    except AccessError:
        given = "the one in BGEM3_API_KEY is none of them" if subject.headers else "none was given"
        yield problem(
            Code.SERVICE_KEY_NEEDED,
            f"the service at {address.target} wants a key, and {given}",
            "set BGEM3_API_KEY to a key of the service: one of the lines of its --api-keys-file",
        )


CHECKS: Final = (Check("service.health", health), Check("service.request", request))
