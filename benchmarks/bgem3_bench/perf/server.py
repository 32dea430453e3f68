"""The Triton to measure: a running one, or one that is started for it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from bgem3_backend.contract import MAX_LENGTH_PARAMETER, TOKEN_LENGTHS
from bgem3_bench.perf.errors import DemoModelError
from bgem3_bench.perf.settings import PROTOCOL_NAMES, Protocol
from bgem3_client.address import Address
from bgem3_client.errors import (
    ContractError,
    InvalidInputError,
    ModelNotFoundError,
    UnavailableError,
)
from bgem3_client.transports import InferRequest, Transport, connect_triton
from bgem3_server.repository import read_repository
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings

# The first request of a busy server may take a while; none there is refused at once.
_ANSWER_SECONDS: Final = 60.0
_TEXTS_PER_REQUEST: Final = 256

_ENGINE_METRIC: Final = re.compile(r"^bgem3_trunk_engine_info\{(.*)\} 1$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Server:
    """A server, and what it is.

    Attributes:
        addresses: Where to measure, by protocol.
        name: For the title of a plot.
        description: For the head of a report.
    """

    addresses: Mapping[Protocol, Address]
    name: str
    description: str


@dataclass(frozen=True)
class Inspection:
    """What a server says of a model and of texts.

    Attributes:
        tokens: Of each text, after it is cut; special tokens included.
        row_bytes: A row of the model's widest output.
    """

    tokens: tuple[int, ...]
    row_bytes: int


def running_server(url: str, protocols: Sequence[Protocol]) -> Server:
    """Return the server at ``url``; nothing is sent.

    Args:
        url: ``host:port``, or with ``grpc://`` or ``http://`` before it.
        protocols: What to speak: one, or none to take what the URL says, else gRPC.

    Raises:
        InvalidInputError: Not an address that can be measured so.
    """
    if len(protocols) > 1:
        raise InvalidInputError("--url is one port, and speaks one protocol: give -i once")
    spoken = "".join(protocols) or "grpc"
    address = Address.parse(f"http://{url}" if spoken == "http" and "://" not in url else url)
    if address.protocol == "bgem3":
        raise InvalidInputError(
            "perf_analyzer speaks to Triton alone: give the address of Triton's gRPC or HTTP port; "
            "'bgem3 bench' measures the HTTP service"
        )
    if address.tls is not None:
        raise InvalidInputError("encrypted connections are not measured: use Triton's own port")
    if protocols and address.protocol != spoken:
        raise InvalidInputError(f"-i {spoken} contradicts --url {url}")
    return Server({address.protocol: address}, url, f"running at {url}")


@contextmanager
def started_server(repository: Path | None, protocols: Sequence[Protocol]) -> Iterator[Server]:
    """Serve a repository on free ports while the block runs; None serves the demo model.

    Raises:
        RepositoryError: It is not a model repository.
        DemoModelError: The demo model could not be exported.
        InstallationError, StartError: No Triton can run here, or it did not come up.
    """
    folder = _demo_repository() if repository is None else repository
    name, description = _describe(folder)
    settings = ServeSettings(
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        # Nothing but the measurement sends requests.
        probe_interval_seconds=0,
        # perf_analyzer could not register shared memory over gRPC: it sends no header there.
        closed_endpoints=False,
    )
    with running_triton(folder, settings) as addresses:
        urls: dict[Protocol, str] = {"grpc": f"grpc://{addresses.grpc}", "http": addresses.http}
        yield Server(
            {protocol: Address.parse(urls[protocol]) for protocol in protocols or ("grpc",)},
            name,
            description + _trunk_engine(addresses.metrics),
        )


def inspect(address: Address, model: str, texts: Sequence[str], max_length: int) -> Inspection:
    """Have every text tokenized by the server, and nothing else done with it.

    So what would fail under perf_analyzer fails here, with a reason: no server, no such model, a
    text that is refused.

    Raises:
        BgeM3Error: As the client's, from the server's answer.
    """
    return asyncio.run(_inspect(address, model, texts, max_length))


async def _inspect(
    address: Address, model: str, texts: Sequence[str], max_length: int
) -> Inspection:
    transport = connect_triton(address, {})
    try:
        shapes = await _output_shapes(transport, address, model)
        tokens: list[int] = []
        for begin in range(0, len(texts), _TEXTS_PER_REQUEST):
            request = InferRequest(
                tuple(text.encode() for text in texts[begin : begin + _TEXTS_PER_REQUEST]),
                outputs=(TOKEN_LENGTHS,),
                parameters={MAX_LENGTH_PARAMETER: max_length},
                model=model,
                timeout_seconds=_ANSWER_SECONDS,
            )
            answer = await transport.infer(request)
            tokens += answer.tensors[TOKEN_LENGTHS.name][0].tolist()
    finally:
        await transport.close()
    return Inspection(tuple(tokens), row_bytes=4 * max(shape[-1] for shape in shapes.values()))


async def _output_shapes(
    transport: Transport, address: Address, model: str
) -> Mapping[str, tuple[int, ...]]:
    """Ask for the model's outputs; tell what may be wrong where that fails."""
    place = f"{PROTOCOL_NAMES[address.protocol]} at {address.target}"
    try:
        metadata = await transport.model_metadata(model, "", _ANSWER_SECONDS)
    except UnavailableError as error:
        raise UnavailableError(
            f"no Triton answers by {place}: {error}. Start one with 'bgem3 serve'; without --url "
            "one is started here"
        ) from error
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{place}: {error}; --model names the ensemble") from error
    except ContractError as error:
        raise ContractError(f"what answers by {place} is no Triton: {error}") from error
    if TOKEN_LENGTHS.name not in metadata.output_shapes:
        raise ContractError(
            f"model {model!r}, by {place}, is not an ensemble of this project: it has no output "
            f"{TOKEN_LENGTHS.name!r}"
        )
    return metadata.output_shapes


def _demo_repository() -> Path:
    try:
        # Needs all that an export needs, which measuring a running server does not.
        from bgem3_bench.repositories import demo_repository
    except ModuleNotFoundError as error:
        raise DemoModelError(
            f"the demo model needs {error.name}: pip install 'bgem3-triton[all]', or name a "
            "running server with --url"
        ) from error
    try:
        return demo_repository()
    except (subprocess.CalledProcessError, OSError) as error:
        raise DemoModelError(
            "the demo model could not be exported (see above); name a MODEL_REPOSITORY, or a "
            "running server with --url"
        ) from error


def _describe(repository: Path) -> tuple[str, str]:
    """Return the model's name, and all that its manifest says about it."""
    manifest = read_repository(repository)
    if manifest is None:
        return repository.name, f"started here on {repository}"
    version = manifest.versions[manifest.newest]
    shape = manifest.model
    name = "the demo model, not BGE-M3" if version.demo else version.source
    precision = shape.precision.upper()
    return name, f"started here: {name}, {shape.hidden_size} dimensions, {precision} weights"


def _trunk_engine(metrics_url: str) -> str:
    """Return what runs the CPU trunk; nothing where Triton's own backend does."""
    with urlopen(metrics_url, timeout=_ANSWER_SECONDS) as answer:  # our own page  # nosec B310
        shown = _ENGINE_METRIC.search(answer.read().decode())
    if shown is None:
        return ""
    labels = dict(_LABEL.findall(shown[1]))
    return f", trunk in {labels['engine']} {labels['version']}"
