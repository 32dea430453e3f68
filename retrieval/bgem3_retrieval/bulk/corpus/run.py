"""``bgem3 encode`` into a folder."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bgem3_retrieval.bulk.corpus.display import CorpusDisplay
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.corpus.endpoint_pool import PASSING, PoolSettings
from bgem3_retrieval.bulk.corpus.folder import CorpusFolder, read_manifest
from bgem3_retrieval.bulk.corpus.job import encode_corpus, windows_ahead
from bgem3_retrieval.bulk.corpus.manifest import CorpusInput, CorpusModel, CorpusOptions, Manifest
from bgem3_retrieval.bulk.corpus.verify import damages
from bgem3_retrieval.bulk.corpus.window_encoder import WindowEncoder
from bgem3_retrieval.bulk.corpus.windows import Window, window_limits, windows
from bgem3_retrieval.bulk.inputs import Inputs
from bgem3_retrieval.bulk.reader import RecordReader
from bgem3_retrieval.bulk.settings import (
    COLBERT_SHARD_TEXTS,
    SHARD_TEXTS,
    SKIPPED_EXIT_CODE,
    EncodeSettings,
)
from bgem3_retrieval.connections import READY_SECONDS


def run_corpus(settings: EncodeSettings) -> int:
    """Encode into a folder, or verify one; return the exit code."""
    folder = Path(settings.output)
    if settings.verify:
        return _verify(folder)
    try:
        with _sigterm_interrupts():
            manifest = _encode_corpus(settings, folder)
    except KeyboardInterrupt:
        click.echo(f"interrupted; {_whole(settings.output, read_manifest(folder))}", err=True)
        return 128 + signal.SIGINT
    except PASSING:
        if (done := read_manifest(folder)) is not None:
            click.echo(f"stopped; {_whole(settings.output, done)}", err=True)
        raise
    return SKIPPED_EXIT_CODE if manifest.rejected else 0


def _whole(output: str, done: Manifest | None) -> str:
    whole = f"{len(done.shards):,} shards ({done.rows:,} rows)" if done else "nothing yet"
    return f"whole in {output}: {whole}. The same command goes on from there"


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM do in the block what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _verify(folder: Path) -> int:
    manifest = read_manifest(folder)
    if manifest is None:
        raise click.UsageError(f"{folder} has no manifest: it was not made by 'bgem3 encode'")
    found = damages(folder, manifest)
    for damage in found:
        click.echo(damage, err=True)
    state = "complete" if manifest.complete else "not complete yet"
    click.echo(
        f"{folder}: {len(manifest.shards):,} shards, {manifest.rows:,} rows, {state}; "
        + (f"{len(found):,} files are damaged" if found else "all as written"),
        err=True,
    )
    return 1 if found else 0


def _encode_corpus(settings: EncodeSettings, path: Path) -> Manifest:
    """Do what the settings say; return what is in the folder then."""
    options = settings.encode_options()
    limits = settings.limits()
    inputs = Inputs(settings.inputs)
    reader = RecordReader(inputs, settings.input_format, settings.text_field, settings.id_field)
    files = tuple(
        CorpusInput.of(name, with_sha256=settings.hash_inputs) for name in settings.inputs
    )
    window = window_limits(options)
    has_colbert = "colbert" in settings.outputs
    shard_texts = settings.shard_texts or (COLBERT_SHARD_TEXTS if has_colbert else SHARD_TEXTS)

    def wanted(model: ServedModel) -> Manifest:
        return Manifest(
            model=CorpusModel(**vars(model)),
            options=CorpusOptions(
                outputs=tuple(sorted(settings.outputs)),
                max_length=settings.max_length,
                truncate=settings.truncate,
                tokens=settings.tokens,
                dense_dtype=settings.dense_dtype,
                colbert_dtype=settings.colbert_dtype,
                input_format=settings.input_format,
                text_field=settings.text_field,
                id_field=settings.id_field,
                shard_texts=shard_texts,
                batch_texts=limits.max_texts_per_request,
                batch_tokens=limits.max_tokens_per_request,
            ),
            inputs=files,
        )

    def windows_after(manifest: Manifest) -> Iterator[Window]:
        records = reader.read(manifest.end)
        return windows(records, shard_texts, window, options.max_length, manifest.end_bytes)

    with (
        CorpusDisplay(
            total_bytes=sum(file.size_bytes for file in files),
            progress=settings.draws_progress(),
            stop_on_error=settings.stop_on_error,
        ) as display,
        CorpusFolder(path) as folder,
    ):
        if settings.ray is None:
            _encode_here(settings, display, folder, wanted, windows_after)
        else:
            _encode_on_ray(settings.ray, settings, display, folder, wanted, windows_after)
        display.summary(folder.manifest, settings.output)
        return folder.manifest


def _encode_here(
    settings: EncodeSettings,
    display: CorpusDisplay,
    folder: CorpusFolder,
    wanted: Callable[[ServedModel], Manifest],
    windows_after: Callable[[Manifest], Iterator[Window]],
) -> None:
    options = settings.encode_options()
    limits = settings.limits()
    with WindowEncoder(
        [Endpoint.connect(url, limits) for url in settings.url],
        options,
        limits=limits,
        dense_dtype=settings.dense_dtype,
        settings=PoolSettings(limits.max_in_flight, settings.timeout_seconds),
        ready_seconds=READY_SECONDS,
        say=display.say,
    ) as encoder:
        folder.begin(wanted(encoder.model))
        display.begin(folder.manifest)
        if not folder.manifest.complete:
            encode_corpus(
                windows_after(folder.manifest),
                encoder,
                folder,
                display,
                windows_ahead(len(settings.url), limits, window_limits(options)),
            )


def _encode_on_ray(
    address: str,
    settings: EncodeSettings,
    display: CorpusDisplay,
    folder: CorpusFolder,
    wanted: Callable[[ServedModel], Manifest],
    windows_after: Callable[[Manifest], Iterator[Window]],
) -> None:
    from bgem3_retrieval.bulk.ray.cluster import connected
    from bgem3_retrieval.bulk.ray.run import encode_on_cluster

    # Ray takes SIGTERM for itself when it connects.
    with connected(address), _sigterm_interrupts():
        encode_on_cluster(settings, display, folder, wanted, windows_after)
