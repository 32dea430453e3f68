"""Large ColBERT results by shared memory instead of by message, on one machine."""

from __future__ import annotations

import asyncio
import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tritonclient.utils import shared_memory as system_memory

from bgem3_backend.contract import COLBERT, COLBERT_FP16, MAX_LENGTH_PARAMETER
from bgem3_client.errors import (
    AccessError,
    ContractError,
    InternalServerError,
    InvalidInputError,
    ModelNotFoundError,
    ServerError,
    UnavailableError,
)
from bgem3_client.model_info import ModelInfo
from bgem3_client.transports import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    TritonTransport,
)
from bgem3_client.triton_key import VARIABLE

_COLBERT_BYTES: Final = {COLBERT.name: 4, COLBERT_FP16.name: 2}
# CLS, EOS and the space that the tokenizer puts before a text.
_ADDED_TOKENS: Final = 3
_CLOSE_SECONDS: Final = 5.0
_FORGET_POLL_SECONDS: Final = 0.1
_SHARED_MEMORY_FILES: Final = "/dev/shm"  # noqa: S108 - where Linux keeps them
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Region:
    """A piece of memory that this process made and the server knows by name."""

    region_name: str
    size_bytes: int
    handle: Any

    @classmethod
    def create(cls, size_bytes: int) -> Region:
        """Make the memory, all of it there at once.

        Raises:
            InvalidInputError: There is not that much.
        """
        name = f"bgem3-{os.getpid()}-{uuid4().hex[:12]}"
        try:
            handle = system_memory.create_shared_memory_region(
                name, name, size_bytes, create_only=True
            )
        except system_memory.SharedMemoryException as error:
            raise _no_room(size_bytes, error.__cause__ or error) from error
        region = cls(name, size_bytes, handle)
        path = os.path.join(_SHARED_MEMORY_FILES, name)
        if os.path.exists(path):
            # Pages are given out when they are first written to, and a process that gets none
            # then is killed: that would be the server.
            try:
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, size_bytes)
            except OSError as error:
                region.destroy()
                raise _no_room(size_bytes, error) from error
        return region

    def read(self, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
        """Return a copy of the array that the server left at the start of the region.

        Raises:
            ContractError: It would not fit in the region.
        """
        needed_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if needed_bytes > self.size_bytes:
            raise ContractError(
                f"the server answered with {needed_bytes} bytes in a shared memory region of "
                f"{self.size_bytes}"
            )
        array: NDArray[Any] = system_memory.get_contents_as_numpy(self.handle, dtype, shape).copy()
        return array

    def destroy(self) -> None:
        """Give the memory back; a server that still maps it keeps its own view of it."""
        system_memory.destroy_shared_memory_region(self.handle)


def _no_room(size_bytes: int, reason: BaseException) -> InvalidInputError:
    return InvalidInputError(
        f"shared_memory_bytes={size_bytes}: this machine gives no such region ({reason}); lower "
        "it, or give the container more with --shm-size"
    )


class SharedMemoryTransport:
    """Wraps a transport; ColBERT outputs that surely fit in a region go through one.

    Regions are made when they are first needed, one for each request under way at most, and are
    used again. What might not fit goes by message. A request that ends without an answer
    (cancelled, too late, connection lost) may still be written to by the server: its region is
    given up, never used again, and the server is asked to forget it.
    """

    def __init__(self, transport: TritonTransport, region_bytes: int) -> None:
        self._transport = transport
        self._region_bytes = region_bytes
        self._free: list[Region] = []
        # Names that the server still holds, and gives up only when nobody writes there any more.
        self._given_up: list[str] = []
        self._colbert_sizes: dict[tuple[str, str], int] = {}

    async def infer(self, request: InferRequest) -> InferResponse:
        """See :class:`bgem3_client.transports.Transport`."""
        colbert = [output.name for output in request.outputs if output.name in _COLBERT_BYTES]
        if not colbert or await self._needed_bytes(request, colbert[0]) > self._region_bytes:
            return await self._transport.infer(request)
        region = self._free.pop() if self._free else await self._register()
        try:
            response = await self._transport.infer(
                replace(request, placements={colbert[0]: region})
            )
        except (InvalidInputError, ModelNotFoundError) as error:
            self._give_up(region)
            if isinstance(error, InvalidInputError) and error.index is not None:
                raise
            # Perhaps it was the region that was not found: a server that was started again does
            # not know it. By message it says whether anything is wrong with the request itself.
            return await self._transport.infer(request)
        except BaseException:
            self._give_up(region)
            raise
        self._free.append(region)
        return response

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """See :class:`bgem3_client.transports.Transport`."""
        return await self._transport.model_metadata(model, model_version, timeout_seconds)

    async def model_parameters(
        self, model: str, timeout_seconds: float | None
    ) -> Mapping[str, str]:
        """See :class:`bgem3_client.transports.TritonTransport`."""
        return await self._transport.model_parameters(model, timeout_seconds)

    async def close(self) -> None:
        """Have the server forget all regions, and give their memory back."""
        while self._free:
            self._give_up(self._free.pop())
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                # A region stays while a request that was given up is still being worked on.
                while not await self._forget():
                    await asyncio.sleep(_FORGET_POLL_SECONDS)
        except (TimeoutError, UnavailableError, AccessError) as error:
            _log.info("the server may still hold %s: %r", ", ".join(self._given_up), error)
        finally:
            await self._transport.close()

    async def _register(self) -> Region:
        region: Region | None = None
        try:
            await self._forget()
            region = Region.create(self._region_bytes)
            await self._transport.register_region(
                region.region_name, region.region_name, region.size_bytes
            )
        except BaseException as error:
            if region is not None:
                self._give_up(region)
            if isinstance(error, ServerError):
                raise type(error)(
                    f"the server cannot use this process's shared memory ({error}); run both "
                    "on one machine with one /dev/shm, as one user or with one "
                    f"{VARIABLE}, or leave out shared_memory_bytes"
                ) from error
            raise
        return region

    def _give_up(self, region: Region) -> None:
        region.destroy()
        self._given_up.append(region.region_name)

    async def _forget(self) -> bool:
        """Have the server forget what was given up; return whether it did so entirely.

        Raises:
            UnavailableError: The server is away.
        """
        names, self._given_up = self._given_up, []
        while names:
            try:
                await self._transport.unregister_region(names[-1])
            except (InvalidInputError, InternalServerError) as error:
                _log.debug("the server keeps shared memory %s for now: %s", names[-1], error)
                self._given_up.append(names.pop())
            except BaseException:
                self._given_up += names
                raise
            else:
                names.pop()
        return not self._given_up

    async def _needed_bytes(self, request: InferRequest, output: str) -> int:
        """Return the most that the ColBERT output can take."""
        model = (request.model, request.model_version)
        if model not in self._colbert_sizes:
            metadata = await self._transport.model_metadata(*model, request.timeout_seconds)
            self._colbert_sizes[model] = ModelInfo.of(metadata).colbert_size
        max_length = int(request.parameters[MAX_LENGTH_PARAMETER])
        tokens = sum(min(_most_tokens(text), max_length) - 1 for text in request.texts)
        return tokens * self._colbert_sizes[model] * _COLBERT_BYTES[output]


def _most_tokens(text: bytes) -> int:
    """Return how many tokens a text can have at most: one a character, once it is normalised.

    One code point can become 18 characters (U+FDFA), so bytes would not be a bound.
    """
    return len(unicodedata.normalize("NFKC", text.decode())) + _ADDED_TOKENS
