"""What a comparison of an export with its checkpoint found."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from bgem3_export.errors import ParityError


class Tolerance(BaseModel):
    """What an output may differ from the reference by.

    Attributes:
        smallest_cosine: Between a vector and its reference, at least.
        largest_difference: Between two numbers, at most; None where only the direction counts.
    """

    model_config = ConfigDict(frozen=True)

    smallest_cosine: float
    largest_difference: float | None


class OutputParity(BaseModel):
    """How far one output is from the reference, over all texts."""

    model_config = ConfigDict(frozen=True)

    smallest_cosine: float
    largest_difference: float
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Whether the output is within its tolerance; NaN never is."""
        allowed = self.tolerance.largest_difference
        return self.smallest_cosine >= self.tolerance.smallest_cosine and (
            allowed is None or self.largest_difference <= allowed
        )


class ParityReport(BaseModel):
    """The comparison of one export with its checkpoint."""

    model_config = ConfigDict(frozen=True)

    texts: int
    tokens: int
    outputs: dict[str, OutputParity]

    def check(self) -> None:
        """Raise when an output is out of tolerance.

        Raises:
            ParityError: Names the outputs and by how much they miss.
        """
        missed = [
            f"{name}: smallest cosine {output.smallest_cosine:.7f} "
            f"(at least {output.tolerance.smallest_cosine}), largest difference "
            f"{output.largest_difference:.2e} "
            f"(at most {output.tolerance.largest_difference or 'any'})"
            for name, output in self.outputs.items()
            if not output.holds
        ]
        if missed:
            raise ParityError(
                "the export differs from the checkpoint by more than is allowed; nothing was "
                "published.\n  " + "\n  ".join(missed) + "\nTry --precision fp32; if that fails "
                "too, the checkpoint holds something that this exporter does not know: please "
                "report it with these figures"
            )
