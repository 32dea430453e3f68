"""A request that was let in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bgem3_server.gateway.calls.call import Call, Priority


@dataclass(eq=False)
class Admission:
    """A request that was let in.

    Attributes:
        call: The request.
        priority: Of all its parts.
        tokens_left: Its tokens that count as waiting: let in, and not sent to Triton yet.
        since_seconds: When it was let in, by the monotonic clock.
        texts_sent: How many texts it has sent to Triton.
    """

    call: Call
    priority: Priority
    tokens_left: int
    since_seconds: float = field(default_factory=time.monotonic)
    texts_sent: int = 0
