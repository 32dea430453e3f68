"""gRPC to a name that stands for several servers, as that of a headless Service does."""

from __future__ import annotations

import asyncio

from fake_triton import Behaviour, grpc_server

from bgem3_backend.contract import ENSEMBLE, MAX_LENGTH_PARAMETER, TRUNCATE_PARAMETER
from bgem3_client import InferRequest
from bgem3_client.address import Address
from bgem3_client.transports.grpc import GrpcTransport

REQUEST = InferRequest(
    ("a text",),
    (ENSEMBLE.output("dense"),),
    {MAX_LENGTH_PARAMETER: 16, TRUNCATE_PARAMETER: True},
    ENSEMBLE.name,
    "",
)


def addresses(*urls: str) -> Address:
    """The address that a name with several addresses resolves to."""
    targets = [url.replace("localhost", "127.0.0.1") for url in urls]
    return Address("grpc", f"ipv4:{','.join(targets)}", None)


async def connected(*servers: Behaviour, transport: GrpcTransport) -> None:
    """Send requests until every server has had one: connections are made one after the other."""
    async with asyncio.timeout(10):
        while not all(server.requests for server in servers):
            await transport.infer(REQUEST)
    for server in servers:
        server.requests.clear()


def test_requests_are_spread_over_all_addresses():
    """By turns: with gRPC's default the first address would have them all."""
    first, second = Behaviour(), Behaviour()

    async def main() -> None:
        async with grpc_server(first) as one, grpc_server(second) as other:
            transport = GrpcTransport(addresses(one, other), {})
            await connected(first, second, transport=transport)
            for _ in range(10):
                await transport.infer(REQUEST)
            await transport.close()

    asyncio.run(main())

    assert (5, 5) == (len(first.requests), len(second.requests))


def test_a_server_that_has_gone_gets_no_more():
    """What is left has the requests; none fails."""
    first, second = Behaviour(), Behaviour()

    async def main() -> None:
        async with grpc_server(first) as one:
            async with grpc_server(second) as other:
                transport = GrpcTransport(addresses(one, other), {})
                await connected(first, second, transport=transport)
            await asyncio.sleep(0.2)
            for _ in range(10):
                await transport.infer(REQUEST)
            await transport.close()

    asyncio.run(main())

    assert (10, 0) == (len(first.requests), len(second.requests))
