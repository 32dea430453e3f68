"""What the HTTP service says about itself."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Final

from bgem3_client.address import Address

_SECONDS: Final = 10.0


class ForeignServiceError(Exception):
    """Something answers, and it is not this project's service."""


def ask_health(address: Address) -> dict[str, Any]:
    """Return the service's own report, ready or not.

    No proxy is asked: the question is whether the service answers, not the way to it.

    Raises:
        OSError: Nothing answers.
        ForeignServiceError: What answers is no such service.
    """
    scheme = "http" if address.tls is None else "https"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{scheme}://{address.target}/health", timeout=_SECONDS) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        content = error.read()  # 503: not ready, and says why
    try:
        report = json.loads(content)
    except ValueError as error:
        raise ForeignServiceError("the answer is no JSON") from error
    if not isinstance(report, dict) or not {"status", "triton", "version"} <= report.keys():
        raise ForeignServiceError("it is not the report of this project's service")
    return report
