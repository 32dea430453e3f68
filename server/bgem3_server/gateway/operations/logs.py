"""How log lines look and which are written: the service's own, and those of its libraries."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO, cast

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.telling import ForgivingStream

# One line says more than the two that uvicorn writes about a request.
_SILENT: Final = "uvicorn.access"
_OURS: Final = ("bgem3", "uvicorn")
# In a line of JSON; the others follow as they came.
_FIRST: Final = ("timestamp", "level", "event")


def set_up_logs(settings: GatewaySettings) -> None:
    """Have all log lines of this process written to standard error, in one form.

    Give uvicorn ``log_config=None``, or it sets up its own.
    """
    level = logging.getLevelNamesMapping()[settings.service_log_level.upper()]
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    last = _json_form() if as_json else _console_form()
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, ForgivingStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    # What libraries say beside warnings is for their developers.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    logging.getLogger(_SILENT).disabled = True


def _json_form() -> list[Processor]:
    # Tracebacks without the variables of their frames, which hold users' texts.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)]


def _console_form() -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            sort_keys=False,
            # The default shows the variables of the frames, which hold users' texts.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _dumps(event: Mapping[str, Any], default: Any, **_: Any) -> str:  # noqa: ANN401 - structlog's
    ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
    return orjson.dumps(ordered, default=default).decode()


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Name the trace and the span that a line belongs to, if any."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
