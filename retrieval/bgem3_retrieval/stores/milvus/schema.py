"""The two collections of Milvus that one of this project's is made of.

The first has a row for each chunk, under the collection's name. The second has the ColBERT
vectors, a few rows for each chunk: see `colbert_rows.py`. Its name is too long for a collection of
this project, so that it can never be taken for one.
"""

from __future__ import annotations

from typing import Any, Final

from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.milvus.colbert_rows import LONGEST_TEXT_BYTES, NO_VECTOR
from bgem3_retrieval.stores.milvus.facets import FIELD

# In the properties of the first collection: how it was made.
SPEC_PROPERTY: Final = "bgem3"
_LONGEST_NAME: Final = 64


def rows_name(name: str) -> str:
    """Return the name of the collection with the ColBERT vectors."""
    return f"{name}__colbert_rows".ljust(_LONGEST_NAME + 1, "_")


def chunks_schema(spec: CollectionSpec) -> CollectionSchema:
    """Return the fields of a chunk.

    The dense vectors have 32 bits a number whatever the storage: the embedded Milvus has no other
    type.
    """
    schema = _schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=36)
    _add_texts(schema, "source", "fingerprint", "text", "payload")
    schema.add_field("chunk_count", DataType.INT64)
    schema.add_field("colbert_rows", DataType.INT64)
    schema.add_field(FIELD, DataType.JSON)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=spec.dense_size)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    return schema


def rows_schema() -> CollectionSchema:
    """Return the fields of a part of a chunk's ColBERT vectors."""
    schema = _schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    _add_texts(schema, "source", "fingerprint", "numbers")
    schema.add_field("no_vector", DataType.FLOAT_VECTOR, dim=len(NO_VECTOR))
    return schema


def chunks_indexes(*, exact: bool) -> dict[str, IndexParams]:
    """Return the index of each field of a chunk.

    Args:
        exact: Look at every dense vector; else the index that the server chooses.
    """
    return {
        "dense": _index("dense", "FLAT" if exact else "AUTOINDEX"),
        "sparse": _index("sparse", "SPARSE_INVERTED_INDEX"),
        "source": _index("source", "INVERTED"),
    }


def rows_indexes() -> dict[str, IndexParams]:
    """Return the indexes of the ColBERT vectors: Milvus loads no collection without one."""
    return {"no_vector": _index("no_vector", "FLAT"), "source": _index("source", "INVERTED")}


def _schema() -> CollectionSchema:
    return MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)


def _add_texts(schema: CollectionSchema, *names: str) -> None:
    for name in names:
        schema.add_field(name, DataType.VARCHAR, max_length=LONGEST_TEXT_BYTES)


def _index(field: str, index_type: str) -> IndexParams:
    parameters: Any = MilvusClient.prepare_index_params()
    metric = {} if index_type == "INVERTED" else {"metric_type": "IP"}
    parameters.add_index(field, index_type=index_type, **metric)
    return parameters
