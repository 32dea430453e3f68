"""What is examined, and what several checks need to know of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from bgem3_backend.settings import BackendSettings
from bgem3_client.address import Address
from bgem3_client.errors import InvalidInputError
from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import Manifest
from bgem3_server.doctor.triton_questions import NoAnswerError, TritonQuestions
from bgem3_server.errors import InstallationError
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.repository import read_repository
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.installation import Installation, find_installation
from bgem3_server.triton.profile import ProfileChoice, choose_profile

Progress = Callable[[str, int, int], None]
"""Told what is being read, and how many bytes of how many are done."""


def _no_progress(name: str, done_bytes: int, total_bytes: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Subject:
    """An installation, and what the user said about it.

    What is found out here is found out once, and only when a check asks.

    Attributes:
        repository: The model repository, if one was named.
        settings: Of Triton; the defaults where those of the environment cannot be used.
        service_settings: Of the HTTP service, likewise.
        backend_settings: Of the Python models, likewise.
        setting_errors: What cannot be used.
        url: Where Triton or the HTTP service answers, if the user said so.
        service: Where the HTTP service answers, if the user said so.
        store: Address of the vector store, if one was named.
        collection: Of that store.
        hub: Whether to ask the hub.
        headers: What shows the HTTP service this user's key.
        progress: Told how far the reading of large files is.
    """

    repository: Path | None = None
    settings: ServeSettings = field(default_factory=ServeSettings.model_construct)
    service_settings: GatewaySettings = field(default_factory=GatewaySettings.model_construct)
    backend_settings: BackendSettings = field(default_factory=BackendSettings.model_construct)
    setting_errors: tuple[str, ...] = ()
    url: str | None = None
    service: str | None = None
    store: str | None = None
    collection: str | None = None
    hub: bool = False
    headers: dict[str, str] | None = None
    progress: Progress = _no_progress

    @cached_property
    def manifest(self) -> Manifest | None:
        """The repository's; None where there is none that can be read."""
        if self.repository is None:
            return None
        try:
            return read_repository(self.repository)
        except (RepositoryError, OSError):
            return None  # the checks of the repository say so

    @cached_property
    def installation(self) -> Installation | InstallationError:
        """The Triton that would run here, or why none would."""
        with scratch_cache() as cache:
            try:
                return find_installation(self.settings.tritonserver, cache)
            except InstallationError as error:
                return error

    @cached_property
    def profile(self) -> ProfileChoice | None:
        """Which configuration of the models would be loaded; None without a Triton."""
        if isinstance(self.installation, InstallationError):
            return None
        return choose_profile(self.settings.profile, self.installation)

    @cached_property
    def triton_address(self) -> Address | None:
        """Where Triton is asked; None where nothing says where, or no such place can be."""
        if self.url is None:
            port = self.settings.grpc_port
            return Address.parse(f"127.0.0.1:{port}") if port else None
        try:
            address = Address.parse(self.url)
        except InvalidInputError:
            return None  # the check of addresses says so
        return address if address.protocol != "bgem3" else None

    @cached_property
    def triton_silence(self) -> str | None:
        """Why no Triton answers there; None where one does."""
        if self.triton_address is None:
            return "it is not asked"
        try:
            with TritonQuestions.to(self.triton_address) as triton:
                triton.version()
        except NoAnswerError as error:
            return str(error)
        return None

    @property
    def named_service(self) -> str | None:
        """Where the user said that the HTTP service is; None where it was not said."""
        if self.service is None:
            return self.url if (self.url or "").startswith(("bgem3://", "bgem3s://")) else None
        # It is an HTTP service, so its address may be written so, or as host and port.
        if self.service.startswith(("http://", "https://")):
            return f"bgem3{self.service.removeprefix('http')}"
        return self.service if "://" in self.service else f"bgem3://{self.service}"

    @cached_property
    def service_address(self) -> Address | None:
        """Where the HTTP service is asked; None as for Triton."""
        if self.named_service is None and self.service_settings.port == 0:
            return None
        url = self.named_service or f"bgem3://127.0.0.1:{self.service_settings.port}"
        try:
            address = Address.parse(url)
        except InvalidInputError:
            return None  # the check of addresses says so
        return address if address.protocol == "bgem3" else None


@contextmanager
def scratch_cache() -> Iterator[Path | None]:
    """A folder that is gone afterwards, for what would otherwise be made in the user's cache.

    None where the cache has it already: then that is what should be looked at.
    """
    from bgem3_server.triton.wheel import backend_directory, find_wheel

    contents = find_wheel()
    if contents is None or backend_directory(contents).is_dir():
        yield None
        return
    with ExitStack() as resources:
        yield Path(resources.enter_context(TemporaryDirectory(prefix=f"bgem3-{os.getpid()}-")))
