"""A server that switches to another version of the model in the middle of a call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bgem3_client import Client, FakeTransport, Limits
from bgem3_client.errors import VersionChangedError
from bgem3_client.transports import InferRequest, InferResponse

_ONE_TEXT_A_REQUEST = Limits(max_texts_per_request=1, max_in_flight=1)


class _Switching(FakeTransport):
    """Answers each request as the version that is next."""

    def __init__(self, *versions: str) -> None:
        super().__init__()
        self._versions = iter(versions)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer as the next version."""
        return replace(await super().infer(request), model_version=next(self._versions))


def test_a_call_over_a_switch_is_asked_again():
    """The parts of an answer are of one version, without the caller having to ask again."""
    transport = _Switching("1", "2", "2", "2")
    with Client(transport=transport, limits=_ONE_TEXT_A_REQUEST) as client:
        embeddings = client.encode(["one", "two"])

    assert "2" == embeddings.model_version
    assert 4 == len(transport.requests)


def test_a_server_that_goes_on_switching_is_an_error():
    """It is asked twice, not for ever."""
    transport = _Switching("1", "2", "1", "2")
    with (
        Client(transport=transport, limits=_ONE_TEXT_A_REQUEST) as client,
        pytest.raises(VersionChangedError, match="changed the model's version"),
    ):
        client.encode(["one", "two"])
