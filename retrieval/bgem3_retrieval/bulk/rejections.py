"""Rejections as JSON lines."""

from __future__ import annotations

import json

from bgem3_retrieval.bulk.records import Rejection


def as_json_line(rejection: Rejection) -> bytes:
    """Return ``file``, ``line``, ``reason`` and ``content`` as a JSON object, and a line's end.

    What is not UTF-8 in the content is replaced.
    """
    line = rejection.line
    fields = {
        "file": line.source,
        "line": line.number,
        "reason": rejection.reason,
        "content": line.content.decode(errors="replace"),
    }
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
