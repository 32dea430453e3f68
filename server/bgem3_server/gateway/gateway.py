"""The parts of one service process, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from bgem3_client import AsyncClient
from bgem3_client.address import Address
from bgem3_client.errors import InvalidInputError
from bgem3_client.transports import Transport, connect
from bgem3_retrieval.stores.store import Store
from bgem3_server.gateway.calls.call import Call, current_call
from bgem3_server.gateway.calls.errors import NoStoreError
from bgem3_server.gateway.encoding.canary import Canary
from bgem3_server.gateway.encoding.computed_texts import ComputedTexts
from bgem3_server.gateway.encoding.encoder import Encoder
from bgem3_server.gateway.encoding.result_cache import ResultCache
from bgem3_server.gateway.encoding.result_memory import ResultMemory
from bgem3_server.gateway.encoding.scheduler import Scheduler
from bgem3_server.gateway.encoding.token_counter import (
    LocalTokenCounter,
    TokenCounter,
    TritonTokenCounter,
)
from bgem3_server.gateway.model_card import ModelCard, read_model_card
from bgem3_server.gateway.operations.gpu import GpuMonitor
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.operations.probe_watchers import (
    CanaryWatcher,
    FallbackWatcher,
    PrimaryWatcher,
)
from bgem3_server.gateway.operations.readiness import Readiness, State
from bgem3_server.gateway.retrieval.retrieval import Retrieval, open_configured
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.tritons.role import Role
from bgem3_server.gateway.tritons.triton import Triton
from bgem3_server.gateway.tritons.tritons import Tritons

_COUNT_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True)
class OtherTransports:
    """What carries requests instead of connections to the addresses in the settings."""

    fallback: Transport | None = None
    canary: Transport | None = None


@dataclass(frozen=True)
class CanaryParts:
    """What a canary needs beside what the service has."""

    triton: Triton
    canary: Canary
    readiness: Readiness


@dataclass(frozen=True)
class Gateway:
    """What requests are answered with; one for each process."""

    settings: GatewaySettings
    model: ModelCard
    tritons: Tritons
    counter: TokenCounter
    scheduler: Scheduler
    memory: ResultMemory
    cache: ResultCache
    metrics: Metrics
    encoder: Encoder
    readiness: Readiness
    fallback_readiness: Readiness | None
    canary: CanaryParts | None
    gpus: GpuMonitor
    retrieval: Retrieval | None

    @classmethod
    def assemble(
        cls,
        settings: GatewaySettings,
        transport: Transport | None = None,
        store: Store | None = None,
        others: OtherTransports | None = None,
    ) -> Gateway:
        """Put the parts together; nothing is sent yet.

        Args:
            settings: Of the service.
            transport: Carries the requests instead of a connection to ``settings.triton``.
            store: Holds the collections instead of the one at ``settings.store``.
            others: The same for the other Tritons that are set.

        Raises:
            InvalidInputError: A setting is wrong: an address, or the tokenizer.
            MissingLibraryError: What the store needs is not installed.
            RepositoryError: The repository's manifest is damaged.
        """
        if settings.has_other_tritons and not settings.ready_interval_seconds:
            raise InvalidInputError(
                "ready-interval-seconds is 0: a fallback or a canary is used by what probes say of "
                "it; set some seconds"
            )
        store = store or open_configured(settings)
        others = others or OtherTransports()
        metrics = Metrics(CollectorRegistry())
        scheduler = Scheduler(settings)
        primary = _triton(Role.PRIMARY, settings.triton, transport)
        fallback = None
        if settings.fallback_triton:
            fallback = _triton(Role.FALLBACK, settings.fallback_triton, others.fallback)
        tritons = Tritons(primary, fallback, settings.fallback_return_seconds, metrics)
        scheduler.use_pace(primary.pace)
        tritons.on_change(lambda: scheduler.use_pace(tritons.active.pace))
        counter: TokenCounter = (
            LocalTokenCounter(settings.tokenizer)
            if settings.tokenizer
            else TritonTokenCounter(tritons, _COUNT_TIMEOUT_SECONDS)
        )
        memory = ResultMemory(settings.max_result_bytes)
        model = read_model_card(settings)
        metrics.show_build(model)
        metrics.show_limits(settings)
        cache = ResultCache(settings.cache_bytes, metrics)
        computed = ComputedTexts(tritons, scheduler, cache, metrics)
        encoder = Encoder(tritons, counter, scheduler, memory, computed, settings)
        canary = _canary(settings, counter, memory, metrics, others.canary)
        watcher = PrimaryWatcher(tritons, cache, metrics)
        if canary is not None:
            encoder.canary = watcher.canary = canary.canary
        return cls(
            settings,
            model,
            tritons,
            counter,
            scheduler,
            memory,
            cache,
            metrics,
            encoder,
            Readiness(primary, watcher, settings),
            Readiness(fallback, FallbackWatcher(tritons), settings) if fallback else None,
            canary,
            GpuMonitor(),
            Retrieval(store, encoder, counter) if store else None,
        )

    @property
    def client(self) -> AsyncClient:
        """To the primary."""
        return self.tritons.primary.client

    @property
    def state(self) -> State:
        """What the service can do: with the fallback, if that is what answers."""
        state = self.readiness.state
        if state in (State.READY, State.STOPPING) or not self.tritons.switch.on_fallback:
            return state
        return State.READY

    @property
    def reason(self) -> str:
        """Why it is not ready; empty when it is."""
        return "" if self.state is State.READY else self.readiness.reason

    def needed_retrieval(self) -> Retrieval:
        """Return what searches and indexes.

        Raises:
            NoStoreError: The service was told of no store.
        """
        if self.retrieval is None:
            raise NoStoreError(
                "this service has no store: start it with --store ADDRESS or BGEM3_STORE"
            )
        return self.retrieval

    async def close(self) -> None:
        """Let go of Triton and of the store."""
        if self.retrieval is not None:
            await self.retrieval.close()
        await self.tritons.close()
        if self.canary is not None:
            await self.canary.triton.client.close()

    def show_load(self) -> None:
        """Bring the metrics of what is waiting and running up to date."""
        self.metrics.waiting_tokens.set(self.scheduler.waiting_tokens)
        self.metrics.in_flight_tokens.set(self.scheduler.in_flight_tokens)
        self.metrics.result_bytes.set(self.memory.used_bytes)
        self.metrics.cache_bytes.set(self.cache.used_bytes)
        self.metrics.cache_entries.set(len(self.cache))


def _triton(
    role: Role, address: str, transport: Transport | None, model_version: str = ""
) -> Triton:
    return Triton(role, address, transport or connect(Address.parse(address), {}), model_version)


def _canary(
    settings: GatewaySettings,
    counter: TokenCounter,
    memory: ResultMemory,
    metrics: Metrics,
    transport: Transport | None,
) -> CanaryParts | None:
    """Put the candidate's parts together: nothing of its results or its queue is shared."""
    if not settings.has_canary:
        return None
    metrics.served_seconds.labels(Role.CANARY.value)  # there from the start, for rates
    address = settings.canary_triton or settings.triton
    triton = _triton(Role.CANARY, address, transport, settings.canary_model_version)
    tritons = Tritons(triton, None, settings.fallback_return_seconds, metrics)
    scheduler = Scheduler(settings)
    scheduler.use_pace(triton.pace)
    computed = ComputedTexts(tritons, scheduler, ResultCache(0, metrics), metrics)
    encoder = Encoder(tritons, counter, scheduler, memory, computed, settings)
    canary = Canary(encoder, settings.canary_share, metrics)
    return CanaryParts(triton, canary, Readiness(triton, CanaryWatcher(canary), settings))


async def _current_gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


CurrentGateway = Annotated[Gateway, Depends(_current_gateway)]
CurrentCall = Annotated[Call, Depends(current_call)]
