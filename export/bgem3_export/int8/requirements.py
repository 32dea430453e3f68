"""What an INT8 trunk needs to be made: a processor that is exact, and room."""

from __future__ import annotations

from bgem3_backend.trunk.processor import INT8_FEATURES, processor_features
from bgem3_export.checkpoint import TrunkConfig
from bgem3_export.errors import DeviceError
from bgem3_export.int8.linear_layers import linear_layers


def check_processor(features: frozenset[str] | None = None) -> None:
    """Refuse a processor whose INT8 products may saturate.

    Args:
        features: By default those of this machine.

    Raises:
        DeviceError: It has no instruction that adds INT8 products in 32 bits.
    """
    if not (processor_features() if features is None else features).intersection(INT8_FEATURES):
        raise DeviceError(
            "--int8: this processor does not add INT8 products exactly (it has none of "
            f"{', '.join(INT8_FEATURES)}), so the accuracy cannot be measured here: export on "
            "another machine, or without --int8"
        )


def int8_bytes(config: TrunkConfig) -> int:
    """Return at most how many bytes the INT8 graph adds to an export, a quarter for the rest."""
    return sum(layer.multiplications for layer in linear_layers(config)) * 5 // 4
