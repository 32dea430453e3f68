"""All checks, in the order in which they are run."""

from __future__ import annotations

from typing import Final

from bgem3_server.doctor.check import Family
from bgem3_server.doctor.checks import (
    folders,
    gpus,
    memory,
    model_files,
    network,
    ports,
    processor,
    service,
    triton,
    vector_store,
    versions,
)

FAMILIES: Final = (
    Family("versions", versions.CHECKS),
    Family("processor", processor.CHECKS),
    Family("GPUs", gpus.CHECKS),
    Family("model files", model_files.CHECKS),
    Family("memory", memory.CHECKS),
    Family("ports", ports.CHECKS),
    Family("folders and keys", folders.CHECKS),
    Family("network", network.CHECKS),
    Family("Triton", triton.CHECKS),
    Family("HTTP service", service.CHECKS),
    Family("vector store", vector_store.CHECKS),
)
