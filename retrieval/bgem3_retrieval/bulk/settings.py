"""The options of ``bgem3 encode``, as given."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

if TYPE_CHECKING:
    from bgem3_client.encode_request import ColbertDtype, EncodeOptions, Output
    from bgem3_client.limits import Limits
    from bgem3_retrieval.bulk.reader import InputFormat

STANDARD_STREAM: Final = "-"
SKIPPED_EXIT_CODE: Final = 3
# Lines of a shard: what a kill may cost, and a file of some 80 MB; ColBERT weighs far more.
SHARD_TEXTS: Final = 20_000
COLBERT_SHARD_TEXTS: Final = 2_000


@dataclass(frozen=True)
class EncodeSettings:
    """The command's options, as given."""

    files: tuple[str, ...]
    input_format: InputFormat
    text_field: str
    id_field: str
    output: str
    output_format: Literal["auto", "jsonl", "npz", "parquet"]
    outputs: frozenset[Output]
    tokens: bool
    dense_dtype: ColbertDtype
    colbert_dtype: ColbertDtype
    max_length: int
    truncate: bool
    url: tuple[str, ...]
    shard_texts: int | None
    hash_inputs: bool
    verify: bool
    on_error: Literal["stop", "skip"] | None
    errors: Path | None
    batch_texts: int
    in_flight: int
    timeout_seconds: float
    progress: bool | None
    ray: str | None = None
    ray_workers: int | None = None
    ray_repository: Path | None = None
    ray_cpus: int | None = None
    ray_gpus: float | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of files, and ``-`` for standard input."""
        return self.files or (STANDARD_STREAM,)

    @property
    def output_path(self) -> Path | None:
        """None for standard output."""
        return None if self.output == STANDARD_STREAM else Path(self.output)

    @property
    def into_folder(self) -> bool:
        """Whether the output is a folder of shards."""
        path = self.output_path
        return path is not None and (
            self.shard_texts is not None or self.output.endswith("/") or path.is_dir()
        )

    @property
    def stop_on_error(self) -> bool:
        """In a folder, rejected lines are set aside unless one says otherwise."""
        return self.on_error == "stop" or (self.on_error is None and not self.into_folder)

    def limits(self) -> Limits:
        """Return what fits in a request, and how many are on their way at once."""
        from bgem3_client.limits import Limits

        return Limits(max_in_flight=self.in_flight, max_texts_per_request=self.batch_texts)

    def encode_options(self) -> EncodeOptions:
        """Return how the texts are encoded.

        Raises:
            click.UsageError: An option is for outputs that are not asked for.
        """
        from bgem3_client.encode_request import EncodeOptions

        if self.tokens and "sparse" not in self.outputs:
            raise click.UsageError("--tokens is about sparse weights: add --outputs sparse")
        return EncodeOptions(
            self.outputs,
            self.max_length,
            self.truncate,
            return_tokens=self.tokens,
            colbert_dtype=self.colbert_dtype,
        )

    def draws_progress(self) -> bool:
        """Whether there is to be a bar."""
        if self.progress is not None:
            return self.progress
        # A bar would be drawn over what is printed.
        printed = self.output_path is None and sys.stdout.isatty()
        return sys.stderr.isatty() and not printed
