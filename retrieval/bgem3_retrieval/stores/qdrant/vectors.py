"""How a collection's vectors are kept."""

from __future__ import annotations

from typing import Final

from qdrant_client import models

from bgem3_retrieval.stores.collection import CollectionSpec

DENSE: Final = "dense"
SPARSE: Final = "sparse"
COLBERT: Final = "colbert"


def vectors_config(spec: CollectionSpec) -> dict[str, models.VectorParams]:
    """Return the dense vector's and, where the collection has them, the ColBERT vectors' settings.

    The inner product, for the vectors have length 1 already. ColBERT vectors have no graph: they
    only score what the others found, and are read from the disk when they do. ``int8`` keeps 8
    bits of each number of the dense vectors in memory to search by, and 16 bits on the disk to
    score with.
    """
    datatype = models.Datatype.FLOAT32 if spec.storage == "float32" else models.Datatype.FLOAT16
    quantized = spec.storage == "int8"
    vectors = {
        DENSE: models.VectorParams(
            size=spec.dense_size,
            distance=models.Distance.DOT,
            datatype=datatype,
            on_disk=quantized,
            quantization_config=_int8() if quantized else None,
        )
    }
    if spec.colbert != "none":
        vectors[COLBERT] = models.VectorParams(
            size=spec.colbert_size,
            distance=models.Distance.DOT,
            datatype=datatype,
            on_disk=True,
            hnsw_config=models.HnswConfigDiff(m=0),
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        )
    return vectors


def sparse_config() -> dict[str, models.SparseVectorParams]:
    """Return the settings of the lexical weights: as they are, by token id."""
    return {SPARSE: models.SparseVectorParams()}


def _int8() -> models.ScalarQuantization:
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=True
        )
    )
