"""A candidate that answers a share of the requests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import structlog

from bgem3_client import Embeddings
from bgem3_client.deadline import Deadline
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import BgeM3Error, InvalidInputError
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.error_table import error_kind
from bgem3_server.gateway.encoding.encoder import Encoder
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.tritons.role import CanaryChoice

# So many failures in a row, and nothing is asked of it until a probe is answered.
_FAILURES: Final = 3

log = structlog.get_logger("bgem3.gateway")


class Canary:
    """Answers a share of the requests, and leaves to the primary what it fails at.

    The same texts in the same order are always answered by the same model, however often they come.
    A request is answered by one model as a whole.

    Attributes:
        refused: Why it is not asked though it may answer; empty where nothing speaks against it.
        up: Whether its probes are answered.
    """

    def __init__(self, encoder: Encoder, share: float, metrics: Metrics) -> None:
        """Make one.

        Args:
            encoder: Over the candidate's Triton, with a queue and results of its own.
            share: Of the requests, 0 to 1.
            metrics: Count its failures.
        """
        self.refused = ""
        self.up = False
        self._encoder = encoder
        self._share = share
        self._metrics = metrics
        self._failures = 0
        self._sizes: tuple[int, int] | None = None
        self._primary_sizes: tuple[int, int] | None = None
        self._show()

    async def encode(
        self, texts: Sequence[str], options: EncodeOptions, call: Call
    ) -> Embeddings | None:
        """Return the representations of texts; None where the primary is to answer.

        The candidate gets half of the time that is left, so that the primary has the other half.
        """
        if not self._is_chosen(texts, call):
            return None
        left_seconds = call.deadline.remaining_seconds()
        deadline = Deadline.after(None if left_seconds is None else left_seconds / 2)
        part = Call(call.request_id, call.dialect, deadline, call.priority, call.caching)
        try:
            embeddings = await self._encoder.encode(texts, options, part)
        except BgeM3Error as error:
            part.finish.close()
            if not isinstance(error, InvalidInputError):  # the primary says so itself
                self._failed(error, call)
            return None
        except BaseException:
            part.finish.close()
            raise
        self._failures = 0
        call.at_end(part.finish.close)
        call.add(part)
        return embeddings

    def answered(self, embeddings: Embeddings) -> None:
        """A probe of the candidate was answered."""
        self._sizes = _sizes(embeddings)
        self._failures = 0
        self._compare()

    def primary_answered(self, embeddings: Embeddings) -> None:
        """A probe of the primary was answered."""
        self._primary_sizes = _sizes(embeddings)
        self._compare()

    def show(self, *, up: bool) -> None:
        """Whether the candidate answers its probes."""
        self.up = up
        self._show()

    @property
    def _usable(self) -> bool:
        return self.up and not self.refused and self._failures < _FAILURES

    def _is_chosen(self, texts: Sequence[str], call: Call) -> bool:
        if call.canary is CanaryChoice.NEVER or not self._usable:
            return False
        return call.canary is CanaryChoice.ALWAYS or place_of(texts) < self._share

    def _failed(self, error: BgeM3Error, call: Call) -> None:
        self._failures += 1
        kind = error_kind(error).code
        self._metrics.canary_failures.labels(kind).inc()
        log.warning(
            "the canary failed, and the primary answers",
            request_id=call.request_id,
            kind=kind,
            reason=str(error),
        )
        self._show()

    def _compare(self) -> None:
        refused = ""
        if self._primary_sizes is None:
            refused = "the primary has not answered yet, so they cannot be compared"
        elif self._sizes is not None and self._sizes != self._primary_sizes:
            refused = (
                f"its vectors have {self._sizes[0]} dimensions (ColBERT {self._sizes[1]}), and the "
                f"primary's {self._primary_sizes[0]} (ColBERT {self._primary_sizes[1]})"
            )
        if refused != self.refused and refused and self._primary_sizes is not None:
            log.error("the canary is not used", reason=refused)
        self.refused = refused
        self._show()

    def _show(self) -> None:
        self._metrics.canary_up.set(self._usable)


def place_of(texts: Sequence[str]) -> float:
    """Return where texts stand between 0 and 1: always the same place, and all evenly spread."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
    return int.from_bytes(digest.digest()[:8]) / 2**64


def _sizes(embeddings: Embeddings) -> tuple[int, int]:
    return embeddings.dense.shape[1], embeddings.colbert.vectors.shape[1]
