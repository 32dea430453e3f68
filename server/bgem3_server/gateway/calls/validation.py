"""What is wrong with a request's body, in words."""

from __future__ import annotations

from typing import Any, Final

from fastapi.exceptions import RequestValidationError

from bgem3_client.errors import InvalidInputError

_SHOWN_CHARACTERS: Final = 80
_TEXT_FIELDS: Final = frozenset({"texts", "input", "inputs", "documents", "pairs"})


def invalid_input(error: RequestValidationError) -> InvalidInputError:
    """Return the first thing that is wrong, with the place where it is and what stands there.

    The ``index`` of a text is set where the place has one.
    """
    first, *others = error.errors()
    more = f" (and {len(others)} more)" if others else ""
    # Behind "body", or where else it was; "<texts>" is the tag of one of a body's several forms.
    place = [part for part in first["loc"][1:] if not str(part).startswith("<")]
    if first["type"] == "json_invalid":
        return InvalidInputError(
            f"the body is not JSON: {first['ctx']['error']}, at character {place[0]}"
        )
    index = next((part for part in place[1:] if isinstance(part, int)), None)
    if not place or place[0] not in _TEXT_FIELDS:
        index = None
    return InvalidInputError(f"{_path(place)}{_reason(first)}{more}", index)


def _path(place: list[str | int]) -> str:
    """``texts[3]: `` for a place inside the body, nothing for the body itself."""
    path = ""
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return f"{path}: " if path else ""


def _reason(problem: dict[str, Any]) -> str:
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])  # our own validators say all there is to say
    message: str = problem["msg"][:1].lower() + problem["msg"][1:]
    if problem["type"] in ("missing", "extra_forbidden"):
        return message
    shown = repr(problem["input"])
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "…"
    return f"{message}, not {shown}"
