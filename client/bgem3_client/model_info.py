"""What a server says about the model it serves."""

from __future__ import annotations

from dataclasses import dataclass

from bgem3_backend.contract import COLBERT, DENSE
from bgem3_client.errors import ContractError
from bgem3_client.transports import ModelMetadata


@dataclass(frozen=True)
class ModelInfo:
    """A model, as its server describes it.

    Attributes:
        name: Triton's name of it.
        versions: The versions that are loaded.
        hidden_size: Numbers in a dense vector (1,024 for BGE-M3).
        colbert_size: Numbers in a ColBERT vector (1,024 for BGE-M3).
    """

    name: str
    versions: tuple[str, ...]
    hidden_size: int
    colbert_size: int

    @classmethod
    def of(cls, metadata: ModelMetadata) -> ModelInfo:
        """Read the sizes from the shapes of the outputs.

        Raises:
            ContractError: The model has no such outputs, or does not say how wide they are.
        """
        sizes = []
        for tensor in (DENSE, COLBERT):
            shape = metadata.output_shapes.get(tensor.name)
            if not shape or shape[-1] < 1:
                raise ContractError(
                    f"model {metadata.name!r} has no output {tensor.name!r} of a known width: it "
                    "is not a model of this project"
                )
            sizes.append(shape[-1])
        return cls(metadata.name, metadata.versions, *sizes)
