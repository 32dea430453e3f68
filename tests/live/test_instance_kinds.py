"""What Triton says about the configuration of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from bgem3_backend.contract import ENSEMBLE, TOKENIZER, TRUNK
from bgem3_client import ModelNotFoundError
from bgem3_client.address import Address
from bgem3_client.transports import TritonTransport, connect

pytestmark = pytest.mark.live


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_kinds_are_those_of_the_loaded_configuration(protocol, triton):
    """The CPU profile's trunk runs on the CPU; an ensemble has no instances."""
    url = {"grpc": triton.grpc, "http": triton.http}[protocol]

    async def ask(model: str) -> frozenset[str]:
        transport = connect(Address.parse(url), {})
        assert isinstance(transport, TritonTransport)
        try:
            return await transport.instance_kinds(model, 10)
        finally:
            await transport.close()

    assert {"KIND_CPU"} == asyncio.run(ask(TRUNK.name))
    assert frozenset() == asyncio.run(ask(ENSEMBLE.name))
    with pytest.raises(ModelNotFoundError):
        asyncio.run(ask("nothing"))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_parameters_are_those_of_the_loaded_configuration(protocol, triton):
    """The tokenizer is told the longest text; an ensemble has no parameters."""
    url = {"grpc": triton.grpc, "http": triton.http}[protocol]

    async def ask(model: str) -> Mapping[str, str]:
        transport = connect(Address.parse(url), {})
        assert isinstance(transport, TritonTransport)
        try:
            return await transport.model_parameters(model, 10)
        finally:
            await transport.close()

    assert {"max_length_tokens": "8192"} == asyncio.run(ask(TOKENIZER.name))
    assert {} == asyncio.run(ask(ENSEMBLE.name))
