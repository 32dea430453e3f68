"""The size of dense vectors that a caller may ask for: their own."""

from __future__ import annotations

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.gateway import Gateway


async def check_dimensions(dimensions: int | None, gateway: Gateway) -> None:
    """Refuse vectors of another size than the model's.

    Args:
        dimensions: As asked for; None where the caller did not say.
        gateway: Knows the model.

    Raises:
        InvalidInputError: It is another one. The model was not trained for shorter vectors
            (Matryoshka), so cutting them would silently make them worse.
        ServerError: Triton did not say what the model's size is.
    """
    if dimensions is None:
        return
    size = (await gateway.encoder.model_info()).hidden_size
    if dimensions != size:
        raise InvalidInputError(
            f"dimensions is {dimensions}, and this model's vectors have {size} numbers, which "
            f"cannot be shortened: leave dimensions out, or send {size}"
        )
