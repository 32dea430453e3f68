"""Changes of what is served: each ends with the new state whole, or with the old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from bgem3_backend.contract import ENSEMBLE, version_name
from bgem3_client import Client
from bgem3_client.embeddings import Embeddings
from bgem3_client.errors import BgeM3Error
from bgem3_export.manifest import Manifest, ModelShape
from bgem3_server.models.compatibility import check_replaces, read_export
from bgem3_server.models.control import TritonControl
from bgem3_server.models.errors import ModelChangeError, VersionError
from bgem3_server.models.folders import (
    STEPS,
    add_base_ensemble,
    add_folders,
    added_files,
    mark,
    remove_folders,
    step_name,
    write_choice,
)
from bgem3_server.models.record import ServingRecord, VersionRecord

_TEXTS: Final = ["What is the capital of France?", "巴黎是法国的首都。"]
# Vectors are normalised in FP32.
_NORM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class Models:
    """The versions of one served repository.

    Attributes:
        repository: The folder that ``bgem3 serve`` was started with.
        url: Of its Triton's gRPC port.
        control: Of the same Triton.
        tell: Called with each step, as a line for people.
    """

    repository: Path
    url: str
    control: TritonControl
    tell: Callable[[str], None]

    def record(self) -> ServingRecord:
        """Return the record of the repository, held to what its Triton says.

        Raises:
            RepositoryError: The folder is no repository that ``bgem3 export`` made.
            VersionError: The Triton serves something else: it was started with another folder.
        """
        manifest = Manifest.read(self.repository)
        record = ServingRecord.read(self.repository) or ServingRecord.of_export(manifest)
        serving = self.control.serving_versions()
        if serving != (record.serving,):
            what = f"version {', '.join(serving)}" if serving else "nothing"
            raise VersionError(
                f"the Triton at {self.url} serves {what} as {ENSEMBLE.name}, and by "
                f"{self.repository} it is version {record.serving}: name the folder that 'bgem3 "
                "serve' was started with, or start it again"
            )
        return record

    def add(self, export: Path, *, keep_serving: bool) -> str:
        """Load an export as the next version, try it, and let it serve.

        Args:
            export: The folder of an export; its newest version is taken.
            keep_serving: Whether the version that serves now goes on.

        Returns:
            The number of the version.

        Raises:
            IncompatibleModelError: The export cannot take the place of what is served.
            ModelChangeError: Triton could not load it, or it answers wrongly.
            RepositoryError: One of the folders is no repository, or cannot be written to.
        """
        record = self._record_to_change()
        manifest = read_export(export)
        if not keep_serving:
            check_replaces(record.versions[record.serving].shape, manifest.model, export)
        source = manifest.versions[manifest.newest]
        number = record.next_number
        self._begin(record)
        self.tell(f"version {number}: {source.source}, from {export}")
        add_folders(export, manifest.newest, self.repository, number, record.base)
        version = VersionRecord(
            source=source.source,
            revision=source.revision,
            demo=source.demo,
            shape=manifest.model,
            added=datetime.now(UTC).isoformat(timespec="seconds"),
            files=added_files(source.files, number, record.base),
        )
        record = record.with_version(number, version)
        try:
            self._load(record, number)
        except BaseException:
            remove_folders(self.repository, number, record.base)
            raise
        record = record.with_loaded(number)
        record.write(self.repository)
        if not keep_serving:
            self._switch(record, number)
        return number

    def serve(self, number: str) -> None:
        """Let a version that is in the repository serve; it is loaded first where it is not.

        Raises:
            VersionError: There is no such version.
            IncompatibleModelError: Its vectors are of another size.
            ModelChangeError: Triton could not load it, or it answers wrongly.
        """
        record = self._record_to_change()
        _check_known(record, number)
        if number == record.serving:
            raise VersionError(f"version {number} serves already")
        check_replaces(
            record.versions[record.serving].shape,
            record.versions[number].shape,
            self.repository / version_name(number),
        )
        if number not in record.loaded:
            self._load(record, number)
            record = record.with_loaded(number)
            record.write(self.repository)
        self._switch(record, number)

    def roll_back(self) -> str:
        """Let the version serve that served before this one, and return its number.

        Raises:
            VersionError: None did.
        """
        record = self.record()
        if not record.earlier:
            raise VersionError(
                f"no version served before version {record.serving}: 'bgem3 models list' shows "
                "what there is, --to takes any of them"
            )
        self.serve(record.earlier[-1])
        return record.earlier[-1]

    def unload(self, number: str) -> None:
        """Free the memory of a version that does not serve; its files stay.

        Raises:
            VersionError: There is no such version, it serves, or it is not loaded.
            ModelChangeError: Triton could not unload it.
        """
        record = self._record_to_change()
        _check_known(record, number)
        if number == record.serving:
            raise VersionError(
                f"version {number} serves, and is not unloaded: let another one serve first "
                "('bgem3 models rollback')"
            )
        if number not in record.loaded:
            raise VersionError(f"version {number} is not loaded")
        # First written down: a Triton that ends now comes up without it.
        record.without_loaded(number).write(self.repository)
        self.control.unload(_names(record, number))

    def remove(self, number: str) -> None:
        """Remove the files of a version that is not loaded.

        Raises:
            VersionError: There is no such version, it is loaded, or the repository began with it.
            RepositoryError: The repository cannot be written to.
        """
        record = self._record_to_change()
        _check_known(record, number)
        if number in record.loaded:
            raise VersionError(
                f"version {number} is loaded, and is not removed: unload it first "
                "('bgem3 models unload')"
            )
        if number == record.base:
            raise VersionError(
                f"version {number} is the export that the repository began with, and stays"
            )
        # First written down: nobody can choose it while its files go.
        record.without_version(number).write(self.repository)
        remove_folders(self.repository, number, record.base)

    def _record_to_change(self) -> ServingRecord:
        """Return the record, once it is certain that Triton looks into this folder.

        A copy of the served folder may agree with it in everything that :meth:`record` compares.

        Raises:
            RepositoryError: The folder is no repository, or cannot be written to.
            VersionError: The Triton was started with another folder.
        """
        record = self.record()
        with mark(self.repository) as name:
            if not self.control.states(name):
                raise VersionError(
                    f"the Triton at {self.url} does not see what is put into {self.repository}: "
                    "name the folder that 'bgem3 serve' was started with"
                )
        return record

    def _begin(self, record: ServingRecord) -> None:
        """Make the repository one of several versions, of which the same serves as before."""
        add_base_ensemble(self.repository, record.base)
        record.write(self.repository)
        states = self.control.states(version_name(record.base)).values()
        if "READY" not in states and record.base in record.loaded:
            self.control.load(version_name(record.base))

    def _load(self, record: ServingRecord, number: str) -> None:
        self.tell(f"loading version {number} beside version {record.serving}")
        try:
            self.control.load(version_name(number))
            self.tell(f"trying version {number}")
            self._try(number, record.versions[number].shape)
        except BgeM3Error as error:
            self.control.unload(_names(record, number))
            raise ModelChangeError(
                f"version {number} cannot serve: {error}\nversion {record.serving} goes on serving"
            ) from error

    def _switch(self, record: ServingRecord, number: str) -> None:
        chosen = record.with_serving(number)
        write_choice(self.repository, chosen)
        try:
            self.control.load(ENSEMBLE.name)
        except BgeM3Error as error:
            write_choice(self.repository, record)
            raise ModelChangeError(
                f"{ENSEMBLE.name} could not be switched to version {number}: {error}\nversion "
                f"{record.serving} goes on serving"
            ) from error
        chosen.write(self.repository)

    def _try(self, number: str, shape: ModelShape) -> None:
        """Send real texts through every step of a version.

        Raises:
            ModelChangeError: What it answers are no vectors of its size and of length 1.
            BgeM3Error: It does not answer.
        """
        with Client(self.url, model=version_name(number)) as client:
            answer = client.encode(_TEXTS, {"dense", "sparse", "colbert"})
        wrong = _wrong(answer, shape)
        if wrong:
            raise ModelChangeError(f"it answers wrongly: {wrong}")
        if answer.model_version != number:
            raise ModelChangeError(f"version {answer.model_version} answered in its place")


def _wrong(answer: Embeddings, shape: ModelShape) -> str | None:
    for name, vectors, size in (
        ("dense", answer.dense, shape.hidden_size),
        ("ColBERT", answer.colbert.vectors, shape.colbert_size),
    ):
        if vectors.shape[1] != size:
            return f"{name} vectors of {vectors.shape[1]} numbers, not {size}"
        norms = np.linalg.norm(vectors, axis=1)
        # Written so that NaN is not accepted either.
        if not bool((np.abs(norms - 1) < _NORM_TOLERANCE).all()):
            return f"{name} vectors that are not of length 1"
    if not bool(np.isfinite(answer.sparse.values).all()):
        return "lexical weights that are not finite"
    return None


def _names(record: ServingRecord, number: str) -> list[str]:
    """All models of a version, the ensemble first: nothing is taken from under it."""
    return [version_name(number), *(step_name(model, number, record.base) for model in STEPS)]


def _check_known(record: ServingRecord, number: str) -> None:
    if number not in record.versions:
        raise VersionError(
            f"there is no version {number}: there are {', '.join(sorted(record.versions, key=int))}"
        )
