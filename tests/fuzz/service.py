"""The HTTP service, in this process and without a Triton: any request, and then a good one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from fuzz.target import Target
from fuzz.temporary_file import temporary_folder
from starlette.types import Message, Scope

from bgem3_client import FakeTransport
from bgem3_export.demo_model import demo_model
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

_KEY = "let-me-in"
_MOST_BYTES = 65_536
# What the server in front of an application lets through: httptools refuses the rest.
_NOT_IN_HEADERS = bytes({*range(32), 127} - {9})
_HEADERS = (
    b"x-request-id", b"x-priority", b"cache-control", b"x-timeout-seconds", b"accept",
    b"authorization", b"traceparent", b"content-encoding", b"origin", b"content-length",
)  # fmt: skip
_TYPES = (
    b"application/json", b"", b"text/plain", b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=b", b"application/json; charset=utf-16", b"application/msgpack",
)  # fmt: skip
_GOOD = b'{"texts": ["Reset your password"], "mode": ["dense", "sparse"]}'


@dataclass
class _Answer:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class _Service:
    """The application with its own event loop, started once."""

    def __init__(self) -> None:
        folder = temporary_folder()
        self.folder = str(folder)
        self._app = create_app(
            GatewaySettings(
                ready_interval_seconds=0,
                max_texts=8,
                max_body_bytes=_MOST_BYTES,
                max_upload_bytes=_MOST_BYTES,
                tokenizer=demo_model() / "tokenizer.json",
                store=self.folder,
                api_keys=_KEY,
                service_log_level="error",
            ),
            FakeTransport(),
        )
        self._loop = asyncio.new_event_loop()
        self._lifespan = self._app.router.lifespan_context(self._app)
        self._loop.run_until_complete(self._lifespan.__aenter__())
        self.documented = self._app.openapi()["paths"]
        self.count = 0
        answer = self.ask("POST", "/embed", _GOOD)
        assert answer.status == 200
        self.good = answer.body

    def ask(
        self, method: str, path: str, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> _Answer:
        """One request, its body in two parts."""
        given = dict(headers)
        given.setdefault(b"authorization", f"Bearer {_KEY}".encode())
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "headers": list(given.items()), "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 33330), "state": {},
        }  # fmt: skip
        answer = _Answer()
        parts: Iterator[Message] = iter(
            (
                {"type": "http.request", "body": body[:10], "more_body": True},
                {"type": "http.request", "body": body[10:], "more_body": False},
            )
        )

        async def receive() -> Message:
            if (message := next(parts, None)) is None:
                await asyncio.Event().wait()
            assert message is not None
            return message

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = dict(message["headers"])
            else:
                answer.body += message.get("body", b"")

        self._loop.run_until_complete(self._app(scope, receive, send))
        return answer


@cache
def _service() -> _Service:
    return _Service()


def _check(answer: _Answer, documented: dict[str, Any]) -> None:
    """A documented status; an error in one of the shapes of errors; nothing of the server's."""
    service = _service()
    status = str(answer.status)
    # A header that is wrong is refused at every route, those of health included.
    assert status in documented or status[0] == "4", (status, answer.body[:300])
    assert answer.status < 500, answer.body[:300]
    for name, value in answer.headers.items():
        assert not {10, 13, 0} & set(name + value)
    if answer.status >= 400:
        error = json.loads(answer.body)
        told = error["error"]
        code = told["code"] if isinstance(told, dict) else error["code"]
        assert code
        assert code != "internal_error"
        for secret in (service.folder, _KEY, "Traceback"):
            assert secret not in answer.body.decode(), f"an answer has {secret!r}"
    service.count += 1
    if service.count % 64 == 0:
        assert service.good == service.ask("POST", "/embed", _GOOD).body


def _request(content: bytes, paths: tuple[tuple[str, str], ...]) -> None:
    """Bytes choose route, content type and, where the fourth is odd, a header on the first line."""
    if len(content) < 4:
        return
    method, path = paths[content[0] % len(paths)]
    headers = []
    if kind := _TYPES[content[1] % len(_TYPES)]:
        headers.append((b"content-type", kind))
    body = content[4:]
    if content[3] & 1:
        value, _, body = body.partition(b"\n")
        value = value.translate(None, _NOT_IN_HEADERS).strip()
        headers.append((_HEADERS[content[2] % len(_HEADERS)], value))
    service = _service()
    documented = service.documented[path][method.lower()]["responses"]
    filled = path.replace("{name}", "notes").replace("{collection}", "notes")
    answer = service.ask(method, filled, body, tuple(headers))
    if content[3] & 1 and headers[-1][0] == b"authorization" and answer.status == 401:
        return
    _check(answer, documented)


def _json(content: bytes, method: str, path: str, key: str) -> None:
    """Well-formed JSON around bytes that are the value of one field: deeper than the syntax."""
    body = b'{"%s": %s}' % (key.encode(), content)
    service = _service()
    _check(
        service.ask(method, path, body, ((b"content-type", b"application/json"),)),
        service.documented[path][method.lower()]["responses"],
    )


_SEEDS: dict[str, bytes] = {
    "/embed": b'{"texts": ["a", "b"], "mode": ["dense"], "max_length": 8, "truncate": true}',
    "/": b'{"inputs": "a"}',
    "/embed_sparse": b'{"inputs": ["a"], "truncate": true}',
    "/embed_all": b'{"inputs": [["a", "b"]]}',
    "/rerank": b'{"query": "a", "texts": ["b"], "raw_scores": true, "return_text": true}',
    "/v1/embeddings": b'{"input": ["a"], "model": "bge-m3", "encoding_format": "base64"}',
    "/v1/rerank": b'{"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1, "model": "m"}',
    "/score": b'{"pairs": [["a", "b"]], "weights": [1, 0.5, 0]}',
    "/v1/score": b'{"text_1": "a", "text_2": ["b"]}',
    "/tokenize": b'{"inputs": "a b", "add_special_tokens": false}',
    "/decode": b'{"ids": [[0, 5, 2]], "skip_special_tokens": true}',
    "/count_tokens": b'{"texts": ["a"]}',
    "/search": b'{"collection": "notes", "query": "a", "limit": 3, "where": ["page>=1"]}',
    "/index": b'{"collection": "notes", "documents": [{"source": "a", "text": "b"}]}',
    "/index/files": (
        b'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\nnotes\r\n'
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a/b.md"\r\n\r\n# One\r\n'
        b"--b--\r\n"
    ),
}
_WORDS = (
    b"NaN", b"Infinity", b"1e999", b"-0.0", b"9" * 400, b"[" * 2000, b'{"a":' * 500, b"\\ud800",
    b"\\ud83d\\ude00", b"\\u0000", b"\xed\xa0\x80", b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"true",
    b'"texts": ["x"], "texts": 1', b"\x1f\x8b\x08", b"--b\r\n", b"\r\n\r\n", b'filename="', b"../",
    b"; name*=utf-8''", b"gzip", b"no-store", b"application/msgpack", b"Bearer ", b"*/*;q=0",
)  # fmt: skip


def targets() -> list[Target]:
    """Those of the service; what writes to a collection is apart, for it takes longer."""
    paths: list[tuple[str, str]] = []
    writing: list[tuple[str, str]] = []
    documented = create_app(GatewaySettings(), FakeTransport()).openapi()["paths"]
    for path, operations in documented.items():
        for method in operations:
            kind = writing if path.startswith(("/index", "/collections")) else paths
            if method in ("get", "post", "delete"):
                kind.append((method.upper(), path))

    def seeds(routes: list[tuple[str, str]]) -> list[bytes]:
        found = []
        for number, (_, path) in enumerate(routes):
            kind = 4 if path.endswith("/files") else 0
            body = _SEEDS.get(path, b"{}")
            found.append(bytes([number, kind, 0, 0]) + body)
            found.append(bytes([number, kind, number, 1]) + b"abc\n" + body)
        return found

    fields = [b'["a", "b"]', b'"a"', b"[1, 2.5, -3]", b'{"a": 1}', b"8", b"true", b'[["a","b"]]']
    return [
        Target("http", partial(_request, paths=tuple(paths)), seeds(paths), _WORDS),
        Target("http-collections", partial(_request, paths=tuple(writing)), seeds(writing), _WORDS),
        *(
            Target(
                f"json-{path.strip('/').replace('/', '-').replace('_', '-')}-{key}".lower(),
                partial(_json, method="POST", path=path, key=key),
                fields,
                _WORDS,
            )
            for path, key in (
                ("/embed", "inputs"),
                ("/v1/embeddings", "input"),
                ("/rerank", "texts"),
                ("/search", "where"),
            )
        ),
    ]
