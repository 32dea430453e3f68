"""Memory for answers: from when they are computed until they are sent."""

from __future__ import annotations

from typing import Final

from bgem3_client.encode_request import EncodeOptions
from bgem3_client.model_info import ModelInfo
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.errors import ResultMemoryError, TooLargeError

_FP32_BYTES: Final = 4
# An id and a weight; a token's text is counted with the tokens.
_SPARSE_ENTRY_BYTES: Final = 8
_TOKEN_TEXT_BYTES: Final = 64
_RETRY_SECONDS: Final = 1


class ResultMemory:
    """Bounds what answers take together, whatever clients are slow to read them."""

    def __init__(self, limit_bytes: int) -> None:
        self.used_bytes = 0
        self._limit_bytes = limit_bytes

    def reserve(self, size_bytes: int, call: Call) -> None:
        """Keep memory for the answer to a call until its end.

        Raises:
            TooLargeError: The answer would be larger than all there is.
            ResultMemoryError: There is not so much now.
        """
        limit = self._limit_bytes
        figures = {
            "answer_bytes": size_bytes,
            "used_bytes": self.used_bytes,
            "limit_bytes": limit,
        }
        if size_bytes > limit:
            raise TooLargeError(
                f"the answer would take {size_bytes} bytes, and this service keeps {limit} for "
                "answers: send fewer or shorter texts a request, or ask for fewer outputs",
                figures=figures,
            )
        if self.used_bytes + size_bytes > limit:
            raise ResultMemoryError(
                f"send fewer or shorter texts: the answer would take {size_bytes} bytes, and "
                f"{self.used_bytes} of {limit} are in use by others",
                figures=figures,
                retry_after_seconds=_RETRY_SECONDS,
            )
        self.used_bytes += size_bytes
        call.at_end(lambda: self._free(size_bytes))

    def _free(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes


def answer_bytes(options: EncodeOptions, texts: int, tokens: int, model: ModelInfo) -> int:
    """Return about how much memory the representations of texts take.

    Args:
        options: Say which.
        texts: How many there are.
        tokens: How many tokens they have together.
        model: Says how wide the vectors are.
    """
    size = 0
    if "dense" in options.outputs:
        size += texts * model.hidden_size * _FP32_BYTES
    if "sparse" in options.outputs:
        size += tokens * _SPARSE_ENTRY_BYTES
    if "colbert" in options.outputs:
        number = _FP32_BYTES if options.colbert_dtype == "float32" else _FP32_BYTES // 2
        size += tokens * model.colbert_size * number
    if options.return_tokens:
        size += tokens * _TOKEN_TEXT_BYTES
    if options.return_hidden_states:
        size += tokens * model.hidden_size * _FP32_BYTES
    return size
