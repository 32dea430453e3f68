"""A real request, as users send it, and whether its answer is sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, ok, problem

if TYPE_CHECKING:
    from bgem3_client.embeddings import Embeddings

_TEXTS: Final = ("How is the weather today?", "今天天气怎么样？")
_SECONDS: Final = 60.0
_NORM_TOLERANCE: Final = 1e-3


def send_sample(url: str, headers: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Send two short texts for all three representations, and look at what comes back.

    Args:
        url: Of Triton or of the HTTP service.
        headers: Sent with it.

    Raises:
        AccessError: The server wants a key: what that means, the caller knows.
    """
    from bgem3_client.client import Client
    from bgem3_client.errors import (
        AccessError,
        BgeM3Error,
        DeadlineError,
        NotFiniteError,
        ServerOutOfMemoryError,
        UnavailableError,
    )
    from bgem3_client.retry_policy import RetryPolicy

    try:
        with Client(
            url, retries=RetryPolicy(attempts=1), timeout_seconds=_SECONDS, headers=headers
        ) as client:
            embeddings = client.encode(list(_TEXTS), {"dense", "sparse", "colbert"})
    except AccessError:
        raise
    except NotFiniteError as error:
        advice = (
            "the model overflows in its precision: export with --precision fp32, or serve on the "
            "CPU with BGEM3_TRUNK_ENGINE=openvino-fp32"
        )
        yield problem(Code.VECTORS_WRONG, f"the model gave NaN or infinity: {error}", advice)
    except BgeM3Error as error:
        advices: dict[type[BgeM3Error], str] = {
            ServerOutOfMemoryError: "plan for less memory: bgem3 plan DIR (docs/sizing.md)",
            UnavailableError: "if Triton itself answers, a proxy may be in the way (see network), "
            "or it is full: try again",
            DeadlineError: "Triton hangs or has far too much to do: 'bgem3 serve' restarts one "
            "that hangs; look at its queue in the metrics",
        }
        yield problem(
            Code.REQUEST_FAILED,
            f"a request failed: {type(error).__name__}: {error}",
            advices.get(
                type(error),
                "the process of a model may have died: 'bgem3 serve' restarts Triton by itself, "
                "else restart it; the reason is in Triton's log (--log-file)",
            ),
            error=type(error).__name__,
        )
    else:
        yield _judged(embeddings)


def _judged(embeddings: Embeddings) -> Finding:
    import numpy as np

    dense, colbert, sparse = embeddings.dense, embeddings.colbert, embeddings.sparse
    assert dense is not None
    assert colbert is not None
    assert sparse is not None
    norms = np.linalg.norm(dense, axis=1)
    token_norms = np.concatenate([np.linalg.norm(rows, axis=1) for rows in colbert])
    faults = []
    if not np.isfinite(dense).all() or np.abs(norms - 1).max() > _NORM_TOLERANCE:
        faults.append("dense vectors whose length is not 1")
    if not np.isfinite(token_norms).all() or np.abs(token_norms - 1).max() > _NORM_TOLERANCE:
        faults.append("token vectors whose length is not 1")
    if not all(len(weights.values) and (weights.values > 0).all() for weights in sparse):
        faults.append("lexical weights that are none, or not positive")
    if faults:
        return problem(
            Code.VECTORS_WRONG,
            f"a request was answered with {', '.join(faults)}",
            "do not use these vectors; check the model's files (bgem3 doctor DIR), then export "
            "the model again",
        )
    size, token_size = int(dense.shape[1]), int(colbert[0].shape[1])
    return ok(
        f"two texts were answered: dense {size} numbers of length 1, lexical weights, token "
        f"vectors of {token_size}",
        dimension=size,
        colbert_dimension=token_size,
    )
