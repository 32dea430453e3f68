"""Questions to a Triton, over whichever of its protocols, past any proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bgem3_client.address import Address
from bgem3_client.triton_key import key_headers

_SECONDS: Final = 10.0


class NoAnswerError(Exception):
    """Triton did not answer a question; the message is its own, or the connection's."""


@dataclass(frozen=True)
class ModelState:
    """A model, as Triton's index of its repository has it.

    Attributes:
        state: ``READY``, ``UNAVAILABLE``, ``LOADING`` …; empty where it was never loaded.
        reason: Why it is so.
    """

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True)
class ModelTensors:
    """What a loaded model takes and gives: Triton's type and last dimension of each tensor."""

    versions: tuple[str, ...]
    inputs: dict[str, tuple[str, int]]
    outputs: dict[str, tuple[str, int]]


class TritonQuestions:
    """A connection to one Triton."""

    def __init__(self, client: Any, address: Address, timeout: dict[str, float]) -> None:  # noqa: ANN401
        self._client = client
        self._address = address
        self._timeout = timeout

    @classmethod
    @contextmanager
    def to(cls, address: Address) -> Iterator[TritonQuestions]:
        """Open a connection; nothing is sent yet."""
        encrypted = address.tls is not None
        client: Any
        if address.protocol == "grpc":
            import tritonclient.grpc

            client = tritonclient.grpc.InferenceServerClient(
                address.target,
                ssl=encrypted,
                channel_args=[("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)],
            )
            timeout = {"client_timeout": _SECONDS}
        else:
            import tritonclient.http

            client = tritonclient.http.InferenceServerClient(
                address.target,
                ssl=encrypted,
                connection_timeout=_SECONDS,
                network_timeout=_SECONDS,
            )
            timeout = {}
        try:
            yield cls(client, address, timeout)
        finally:
            client.close()

    def is_ready(self) -> bool:
        """Whether Triton says that all its models are.

        Raises:
            NoAnswerError: It does not answer.
        """
        with _translated():
            return bool(self._client.is_server_ready(**self._timeout))

    def version(self) -> str:
        """Return Triton's own version, as 2.51.0.

        Raises:
            NoAnswerError: It does not answer.
        """
        with _translated():
            return str(self._as_json(self._client.get_server_metadata)["version"])

    def models(self) -> list[ModelState]:
        """Return what Triton says of each model in its repository.

        Raises:
            NoAnswerError: It does not answer, or not without a key.
        """
        with _translated():
            index = self._as_json(
                self._client.get_model_repository_index, headers=key_headers(self._address)
            )
        models = index.get("models", []) if isinstance(index, dict) else index
        return [
            ModelState(
                model["name"],
                model.get("version", ""),
                model.get("state", ""),
                model.get("reason", ""),
            )
            for model in models
        ]

    def is_loaded(self, model: str) -> bool:
        """Whether a model answers requests.

        Raises:
            NoAnswerError: It does not answer.
        """
        with _translated():
            return bool(self._client.is_model_ready(model, **self._timeout))

    def tensors(self, model: str) -> ModelTensors:
        """Return what a model takes and gives.

        Raises:
            NoAnswerError: It does not answer, or has no such model.
        """
        with _translated():
            metadata = self._as_json(self._client.get_model_metadata, model)
        return ModelTensors(
            tuple(metadata.get("versions", ())),
            _by_name(metadata.get("inputs", [])),
            _by_name(metadata.get("outputs", [])),
        )

    def _as_json(self, method: Any, *arguments: str, **keywords: Any) -> Any:  # noqa: ANN401
        # Over HTTP it is JSON anyway, and the method has no such parameter.
        if self._address.protocol == "grpc":
            keywords |= {"as_json": True}
        return method(*arguments, **keywords, **self._timeout)


def _by_name(tensors: list[dict[str, Any]]) -> dict[str, tuple[str, int]]:
    return {
        tensor["name"]: (tensor["datatype"], int(tensor["shape"][-1]))
        for tensor in tensors
        if tensor.get("shape")
    }


@contextmanager
def _translated() -> Iterator[None]:
    from tritonclient.utils import InferenceServerException

    try:
        yield
    except InferenceServerException as error:
        raise NoAnswerError(error.message() or type(error).__name__) from error
    except OSError as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error
