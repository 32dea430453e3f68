"""Options that name outputs: ``dense,sparse,colbert`` or some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from bgem3_client.encode_request import Output

OUTPUT_NAMES: Final[tuple[Output, ...]] = ("dense", "sparse", "colbert")


def read_output_names(value: str, *others: str) -> tuple[Output, ...]:
    """Return the outputs that are named, in the order of :data:`OUTPUT_NAMES`.

    Args:
        value: Names separated by commas.
        others: What else the option takes, for the message.

    Raises:
        click.BadParameter: One is no output.
    """
    names = [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in OUTPUT_NAMES]
    if unknown:
        known = ", ".join((*OUTPUT_NAMES, *others))
        raise click.BadParameter(f"{unknown[0]!r} is none of {known}.")
    return tuple(name for name in OUTPUT_NAMES if name in names)
