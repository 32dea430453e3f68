"""How much each representation counts, as requests write it."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from bgem3_client.pair_scores import Weights
from bgem3_server.gateway.scoring.ranking import OUTPUTS

_NUMBER: Final = {"type": "number", "minimum": 0}
_SCHEMA: Final = {
    "anyOf": [
        {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3},
        {
            "type": "object",
            "properties": dict.fromkeys(OUTPUTS, _NUMBER),
            "additionalProperties": False,
            "minProperties": 1,
        },
    ]
}
_FORMS: Final = (
    'write [0.4, 0.2, 0.4] for dense, sparse and ColBERT, or {"dense": 0.7, "sparse": 0.3}'
)


def read_weights(value: Any) -> Weights:  # noqa: ANN401 - whatever JSON holds
    """Return the weights of dense, sparse and ColBERT.

    Args:
        value: Three numbers in this order, or an object with some of the names.

    Raises:
        ValueError: Neither, a weight below 0, or nothing but zeros.
    """
    if isinstance(value, dict):
        if not value.keys() <= set(OUTPUTS):
            unknown = next(name for name in value if name not in OUTPUTS)
            raise ValueError(f"there is no representation {unknown!r}: {_FORMS}")
        value = [value.get(name, 0) for name in OUTPUTS]
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(map(_is_weight, value)):
        raise ValueError(f"not three numbers of 0 or more: {_FORMS}")
    dense, sparse, colbert = map(float, value)
    if not 0 < dense + sparse + colbert < math.inf:
        raise ValueError(f"one weight at least must be above 0: {_FORMS}")
    return dense, sparse, colbert


WeightsField = Annotated[Weights, PlainValidator(read_weights), WithJsonSchema(_SCHEMA)]
"""The type of a request's field with weights."""


def _is_weight(number: object) -> bool:
    if not isinstance(number, int | float) or isinstance(number, bool):
        return False
    return 0 <= number <= sys.float_info.max  # JSON's integers have no bounds
