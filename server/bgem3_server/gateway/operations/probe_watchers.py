"""Who is told what the probes of a Triton find."""

from __future__ import annotations

from typing import Protocol

from bgem3_client import Embeddings
from bgem3_server.gateway.encoding.canary import Canary
from bgem3_server.gateway.encoding.result_cache import ResultCache
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.tritons.tritons import Tritons


class ProbeWatcher(Protocol):
    """Is told of each probe of one Triton."""

    @property
    def in_doubt(self) -> bool:
        """Whether to probe more often, though all is well."""

    def answered(self, embeddings: Embeddings) -> None:
        """A probe was answered, with all representations of one text, always the same."""

    def missed(self) -> None:
        """A probe failed; that may be an accident."""

    def show(self, *, up: bool) -> None:
        """Whether the Triton answers texts, as far as probes tell so far."""


class PrimaryWatcher:
    """See :class:`ProbeWatcher`.

    Attributes:
        canary: Held against the primary; None where there is none.
    """

    def __init__(self, tritons: Tritons, cache: ResultCache, metrics: Metrics) -> None:
        self.canary: Canary | None = None
        self._tritons = tritons
        self._cache = cache
        self._metrics = metrics

    @property
    def in_doubt(self) -> bool:
        """While the fallback answers, the primary's return is waited for."""
        return self._tritons.switch.on_fallback

    def answered(self, embeddings: Embeddings) -> None:
        """What is cached is the primary's."""
        self._cache.see_probe(embeddings)
        self._tritons.primary_probed(embeddings)
        if self.canary is not None:
            self.canary.primary_answered(embeddings)

    def missed(self) -> None:
        """It is not well without a break."""
        self._tritons.switch.primary_missed()

    def show(self, *, up: bool) -> None:
        """Requests go elsewhere while it is not up."""
        self._metrics.triton_up.set(up)
        if not up:
            self._tritons.switch.primary_lost()


class FallbackWatcher:
    """See :class:`ProbeWatcher`."""

    in_doubt = False

    def __init__(self, tritons: Tritons) -> None:
        self._tritons = tritons

    def answered(self, embeddings: Embeddings) -> None:
        """It may be used if it is the same model."""
        self._tritons.fallback_probed(embeddings)

    def missed(self) -> None:
        """One failure changes nothing."""

    def show(self, *, up: bool) -> None:
        """It is not used while it is not up."""
        if not up:
            self._tritons.fallback_lost()


class CanaryWatcher:
    """See :class:`ProbeWatcher`."""

    in_doubt = False

    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    def answered(self, embeddings: Embeddings) -> None:
        """It may be used if its vectors have the right size."""
        self._canary.answered(embeddings)

    def missed(self) -> None:
        """One failure changes nothing."""

    def show(self, *, up: bool) -> None:
        """It is not asked while it is not up."""
        self._canary.show(up=up)
