"""Command-line options made from a settings model, so that each setting is described once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)
Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(model: type[BaseSettings]) -> Callable[[Command], Command]:
    """Decorate a click command with one option for each field of ``model``.

    The option takes its name, help and default from the field and its environment variable from
    the model's ``env_prefix``. An option that is not given is not passed on (see
    :func:`read_settings`), so the environment and the defaults still count.
    """

    def decorate(command: Command) -> Command:
        for name, field in reversed(model.model_fields.items()):
            command = _option(name, field, model.model_config.get("env_prefix", ""))(command)
        return command

    return decorate


def read_settings(model: type[Settings], options: dict[str, Any]) -> Settings:
    """Build the settings from given options, then the environment, then the defaults.

    Raises:
        click.UsageError: A value is out of its range; the message names option and variable.
    """
    given = {
        name: value
        for name, value in options.items()
        if name in model.model_fields and value is not None
    }
    try:
        return model(**given)
    except ValidationError as error:
        prefix = model.model_config.get("env_prefix", "")
        raise click.UsageError(
            "\n".join(
                f"{_flag(str(item['loc'][0]))} (or {prefix}{str(item['loc'][0]).upper()}): "
                f"{item['msg']}, not {item['input']!r}"
                for item in error.errors()
            )
        ) from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(name: str, field: FieldInfo, env_prefix: str) -> Callable[[Command], Command]:
    default = field.get_default(call_default_factory=True)
    shown = "none" if default is None or default is PydanticUndefined else default
    declaration = f"{_flag(name)}/--no-{name.replace('_', '-')}"
    kind = _click_type(field.annotation)
    help_text = f"{field.description}  [{env_prefix}{name.upper()}; default: {shown}]"
    if kind is bool:
        return click.option(declaration, name, default=None, help=help_text)
    return click.option(_flag(name), name, type=kind, default=None, help=help_text)


def _click_type(annotation: Any) -> Any:  # noqa: ANN401 - annotations are arbitrary objects
    choices = [item for item in get_args(annotation) if item is not type(None)]
    if get_origin(annotation) is Literal:
        return click.Choice([str(choice) for choice in choices])
    if choices and get_origin(annotation) is not Literal:
        return _click_type(choices[0])
    if annotation is Path:
        return click.Path(path_type=Path)
    return annotation if annotation in (bool, int, float) else str
