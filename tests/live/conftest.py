"""Connections for tests that send raw tensors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tritonclient.grpc as grpcclient

from bgem3_server.triton.addresses import Addresses


@pytest.fixture(scope="session")
def connection(triton: Addresses) -> Iterator[grpcclient.InferenceServerClient]:
    """A plain Triton client."""
    with grpcclient.InferenceServerClient(triton.grpc) as connection:
        yield connection
