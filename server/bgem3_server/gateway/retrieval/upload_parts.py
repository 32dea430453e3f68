"""The parts of a multipart body, written to a folder as they come."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.documents.formats import SUFFIXES
from bgem3_server.gateway.calls.errors import TooLargeError
from bgem3_server.gateway.retrieval.upload_folder import UploadFolder
from bgem3_server.gateway.retrieval.upload_names import checked_name
from bgem3_server.gateway.retrieval.uploaded_file import UploadedFile

_FILES_FIELD: Final = "files"
_MAX_FIELDS: Final = 256
_MAX_FIELD_BYTES: Final = 64 * 1024


class UploadParts:
    """What has come of a body: files in a folder, all else in memory and small.

    Attributes:
        files: Those that are complete.
        fields: The values of each other field.
    """

    def __init__(
        self, boundary: bytes, folder: UploadFolder, max_files: int, max_file_bytes: int
    ) -> None:
        """Expect the first byte.

        Args:
            boundary: What stands between the parts.
            folder: For the files; removed by :meth:`close`.
            max_files: Further ones are refused.
            max_file_bytes: Of each file; of larger ones nothing is kept.
        """
        self.files: list[UploadedFile] = []
        self.fields: dict[str, list[str]] = {}
        self._folder = folder
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes
        self._names: set[str] = set()
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._field = ""
        self._field_count = 0
        self._text = bytearray()
        self._file: _OpenFile | None = None
        self._complete = False
        self._closed = False
        self._turn = threading.Lock()  # `close` may come while a thread is in `take`
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def take(self, data: bytes) -> None:
        """Take more of the body; blocks while it is written. After :meth:`close`: nothing.

        Raises:
            InvalidInputError: It is no such body, or a file's name is none.
            TooLargeError: There are too many parts, or a field is too long.
            OSError: A file cannot be written.
        """
        with self._turn:
            if self._closed:
                return
            try:
                self._parser.write(data)
            except FormParserError as error:
                raise InvalidInputError(
                    f"the request's body is not multipart/form-data: {error}"
                ) from error

    def check_complete(self) -> None:
        """Do nothing if the body came to its end.

        Raises:
            InvalidInputError: It did not.
        """
        if not self._complete:
            raise InvalidInputError(
                "the request's body is no complete multipart/form-data: its last boundary is "
                "missing"
            )

    def close(self) -> None:
        """Remove the files. Again: nothing."""
        with self._turn:
            self._closed = True
            if self._file is not None:
                self._file.stream.close()
                self._file = None
            self._folder.remove()

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise InvalidInputError("a part of the body has no name: Content-Disposition gives it")
        self._field = _decoded(options[b"name"])
        if b"filename" in options:
            self._begin_file(_decoded(options[b"filename"]))
            return
        if self._field == _FILES_FIELD:
            raise InvalidInputError(
                f"a part {_FILES_FIELD!r} has no file name: a file's name is its source"
            )
        self._field_count += 1
        if self._field_count > _MAX_FIELDS:
            raise TooLargeError(f"the request has more than {_MAX_FIELDS} fields that are no files")
        self._text = bytearray()

    def _begin_file(self, name: str) -> None:
        if self._field != _FILES_FIELD:
            raise InvalidInputError(
                f"{self._field}: is a file; files are sent as parts named {_FILES_FIELD!r}"
            )
        number = len(self.files)
        if number == self._max_files:
            raise TooLargeError(
                f"the request has more than {number} files, which is what this service takes at "
                "once: send them in several requests",
                figures={"limit_documents": number},
            )
        checked_name(name, number)
        if name in self._names:
            raise InvalidInputError(f"files[{number}]: there is another file named {name!r}")
        self._names.add(name)
        suffix = PurePosixPath(name).suffix.lower()
        path = self._folder.path / f"{number}{suffix if suffix in SUFFIXES else ''}"
        self._file = _OpenFile(path, name, path.open("xb"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end], self._max_file_bytes)
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise TooLargeError(
                f"{self._field}: has more than {_MAX_FIELD_BYTES} bytes",
                figures={"limit_bytes": _MAX_FIELD_BYTES},
            )

    def _on_part_end(self) -> None:
        if self._file is None:
            self.fields.setdefault(self._field, []).append(_decoded(bytes(self._text)))
        else:
            self.files.append(self._file.closed(self._max_file_bytes))
            self._file = None

    def _on_end(self) -> None:
        self._complete = True


@dataclass
class _OpenFile:
    path: Path
    name: str
    stream: BinaryIO
    size_bytes: int = 0

    def write(self, data: memoryview, max_bytes: int) -> None:
        self.size_bytes += len(data)
        if self.size_bytes <= max_bytes:
            self.stream.write(data)
        else:
            self.stream.truncate(0)

    def closed(self, max_bytes: int) -> UploadedFile:
        self.stream.close()
        return UploadedFile(self.path, self.name, self.size_bytes, self.size_bytes <= max_bytes)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{value!r}: names and fields of the body must be in UTF-8"
        ) from error
