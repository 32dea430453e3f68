"""``POST /index/files``: files into a collection."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.access.paths import UPLOAD_PATH
from bgem3_server.gateway.dialects.index_files_schema import IndexFilesAnswer, IndexFilesRequest
from bgem3_server.gateway.dialects.search import PROBLEMS
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway
from bgem3_server.gateway.retrieval.upload import receive_upload

router = APIRouter(tags=["search"])

_DESCRIPTION: Final = """\
PDF, DOCX, HTML, Markdown, text, and tables (JSONL, CSV, Parquet) of which each row is a document.
They are read as `bgem3 index` reads them, and put into a collection as `/index` does. The name of a
file is the source of its document: one of the same name takes the place of the earlier one. A file
that cannot be read is skipped, and the answer says why.

Needs a store: `--store` or `BGEM3_STORE`.
"""
_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": IndexFilesRequest.form_schema()}},
    }
}


@router.post(
    UPLOAD_PATH,
    summary="Files into a collection",
    description=_DESCRIPTION,
    response_class=Response,
    responses={200: {"model": IndexFilesAnswer}, **PROBLEMS},
    openapi_extra=_FORM,
)
async def index_files(request: Request, call: CurrentCall, gateway: CurrentGateway) -> Response:
    """Answer with what was done."""
    retrieval = gateway.needed_retrieval()
    settings = gateway.settings
    with retrieval.receiving():
        upload = await receive_upload(request, settings)
    try:
        fields = IndexFilesRequest.of(upload.fields)
        if not upload.files:
            raise InvalidInputError("files: there is none; curl -F files=@FILE sends one")
    except BaseException:
        upload.close()
        raise
    report, files = await retrieval.index_files(
        fields.collection,
        upload,
        fields.reading(settings.max_file_bytes),
        fields.metadata,
        fields.options(),
        call,
    )
    answer = IndexFilesAnswer.of_files(report, files)
    content = await asyncio.to_thread(answer.model_dump_json)
    return Response(content, media_type="application/json")
