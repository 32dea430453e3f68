"""Paths that are treated unlike the rest."""

from __future__ import annotations

from typing import Final

HEALTH_PATHS: Final = frozenset({"/health", "/health/live", "/health/ready"})
METRICS_PATH: Final = "/metrics"
UPLOAD_PATH: Final = "/index/files"
"""Whose bodies are files, and go to the disk: they may be larger."""

MONITORING_PATHS: Final = HEALTH_PATHS | {METRICS_PATH}
"""What machines ask every few seconds: told in the log only at its finest level, never traced."""

_DOCUMENTS: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})


def needs_key(method: str, path: str, metrics_need_key: bool) -> bool:
    """Whether a request is for callers with a key, where keys are set.

    The page, the documents and the health routes compute nothing and tell nobody's texts. All of
    them are read with GET: a POST to the page's own path computes.
    """
    if method not in ("GET", "HEAD"):
        return True
    if path == METRICS_PATH:
        return metrics_need_key
    open_to_all = path == "/" or path in HEALTH_PATHS or path in _DOCUMENTS
    return not (open_to_all or path.startswith(("/page/", "/static-offline-docs/")))
