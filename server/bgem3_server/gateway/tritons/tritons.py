"""The primary and its fallback, as one that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar

import structlog

from bgem3_client import Embeddings
from bgem3_client.errors import ModelNotFoundError, UnavailableError
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.tritons.role import Role
from bgem3_server.gateway.tritons.same_model import difference
from bgem3_server.gateway.tritons.switch import Switch
from bgem3_server.gateway.tritons.triton import Triton, Work

Result = TypeVar("Result")

# Neither a mistake in the request nor what the model failed at: another Triton may answer.
_LOST: Final = (UnavailableError, ModelNotFoundError)

_Reason = Literal["failed", "moved", "active"]

log = structlog.get_logger("bgem3.gateway")


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What came of a piece of work.

    Attributes:
        result: What was answered.
        by: By which Triton.
    """

    result: Result
    by: Role


class Tritons:
    """Asks the primary, or the fallback while the primary is lost.

    Encoding a text twice does no harm, so whatever did not reach the primary, or waits for it when
    it is found lost, is asked again of the fallback. A refusal of the primary, for a mistake or for
    want of room, is passed on.

    Attributes:
        primary: Always there.
        fallback: None where there is none.
        switch: Says which of them is asked.
        refused: Why the fallback is not used though it answers; empty where it may be.
    """

    def __init__(
        self,
        primary: Triton,
        fallback: Triton | None,
        return_seconds: float,
        metrics: Metrics,
    ) -> None:
        self.primary = primary
        self.fallback = fallback
        self.switch = Switch(return_seconds, self._changed)
        self.refused = ""
        self._metrics = metrics
        self._primary_probe: Embeddings | None = None
        self._fallback_probe: Embeddings | None = None
        self._fallback_up = False
        self._on_change: Callable[[], None] | None = None
        if fallback is not None:
            for reason in ("failed", "moved", "active"):
                metrics.fallback_requests.labels(reason)  # there from the start, for rates

    @property
    def active(self) -> Triton:
        """The one that is asked first."""
        if self.fallback is not None and self.switch.on_fallback:
            return self.fallback
        return self.primary

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called whenever another one is asked first from then on."""
        self._on_change = callback

    async def do(self, work: Work[Result], tokens: int = 0) -> Done[Result]:
        """Have something done by the Triton that answers now.

        Args:
            work: Asks it; called again with the other one where that may help.
            tokens: How many are to be encoded; 0 for anything else.

        Raises:
            BgeM3Error: As ``work``.
        """
        if self.fallback is None:
            return Done(await self.primary.do(work, tokens), self.primary.role)
        if self.switch.on_fallback:
            return await self._by_fallback(self.fallback, work, tokens, "active")
        attempt = asyncio.ensure_future(self.primary.do(work, tokens))
        moved = asyncio.ensure_future(self.switch.moved.wait())
        try:
            await asyncio.wait({attempt, moved}, return_when=asyncio.FIRST_COMPLETED)
            if attempt.done():
                result = attempt.result()
                self.switch.request_answered()
                return Done(result, self.primary.role)
            reason: _Reason = "moved"
        except _LOST:
            if await self.primary.is_there():
                raise  # it has no room
            self.switch.request_failed()
            if not self.switch.usable:
                raise
            reason = "failed"
        finally:
            # For this process alone; on the wire it goes on.
            attempt.cancel()
            moved.cancel()
        return await self._by_fallback(self.fallback, work, tokens, reason)

    def primary_probed(self, embeddings: Embeddings) -> None:
        """The primary has answered the text of the probe."""
        self._primary_probe = embeddings
        self._compare()
        self.switch.primary_answered()

    def fallback_probed(self, embeddings: Embeddings) -> None:
        """The fallback has answered the text of the probe."""
        self._fallback_probe = embeddings
        self._fallback_up = True
        self._compare()

    def fallback_lost(self) -> None:
        """The fallback answers nobody."""
        self._fallback_up = False
        self._compare()

    async def close(self) -> None:
        """Let go of both."""
        await self.primary.client.close()
        if self.fallback is not None:
            await self.fallback.client.close()

    async def _by_fallback(
        self, fallback: Triton, work: Work[Result], tokens: int, reason: _Reason
    ) -> Done[Result]:
        self._metrics.fallback_requests.labels(reason).inc()
        try:
            return Done(self._as_primary(await fallback.do(work, tokens)), Role.FALLBACK)
        except _LOST as error:
            # The primary may be back, and only waiting for its time to be over.
            if not self.switch.primary_answers or await fallback.is_there():
                raise
            log.warning("the fallback did not answer", reason=str(error))
            return Done(await self.primary.do(work, tokens), self.primary.role)

    def _as_primary(self, result: Result) -> Result:
        """Name the primary's version: it is that model, or it would not have been asked."""
        if isinstance(result, Embeddings) and self._primary_probe is not None:
            return replace(result, model_version=self._primary_probe.model_version)
        return result

    def _compare(self) -> None:
        """Decide whether the fallback can be used."""
        if self.fallback is None:
            return
        refused = ""
        if self._fallback_probe is not None:
            if self._primary_probe is None:
                refused = "the primary has not answered yet, so they cannot be compared"
            elif why := difference(self._primary_probe, self._fallback_probe):
                refused = f"it serves another model: {why}"
        if refused != self.refused and refused and self._primary_probe is not None:
            log.error("the fallback is not used", reason=refused, fallback=self.fallback.address)
        self.refused = refused
        usable = self._fallback_up and not refused
        self._metrics.fallback_up.set(usable)
        self.switch.fallback_is(usable=usable)

    def _changed(self) -> None:
        assert self.fallback is not None
        on_fallback = self.switch.on_fallback
        self._metrics.fallback_active.set(on_fallback)
        if self._on_change is not None:
            self._on_change()
        if on_fallback:
            log.warning(
                "the fallback answers now",
                fallback=self.fallback.address,
                primary=self.primary.address,
            )
        elif self.switch.usable:
            log.info("the primary answers again", primary=self.primary.address)
        else:
            log.error("the fallback is lost too", fallback=self.fallback.address)
