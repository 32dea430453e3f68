"""What a worker encodes with: servers that it sends to, or a model that it runs itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bgem3_client.async_client import AsyncClient
from bgem3_client.limits import Limits
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint
from bgem3_retrieval.bulk.ray.repository_export import RepositoryExport
from bgem3_retrieval.errors import ClusterError, ModelChangedError


class Encoders(Protocol):
    """Makes the endpoints of a worker, in the worker."""

    def endpoints(self, limits: Limits) -> list[Endpoint]:
        """Return them, one at least.

        Raises:
            BgeM3Error: There are none on this node.
        """


@dataclass(frozen=True)
class Servers:
    """Servers, of which each worker uses all.

    Attributes:
        urls: Their addresses.
        connect: Makes an endpoint of an address.
    """

    urls: tuple[str, ...]
    connect: Callable[[str, Limits], Endpoint] = Endpoint.connect

    def endpoints(self, limits: Limits) -> list[Endpoint]:
        """See :class:`Encoders`."""
        return [self.connect(url, limits) for url in self.urls]


@dataclass(frozen=True)
class OwnModel:
    """A model repository that lies under the same path on each node; each worker loads it.

    Attributes:
        export: What is to be found there.
        threads: Of the trunk on a CPU.
        on_gpu: Whether it runs on the GPU that Ray gave the worker.
    """

    export: RepositoryExport
    threads: int
    on_gpu: bool = False

    def endpoints(self, limits: Limits) -> list[Endpoint]:
        """See :class:`Encoders`.

        Raises:
            ClusterError: There is no such repository on this node, or it cannot be loaded.
            ModelChangedError: It is another export.
        """
        from bgem3_export.errors import RepositoryError

        node, folder = socket.gethostname(), self.export.folder
        try:
            found = RepositoryExport.read(folder)
        except RepositoryError as error:
            raise ClusterError(
                f"{node}: {error}. The repository must be on every node, under the same path"
            ) from error
        if found != self.export:
            raise ModelChangedError(
                f"{node}: {folder} holds another export ({found.model}) than where the command "
                "runs: copy the whole folder to every node"
            )
        try:
            from bgem3_retrieval.bulk.ray.repository_model import RepositoryModel
        except ModuleNotFoundError as error:
            raise ClusterError(
                f"{node} has not what runs a model ({error}): pip install "
                "'bgem3-triton[backend,cpu,ray]' on every node"
            ) from error
        from bgem3_retrieval.bulk.ray.repository_transport import RepositoryTransport

        model = RepositoryModel(folder, self.threads, "cuda" if self.on_gpu else "cpu")
        client = AsyncClient(
            transport=RepositoryTransport(model), limits=limits, retries=RetryPolicy(attempts=1)
        )
        return [Endpoint(f"{folder} on {node}", client)]
