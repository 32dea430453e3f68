"""How the service is: for people, load balancers and Prometheus."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from bgem3_server.gateway.access.paths import METRICS_PATH
from bgem3_server.gateway.gateway import CurrentGateway, Gateway
from bgem3_server.gateway.operations.readiness import State

# About as long as the probe that could find it ready takes to come.
_RETRY_SECONDS: Final = 1

router = APIRouter(tags=["operations"])

_State = Literal["loading", "ready", "unavailable", "stopping"]


class LiveReport(BaseModel):
    """The process runs."""

    status: Literal["live"] = Field(examples=["live"])


class ReadyReport(BaseModel):
    """Whether texts are answered."""

    status: _State = Field(description="What the service can do.", examples=["ready"])
    reason: str | None = Field(description="Why it is not ready.", examples=[None])


class HealthModel(BaseModel):
    """What is served."""

    name: str = Field(description="What answers call it.", examples=["BAAI/bge-m3"])
    revision: str | None = Field(
        description="Of its source, where that is known.", examples=["5617a9f6"]
    )
    demo: bool = Field(
        description="Whether it is the demo model, and not BGE-M3.", examples=[False]
    )


class HealthQueue(BaseModel):
    """What is waiting and running, in the process that answers."""

    waiting_tokens: int = Field(description="Admitted, and not sent to Triton.", examples=[0])
    in_flight_tokens: int = Field(description="Sent, and not answered.", examples=[512])
    budget_tokens: int = Field(
        description="What both may be together; more is refused with 429.", examples=[524288]
    )
    tokens_per_second: float | None = Field(
        description="How fast Triton was in the last seconds with work; null before that.",
        examples=[42000.0],
    )


class HealthTriton(BaseModel):
    """The Triton behind the service."""

    address: str = Field(description="Its gRPC port.", examples=["127.0.0.1:8001"])
    up: bool = Field(description="Whether it answers texts with vectors.", examples=[True])
    model_version: str | None = Field(
        description="The model's version that answered last.", examples=["1"]
    )


class HealthFallback(BaseModel):
    """The Triton that answers while the first one cannot."""

    address: str = Field(description="Its gRPC port.", examples=["fallback:8001"])
    up: bool = Field(description="Whether it answers texts with vectors.", examples=[True])
    usable: bool = Field(
        description="Whether it can take over: up, with the same model.", examples=[True]
    )
    serving: bool = Field(description="Whether it answers now.", examples=[False])
    reason: str | None = Field(description="Why it cannot take over.", examples=[None])
    model_version: str | None = Field(
        description="The model's version that answered last, by its own count.", examples=["1"]
    )
    device: Literal["cpu", "gpu"] | None = Field(
        description="What it runs the model on; null where it does not say.", examples=["cpu"]
    )


class HealthCanary(BaseModel):
    """The Triton with a candidate that answers a share of the requests."""

    address: str = Field(description="Its gRPC port.", examples=["candidate:8001"])
    up: bool = Field(description="Whether it answers texts with vectors.", examples=[True])
    share: float = Field(description="Of the requests, 0 to 1.", examples=[0.05])
    reason: str | None = Field(description="Why it is not asked.", examples=[None])
    model_version: str | None = Field(
        description="The model's version that answered last, by its own count.", examples=["2"]
    )


class HealthGpu(BaseModel):
    """One GPU of the machine that the service runs on."""

    name: str = Field(examples=["NVIDIA L4"])
    memory_used_mb: int = Field(description="In MiB, by all processes.", examples=[4120])
    memory_total_mb: int = Field(description="In MiB.", examples=[23034])
    utilization: int | None = Field(
        description="Percent of the time that it was computing; null where it does not say.",
        examples=[87],
    )


class HealthReport(ReadyReport):
    """How the service is. ``gpu_0``, ``gpu_1`` and so on are there where there are GPUs."""

    model_config = ConfigDict(extra="allow")

    model_loaded: bool = Field(description="Whether texts are answered.", examples=[True])
    model: HealthModel
    dimension: int | None = Field(
        description="Numbers in a dense vector; null before the first answer.", examples=[1024]
    )
    colbert_dimension: int | None = Field(
        description="Numbers in a ColBERT vector; null before the first answer.", examples=[1024]
    )
    device: Literal["cpu", "gpu"] | None = Field(
        description="What Triton runs the model on; null where it does not say.", examples=["gpu"]
    )
    queue: HealthQueue
    triton: HealthTriton
    fallback: HealthFallback | None = Field(None, description="Absent where none is set.")
    canary: HealthCanary | None = Field(None, description="Absent where none is set.")
    version: str = Field(description="Of this service.", examples=["0.1.0"])
    gpu_0: HealthGpu = Field(
        default=HealthGpu(
            name="NVIDIA L4", memory_used_mb=4120, memory_total_mb=23034, utilization=87
        ),
        description="The first GPU; absent without one.",
    )


@router.get(
    "/health",
    summary="How the service is",
    description="Everything about its state, for people and dashboards. 503 while it cannot answer "
    "texts, with the same body, so that a health check needs to look at nothing else.",
    response_model=HealthReport,
    responses={503: {"model": HealthReport, "description": "Not ready; `reason` says why"}},
)
async def health(gateway: CurrentGateway) -> Response:
    """Report everything."""
    return _report(gateway, _ready_report(gateway) | _details(gateway))


@router.get(
    "/health/live",
    summary="Whether the process runs",
    description="200 as long as the service takes requests at all, whatever Triton does: restart "
    "it where this fails.",
    response_model=LiveReport,
)
async def live() -> Response:
    """Answer."""
    return _json({"status": "live"})


@router.get(
    "/health/ready",
    summary="Whether texts are answered",
    description="200 while they are: a short text is sent through all of the model every few "
    "seconds. 503 while the model loads, while Triton does not answer, and while the service "
    "stops: send requests elsewhere until it is 200 again.",
    response_model=ReadyReport,
    responses={503: {"model": ReadyReport, "description": "Not ready; `reason` says why"}},
)
async def ready(gateway: CurrentGateway) -> Response:
    """Report readiness alone."""
    return _report(gateway, _ready_report(gateway))


@router.get(
    METRICS_PATH,
    summary="Metrics for Prometheus",
    description="In Prometheus' text format, or OpenMetrics where the Accept header asks for it.",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
)
def metrics(request: Request, gateway: CurrentGateway) -> Response:
    """Report all figures; in a thread, since those of other processes are read from files."""
    gateway.show_load()
    content, content_type = gateway.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": content_type})


def _report(gateway: Gateway, content: dict[str, Any]) -> Response:
    if gateway.state is State.READY:
        return _json(content)
    response = _json(content, 503)
    response.headers["Retry-After"] = str(_RETRY_SECONDS)
    return response


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _ready_report(gateway: Gateway) -> dict[str, Any]:
    return {"status": gateway.state.value, "reason": gateway.reason or None}


def _fallback(gateway: Gateway) -> dict[str, Any]:
    readiness, tritons = gateway.fallback_readiness, gateway.tritons
    if readiness is None:
        return {}
    return {
        "fallback": {
            "address": gateway.settings.fallback_triton,
            "up": readiness.up,
            "usable": tritons.switch.usable,
            "serving": tritons.switch.on_fallback,
            "reason": readiness.reason or tritons.refused or None,
            "model_version": readiness.served and readiness.served.version,
            "device": readiness.device,
        }
    }


def _canary(gateway: Gateway) -> dict[str, Any]:
    if gateway.canary is None:
        return {}
    readiness = gateway.canary.readiness
    return {
        "canary": {
            "address": gateway.canary.triton.address,
            "up": readiness.up,
            "share": gateway.settings.canary_share,
            "reason": readiness.reason or gateway.canary.canary.refused or None,
            "model_version": readiness.served and readiness.served.version,
        }
    }


def _details(gateway: Gateway) -> dict[str, Any]:
    readiness, scheduler, model = gateway.readiness, gateway.scheduler, gateway.model
    served = readiness.served
    pace = scheduler.pace
    return {
        "model_loaded": readiness.up or gateway.tritons.switch.on_fallback,
        "model": {"name": model.name, "revision": model.revision or None, "demo": model.demo},
        "dimension": served and served.hidden_size,
        "colbert_dimension": served and served.colbert_size,
        "device": readiness.device,
        "queue": {
            "waiting_tokens": scheduler.waiting_tokens,
            "in_flight_tokens": scheduler.in_flight_tokens,
            "budget_tokens": gateway.settings.max_load_tokens,
            "tokens_per_second": round(pace.tokens_per_second, 1) if pace.measured else None,
        },
        "triton": {
            "address": gateway.settings.triton,
            "up": readiness.up,
            "model_version": served and served.version,
        },
        **_fallback(gateway),
        **_canary(gateway),
        "version": version("bgem3-triton"),
        **{f"gpu_{index}": vars(gpu) for index, gpu in enumerate(gateway.gpus.gpus)},
    }
