"""The network: proxies that catch what is meant for this machine, and the hub."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in its stubs

from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Subject

_HUB: Final = "https://huggingface.co"
_ASKED_PATH: Final = "/BAAI/bge-m3/resolve/main/config.json"
_SECONDS: Final = 10.0
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE: Final = {"1", "ON", "YES", "TRUE"}
# In the order in which gRPC looks: https://github.com/grpc/grpc/blob/master/doc/environment_variables.md.
_GRPC_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_GRPC_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


def proxies(subject: Subject) -> Iterator[Finding]:
    """Whether a proxy of the environment would catch requests to the servers."""
    named = urllib.request.getproxies_environment()
    proxy = named.get("http") or named.get("all") or _grpc_proxy()
    if proxy is None:
        yield ok("no proxy is set in the environment")
        return
    shown = without_credentials(proxy)
    hosts = dict.fromkeys(
        ["localhost", "127.0.0.1", *(_host(address) for address in _addresses(subject))]
    )
    caught = [host for host in hosts if not _is_direct(host)]
    if caught:
        yield warning(
            Code.PROXY_CATCHES_SERVER,
            f"the proxy {shown} catches requests to {', '.join(caught)}: clients then get the "
            "proxy's errors (500, 502, 503, 'failed to connect')",
            f"export no_proxy={','.join(hosts)} NO_PROXY={','.join(hosts)}",
            proxy=shown,
            hosts=caught,
        )
        return
    yield ok(f"the proxy {shown} leaves {', '.join(hosts)} alone", proxy=shown)


def _addresses(subject: Subject) -> Iterator[str]:
    for address in (subject.triton_address, subject.service_address):
        if address is not None:
            yield address.target


def _host(target: str) -> str:
    return urlsplit(f"//{target}").hostname or target


def _grpc_proxy() -> str | None:
    return next((os.environ[name] for name in _GRPC_PROXIES if os.environ.get(name)), None)


def _is_direct(host: str) -> bool:
    """Whether neither HTTP nor gRPC clients would ask the proxy for a host."""
    if not proxy_bypass_environment(host):
        return False
    if _grpc_proxy() is None:
        return True
    # gRPC knows names and their ends, and only in lower case.
    exceptions = next((os.environ[name] for name in _GRPC_EXCEPTIONS if os.environ.get(name)), "")
    return any(host.endswith(item.strip()) for item in exceptions.split(",") if item.strip())


def without_credentials(url: str) -> str:
    """Return a URL without the user and the password that may be in it."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()


def hub_settings(subject: Subject) -> Iterator[Finding]:
    """What the environment says about the hub, which only an export ever asks."""
    del subject
    endpoint = without_credentials(os.environ.get("HF_ENDPOINT") or _HUB)
    offline = _offline_by()
    if offline:
        yield ok(
            f"serving needs no hub; {' and '.join(offline)} is set, so an export takes what was "
            "fetched before, or a folder",
            offline=True,
            endpoint=endpoint,
        )
        return
    yield ok(f"serving needs no hub; an export asks {endpoint}", offline=False, endpoint=endpoint)


def hub(subject: Subject) -> Iterator[Finding]:
    """Whether the hub, or the mirror that is named, can be reached; only when asked to."""
    if not subject.hub:
        yield not_applicable("the hub is asked with --hub alone")
        return
    if offline := _offline_by():
        yield warning(
            Code.HUB_OFFLINE,
            f"the hub was not asked: {' and '.join(offline)} is set, so an export does not either",
            f"unset {' '.join(offline)}, or export from a folder",
        )
        return
    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    shown = without_credentials(endpoint)
    try:
        request = urllib.request.Request(f"{endpoint}{_ASKED_PATH}", method="HEAD")  # noqa: S310
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310  # nosec B310
            pass
    # A URL that is none is a ValueError.
    except (OSError, ValueError) as error:
        yield problem(
            Code.HUB_UNREACHABLE,
            f"{shown} cannot be reached: {error}",
            "name a mirror, as in China: export HF_ENDPOINT=https://hf-mirror.com; behind a proxy "
            "set https_proxy; or fetch the model elsewhere (hf download BAAI/bge-m3 --local-dir "
            "bge-m3), copy the folder here, and run bgem3 export ./bge-m3",
            endpoint=shown,
        )
        return
    yield ok(f"{shown} has BAAI/bge-m3", endpoint=shown)


def _offline_by() -> list[str]:
    return [name for name in _OFFLINE if os.environ.get(name, "").upper() in _TRUE]


CHECKS: Final = (
    Check("network.proxies", proxies),
    Check("network.hub_settings", hub_settings),
    Check("network.hub", hub),
)
