"""Qdrant's HTTP interface before the client's local mode, in memory unless another is given.

It is no Qdrant server, but takes only requests of the client's published models, and can fail.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, TypeAdapter
from qdrant_client import models
from qdrant_client.local.qdrant_local import QdrantLocal

_UPDATED = {"operation_id": 0, "status": "completed"}


@dataclass
class Fault:
    """What is answered instead, once."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class QdrantDouble:
    """Serves on a free port until it is closed."""

    def __init__(self, qdrant: QdrantLocal | None = None, port: int = 0) -> None:
        self.version = "1.16.0"
        self.api_key: str | None = None
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.qdrant = qdrant or QdrantLocal(":memory:")
        self.indexes: dict[str, dict[str, str]] = {name: {} for name in self.qdrant.collections}
        self.guard = threading.Lock()
        handler = type("Handler", (_Handler,), {"double": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}?grpc_port=0"

    def fail_once(self, status: int, error: str = "", *, body: bytes | None = None) -> None:
        envelope = json.dumps({"status": {"error": error}, "time": 0.0}).encode()
        self.faults.append(Fault(status, envelope if body is None else body))

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Return a request's result; a `LookupError` is a collection that is not there."""
        parts = path.strip("/").split("/")
        if parts == ["collections"]:
            return self.qdrant.get_collections()
        name, rest = parts[1], "/".join(parts[2:])
        if (method, rest) == ("PUT", ""):
            return self._create(name, models.CreateCollection.model_validate(body))
        if rest == "exists":
            return {"exists": self.qdrant.collection_exists(name)}
        if not self.qdrant.collection_exists(name):
            raise LookupError(f"Not found: Collection `{name}` doesn't exist!")
        actions: dict[tuple[str, str], Callable[[], Any]] = {
            ("GET", ""): lambda: self._info(name),
            ("DELETE", ""): lambda: self.qdrant.delete_collection(name),
            ("PUT", "index"): lambda: self._index(name, body),
            ("PUT", "points"): lambda: self._upsert(name, models.PointsList.model_validate(body)),
            ("POST", "points"): lambda: self._retrieve(
                name, models.PointRequest.model_validate(body)
            ),
            ("POST", "points/delete"): lambda: self._delete(name, body),
            ("POST", "points/count"): lambda: self.qdrant.count(name),
            ("POST", "points/scroll"): lambda: self._scroll(
                name, models.ScrollRequest.model_validate(body)
            ),
            ("POST", "points/query/batch"): lambda: self.qdrant.query_batch_points(
                name, models.QueryRequestBatch.model_validate(body).searches
            ),
        }
        return actions[method, rest]()

    def _create(self, name: str, asked: models.CreateCollection) -> bool:
        assert isinstance(asked.vectors, dict)
        self.indexes[name] = {}
        return self.qdrant.create_collection(
            name, asked.vectors, asked.sparse_vectors, metadata=asked.metadata
        )

    def _info(self, name: str) -> dict[str, Any]:
        info = self.qdrant.get_collection(name).model_dump(mode="json", exclude_none=True)
        info["payload_schema"] = {
            path: {"data_type": kind, "points": 0} for path, kind in self.indexes[name].items()
        }
        return info

    def _index(self, name: str, body: Any) -> dict[str, Any]:
        self.indexes[name][body["field_name"]] = body["field_schema"]
        return _UPDATED

    def _upsert(self, name: str, asked: models.PointsList) -> dict[str, Any]:
        self.qdrant.upsert(name, asked.points)
        return _UPDATED

    def _delete(self, name: str, body: Any) -> dict[str, Any]:
        self.qdrant.delete(name, TypeAdapter(models.PointsSelector).validate_python(body))
        return _UPDATED

    def _retrieve(self, name: str, asked: models.PointRequest) -> list[models.Record]:
        return self.qdrant.retrieve(
            name, asked.ids, asked.with_payload or False, asked.with_vector or False
        )

    def _scroll(self, name: str, asked: models.ScrollRequest) -> dict[str, Any]:
        points, offset = self.qdrant.scroll(
            name,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
        )
        return {"points": [one.model_dump() for one in points], "next_page_offset": offset}


class _Handler(BaseHTTPRequestHandler):
    double: QdrantDouble
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        double = self.double
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(content) if content else None
        path = urlsplit(self.path)
        with double.guard:
            double.requests.append((self.command, self.path, body))
            if double.faults:
                fault = double.faults.pop(0)
                return self._send(fault.status, fault.body, fault.headers)
            if double.api_key is not None and self.headers.get("api-key") != double.api_key:
                return self._send(401, b"Must provide an API key or an Authorization bearer token")
            if path.path == "/":
                return self._send(200, _json({"title": "qdrant", "version": double.version}))
            try:
                result = double.answer(self.command, path.path, body)
            except LookupError as error:
                return self._send(404, _json({"status": {"error": str(error)}, "time": 0.0}))
            except ValueError as error:
                return self._send(400, _json({"status": {"error": str(error)}, "time": 0.0}))
            return self._send(200, _json({"result": result, "status": "ok", "time": 0.0}))

    do_GET = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _json(value: Any) -> bytes:
    def plain(one: Any) -> Any:
        return one.model_dump(mode="json") if isinstance(one, BaseModel) else str(one)

    return json.dumps(value, default=plain).encode()
