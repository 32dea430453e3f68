"""A request's files, received."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.retrieval.upload_folder import UploadFolder
from bgem3_server.gateway.retrieval.upload_parts import UploadParts
from bgem3_server.gateway.retrieval.uploaded_file import UploadedFile
from bgem3_server.gateway.settings import GatewaySettings

# Enough to be worth a thread's turn, and all of the body that is in memory.
_WRITTEN_AT_ONCE_BYTES: Final = 1 << 20


class Upload:
    """The files of a request, and the fields beside them.

    Attributes:
        files: In their order. They lie on the disk until :meth:`close`.
        fields: The values of each field that is no file.
    """

    def __init__(self, parts: UploadParts) -> None:
        self._parts = parts
        self.files: Sequence[UploadedFile] = parts.files
        self.fields: Mapping[str, Sequence[str]] = parts.fields

    def close(self) -> None:
        """Remove the files. Again: nothing."""
        self._parts.close()


async def receive_upload(request: Request, settings: GatewaySettings) -> Upload:
    """Write a multipart body to the disk as it comes, and return what it holds.

    Args:
        request: Its body is not read yet.
        settings: What bounds it.

    Raises:
        InvalidInputError: It is no such body.
        TooLargeError: It is too large, or has too many parts.
        BodyTimeoutError: It did not come in time.
        OSError: There is no room for it.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidInputError(
            "this route takes files as multipart/form-data with a boundary, as curl -F sends them; "
            "documents as JSON go to /index"
        )
    folder = await asyncio.to_thread(UploadFolder)
    parts = UploadParts(options[b"boundary"], folder, settings.max_texts, settings.max_file_bytes)
    try:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _WRITTEN_AT_ONCE_BYTES:
                await asyncio.to_thread(parts.take, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(parts.take, bytes(waiting))
        parts.check_complete()
    except BaseException:
        parts.close()
        raise
    return Upload(parts)
