"""A server of this project as a model of MTEB: dense vectors, for every kind of task.

    import mteb
    from bgem3_client import Client
    from bgem3_retrieval.evaluation.mteb_model import ServedModel

    with Client("localhost:8001") as client:
        results = mteb.evaluate(ServedModel(client, "our/bge-m3"), mteb.get_task("NFCorpus"))

It needs ``pip install mteb``, version 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from numpy.typing import NDArray

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.client import Client
from bgem3_client.encode_request import DENSE_ONLY

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import BatchedInput, EncodeKwargs, PromptType
    from torch.utils.data import DataLoader

# A call is cut into requests by the client; this keeps several of them on their way.
_TEXTS_AT_ONCE: Final = 512


class ServedModel(AbsEncoder):
    """MTEB's encoder over a client; BGE-M3 takes no instructions, so prompts are not used."""

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        revision: str | None = None,
        max_length: int = MAX_POSITIONS_TOKENS,
    ) -> None:
        """Make one; the server is asked what it serves.

        Args:
            client: It stays the caller's to close.
            name: "organisation/model". MTEB keeps results by name and revision, and takes what
                it has kept: two models need two names.
            revision: By default the server's version of the model.
            max_length: Tokens that texts are cut to.

        Raises:
            ServerError: The server does not answer.
        """
        info = client.model_info()
        self.model = client
        self._max_length = max_length
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": name,
                "revision": revision or info.versions[-1],
                "embed_dim": info.hidden_size,
                "max_tokens": max_length,
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": False,
            }
        )

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Unpack[EncodeKwargs],
    ) -> NDArray[np.float32]:
        """Return the dense vectors of all texts: float32 [N, d]; see MTEB's ``EncoderProtocol``.

        Raises:
            InvalidInputError: A text cannot be encoded.
            ServerError: The server failed.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        blocks = [
            self.model.encode(
                texts[begin : begin + _TEXTS_AT_ONCE], DENSE_ONLY, max_length=self._max_length
            ).dense
            for begin in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
        return np.concatenate(blocks)
