"""The parts of one service process, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from bgem3_client import AsyncClient, Limits, RetryPolicy
from bgem3_client.address import Address
from bgem3_client.transports import Transport, connect
from bgem3_retrieval.stores.store import Store
from bgem3_server.gateway.calls.call import Call, current_call
from bgem3_server.gateway.calls.errors import NoStoreError
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
from bgem3_server.gateway.operations.readiness import Readiness
from bgem3_server.gateway.retrieval.retrieval import Retrieval, open_configured
from bgem3_server.gateway.settings import GatewaySettings

_COUNT_TIMEOUT_SECONDS: Final = 30.0
# The scheduler decides what is in flight; the client only carries it.
_CLIENT_LIMITS: Final = Limits(
    max_in_flight=100_000, max_texts_per_request=2048, max_tokens_per_request=32_768
)
# Bridges a reconnection. Longer troubles are the caller's to wait for: it is told when.
_RETRIES: Final = RetryPolicy(attempts=2)


@dataclass(frozen=True)
class Gateway:
    """What requests are answered with; one for each process."""

    settings: GatewaySettings
    model: ModelCard
    client: AsyncClient
    counter: TokenCounter
    scheduler: Scheduler
    memory: ResultMemory
    cache: ResultCache
    metrics: Metrics
    encoder: Encoder
    readiness: Readiness
    gpus: GpuMonitor
    retrieval: Retrieval | None

    @classmethod
    def assemble(
        cls,
        settings: GatewaySettings,
        transport: Transport | None = None,
        store: Store | None = None,
    ) -> Gateway:
        """Put the parts together; nothing is sent yet.

        Args:
            settings: Of the service.
            transport: Carries the requests instead of a connection to ``settings.triton``.
            store: Holds the collections instead of the one at ``settings.store``.

        Raises:
            InvalidInputError: A setting is wrong: an address, or the tokenizer.
            MissingLibraryError: What the store needs is not installed.
            RepositoryError: The repository's manifest is damaged.
        """
        store = store or open_configured(settings)
        transport = transport or connect(Address.parse(settings.triton), {})
        client = AsyncClient(transport=transport, limits=_CLIENT_LIMITS, retries=_RETRIES)
        counter: TokenCounter = (
            LocalTokenCounter(settings.tokenizer)
            if settings.tokenizer
            else TritonTokenCounter(client, transport, _COUNT_TIMEOUT_SECONDS)
        )
        scheduler = Scheduler(settings)
        memory = ResultMemory(settings.max_result_bytes)
        metrics = Metrics(CollectorRegistry())
        model = read_model_card(settings)
        metrics.show_build(model)
        metrics.show_limits(settings)
        cache = ResultCache(settings.cache_bytes, metrics)
        computed = ComputedTexts(client, scheduler, cache, metrics)
        encoder = Encoder(client, counter, scheduler, memory, computed, settings)
        readiness = Readiness(transport, client, scheduler, cache, metrics, settings)
        return cls(
            settings,
            model,
            client,
            counter,
            scheduler,
            memory,
            cache,
            metrics,
            encoder,
            readiness,
            GpuMonitor(),
            Retrieval(store, encoder, counter) if store else None,
        )

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
        await self.client.close()

    def show_load(self) -> None:
        """Bring the metrics of what is waiting and running up to date."""
        self.metrics.waiting_tokens.set(self.scheduler.waiting_tokens)
        self.metrics.in_flight_tokens.set(self.scheduler.in_flight_tokens)
        self.metrics.result_bytes.set(self.memory.used_bytes)
        self.metrics.cache_bytes.set(self.cache.used_bytes)
        self.metrics.cache_entries.set(len(self.cache))


async def _current_gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


CurrentGateway = Annotated[Gateway, Depends(_current_gateway)]
CurrentCall = Annotated[Call, Depends(current_call)]
