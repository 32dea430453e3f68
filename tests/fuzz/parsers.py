"""What is read from files of ours, from the environment, from command lines and addresses."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import click
from demo_manifest import demo_manifest
from fuzz.documents import _parquet
from fuzz.target import Target
from fuzz.temporary_file import temporary_folder
from pydantic_settings import BaseSettings

from bgem3_backend.contract import ENSEMBLE, TRUNK
from bgem3_backend.settings import BackendSettings
from bgem3_client.address import Address
from bgem3_client.command_line.settings_options import read_settings
from bgem3_client.errors import InvalidInputError
from bgem3_client.headers import checked_headers
from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import MANIFEST_FILE
from bgem3_export.trunk_config import TrunkConfig
from bgem3_retrieval.bulk.corpus.folder import read_manifest
from bgem3_retrieval.bulk.corpus.manifest import MANIFEST_NAME
from bgem3_retrieval.bulk.inputs import Inputs
from bgem3_retrieval.bulk.reader import RecordReader
from bgem3_retrieval.errors import (
    ConditionError,
    ForeignCollectionError,
    InputFileError,
    OutputError,
    StoreError,
)
from bgem3_retrieval.search.filters import parse_condition
from bgem3_retrieval.stores.collection import CollectionSpec, checked_name
from bgem3_retrieval.stores.kept_spec import read_spec
from bgem3_retrieval.stores.qdrant.folder import EmbeddedQdrant
from bgem3_retrieval.stores.qdrant.server_url import ServerUrl
from bgem3_server.gateway.access.cors import cors_origins
from bgem3_server.gateway.access.keys import Keys
from bgem3_server.gateway.retrieval.upload_names import checked_name as checked_file_name
from bgem3_server.gateway.serialization.media_type import best_media_type
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.repository import read_repository
from bgem3_server.settings import ServeSettings

_SETTINGS: tuple[type[BaseSettings], ...] = (GatewaySettings, ServeSettings, BackendSettings)
_MEDIA_TYPES = ("application/json", "application/msgpack", "application/x-npz")


@cache
def _folder() -> Path:
    return temporary_folder()


def _text(content: bytes) -> str:
    """What Python makes of bytes in an argument or a variable."""
    return content.decode(errors="surrogateescape")


@contextmanager
def _refused(*kinds: type[Exception], name: object = "") -> Iterator[None]:
    """Errors of these types are right where they name what they are about."""
    try:
        yield
    except kinds as error:
        assert str(name) in str(error)  # noqa: PT017 - it is what is tested
        str(error).encode(errors="surrogateescape")


def _takes_text(
    name: str, parse: Callable[[str], object], seeds: tuple[str, ...], *words: bytes
) -> Target:
    """A parser of one string, whose error is `InvalidInputError`."""

    def run(content: bytes) -> None:
        with _refused(InvalidInputError):
            parse(_text(content))

    return Target(name, run, [seed.encode() for seed in seeds], words)


def _parse_condition(text: str) -> None:
    try:
        parse_condition(text)
    except ConditionError as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017


def _parse_headers(text: str) -> None:
    name, _, value = text.partition(":")
    for key, kept in checked_headers({name: value}).items():
        assert not set("\r\n\x00") & set(key + kept)


def _parse_file_name(text: str) -> None:
    name = checked_file_name(text, 0)
    folder = Path("/folder")
    assert (folder / name).resolve().is_relative_to(folder)
    assert name.isprintable() or not set(name) & set("\r\n\x00\t")


def _parse_collection_name(text: str) -> None:
    name = checked_name(text)
    assert name.isascii()
    assert name.isidentifier()


def _accept(content: bytes) -> None:
    assert best_media_type(content.decode("latin-1"), _MEDIA_TYPES) in (*_MEDIA_TYPES, None)


def _origins(text: str) -> None:
    for origin in cors_origins(GatewaySettings(cors_origins=text)):
        assert not set("\r\n") & set(origin)


def _settings(content: bytes) -> None:
    """Two bytes choose the variable, the rest is its value."""
    if len(content) < 2:
        return
    model = _SETTINGS[content[0] % len(_SETTINGS)]
    fields = list(model.model_fields)
    variable = f"BGEM3_{fields[content[1] % len(fields)].upper()}"
    os.environ[variable] = _text(content[2:].replace(b"\0", b""))
    try:
        with _refused(click.UsageError, name=variable):
            read_settings(model, {})
    finally:
        del os.environ[variable]


def _read_repository(content: bytes) -> None:
    folder = _folder() / "repository"
    (folder / ENSEMBLE.name).mkdir(parents=True, exist_ok=True)
    (folder / ENSEMBLE.name / "config.pbtxt").touch()
    (folder / MANIFEST_FILE).write_bytes(content)
    with _refused(RepositoryError, name=folder):
        manifest = read_repository(folder)
        assert manifest is not None
        assert manifest.newest in manifest.versions


def _read_trunk_config(content: bytes) -> None:
    folder = _folder() / "trunk" / TRUNK.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_bytes(content)
    with _refused(RepositoryError, name=folder):
        TrunkConfig.read(folder.parent, "gpu")


def _read_shards(content: bytes) -> None:
    (_folder() / MANIFEST_NAME).write_bytes(content)
    with _refused(OutputError, name=MANIFEST_NAME):
        read_manifest(_folder())


def _read_keys(content: bytes) -> None:
    file = _folder() / "keys"
    file.write_bytes(content)
    with _refused(InvalidInputError, name=file):
        assert len(Keys(GatewaySettings(api_keys_file=file)))


def _read_spec(content: bytes) -> None:
    with _refused(StoreError, ForeignCollectionError, name="notes at http://host"):
        read_spec("notes", "http://host", _text(content))


def _read_store_folder(content: bytes) -> None:
    folder = _folder() / "store" / "notes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_bytes(content)
    with _refused(StoreError, ForeignCollectionError, name="notes"):
        EmbeddedQdrant(folder.parent).spec("notes")


def _read_records(content: bytes, suffix: str) -> None:
    file = _folder() / f"input{suffix}"
    file.write_bytes(content)
    number = 0
    with _refused(InputFileError, name=file):
        for item in RecordReader(Inputs([str(file)])):
            number += 1
            assert item.line.number >= number


def targets() -> list[Target]:
    """Those of parsers."""
    manifest = demo_manifest().model_dump_json().encode()
    spec = CollectionSpec(name="notes", model="m", dense_size=4, colbert_size=4).model_dump_json()
    config = (
        b'name: "bge_m3_trunk" backend: "onnxruntime" max_batch_size: 64\n'
        b"instance_group [ { count: 1 kind: KIND_GPU } ]\n"
        b'parameters { key: "MAX_BATCH_TOKENS" value: { string_value: "16384" } }\n'
    )
    json = (b'"', b"{}", b"[", b"null", b"NaN", b"1e999", b"9" * 5000, b"\\ud800", b"true", b"-1")
    shards = (
        b'{"format":1,"model":{"name":"m","version":"1","hidden_size":4,"colbert_size":4},'
        b'"options":{"outputs":["dense"],"max_length":8,"truncate":true,"tokens":false,'
        b'"dense_dtype":"float32","colbert_dtype":"float32","input_format":"auto",'
        b'"text_field":"text","id_field":"id","shard_texts":1,"batch_texts":1,"batch_tokens":1},'
        b'"inputs":[],"shards":[],"complete":true}'
    )
    lines = [b'{"id": 1, "text": "one"}\n{"text": 2}\nno\n', b"plain\r\n\xff\n"]
    urls = ("http://h:6333/p?grpc_port=1", "grpcs://[::1]:8001", "bgem3://h", "h:8001")
    marks = (b"://", b":", b"[", b"]", b"@", b"?", b"#", b"%", b"\xef\xbc\x8f", b"99999")
    return [
        _takes_text("address", Address.parse, urls, *marks),
        _takes_text("qdrant-url", ServerUrl.parse, urls, b"grpc_port=", *marks),
        _takes_text(
            "condition",
            _parse_condition,
            ("page>=3", "language in (zh, 'e\\'n')", 'version == "1.0"', "a=>1", "title<2"),
            b"in (",
            b"'",
            b"\\",
            b">=",
            b"not in",
            b"1e999",
            b"true",
            b",",
        ),
        _takes_text("header", _parse_headers, ("X-Name: value",), b"\r\n", b"transfer-encoding"),
        _takes_text("file-name", _parse_file_name, ("a/b.pdf", "../a"), b"..", b"/", b"\\", b"\0"),
        _takes_text("collection-name", _parse_collection_name, ("notes", "a" * 64), b"\n", b"/"),
        _takes_text("origins", _origins, ("https://a.example:8,http://b",), b"*", b"\r\n", *marks),
        Target("accept", _accept, [b"application/json;q=0.5, */*;q=0", b"a/b;q=1.000"], (b";q=",)),
        Target("settings", _settings, [b"\x00\x0133330", b"\x01\x02auto", b"\x02\x01-1"], json),
        Target("manifest", _read_repository, [manifest], json),
        Target("trunk-config", _read_trunk_config, [config], (b"{", b"}", b'"', b"key:", b"-1")),
        Target("shard-manifest", _read_shards, [shards], json),
        Target("key-file", _read_keys, [b"first\n# second\nthird\n"], (b"\n", b"#", b"\xff")),
        Target("kept-spec", _read_spec, [spec.encode()], json),
        Target("store-folder", _read_store_folder, [spec.encode()], json),
        Target("encode-lines", partial(_read_records, suffix=".txt"), lines),
        Target("encode-jsonl", partial(_read_records, suffix=".jsonl"), lines, json),
        Target("encode-gzip", partial(_read_records, suffix=".txt.gz"), [gzip.compress(lines[0])]),
        Target(
            "encode-parquet",
            partial(_read_records, suffix=".parquet"),
            [_parquet(id=["a", "b", "c"], text=["one", "two", None])],
        ),
    ]
