"""Command-line options made from a settings model, so that each setting is described once."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)
Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(
    model: type[BaseSettings], heading: str = "Options", leave_out: Container[str] = ()
) -> Callable[[Command], Command]:
    """Decorate a click command with one option for each field of ``model``.

    The option takes its name, help and default from the field and its environment variable from
    the model's ``env_prefix``. An option that is not given is not passed on (see
    :func:`read_settings`), so the environment and the defaults still count.

    Secrets get no option: they are taken from the environment alone.

    Args:
        model: The settings.
        heading: What they stand under in the help of a :class:`CommandWithHeadings`.
        leave_out: Fields that get no option: the command itself decides them, or another model
            has brought the option.
    """

    def decorate(command: Command) -> Command:
        for name, field in reversed(model.model_fields.items()):
            # What is on a command line everybody on the machine can read.
            if name not in leave_out and field.annotation is not SecretStr:
                prefix = model.model_config.get("env_prefix", "")
                command = _option(name, field, prefix, heading)(command)
        return command

    return decorate


class CommandWithHeadings(click.Command):
    """A command whose help lists the options of each settings model under a heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; see click."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", "Options")
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _SettingOption(click.Option):
    def __init__(self, *arguments: Any, heading: str, **keywords: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **keywords)
        self.heading = heading


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
        raise click.UsageError(
            "\n".join(
                _complaint(model, str(item["loc"][0]), item["msg"], item["input"])
                for item in error.errors()
            )
        ) from error


def _complaint(model: type[BaseSettings], name: str, message: str, value: object) -> str:
    variable = f"{model.model_config.get('env_prefix', '')}{name.upper()}"
    if model.model_fields[name].annotation is SecretStr:
        return f"{variable}: {message}"  # not what it is
    return f"{_flag(name)} (or {variable}): {message}, not {value!r}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(
    name: str, field: FieldInfo, env_prefix: str, heading: str
) -> Callable[[Command], Command]:
    default = field.get_default(call_default_factory=True)
    shown = "none" if default is None or default is PydanticUndefined else default
    declaration = f"{_flag(name)}/--no-{name.replace('_', '-')}"
    kind = _click_type(field.annotation)
    return click.option(
        declaration if kind is bool else _flag(name),
        name,
        cls=_SettingOption,
        heading=heading,
        type=None if kind is bool else kind,
        default=None,
        help=f"{field.description}  [{env_prefix}{name.upper()}; default: {shown}]",
    )


def _click_type(annotation: Any) -> Any:  # noqa: ANN401 - annotations are arbitrary objects
    choices = [item for item in get_args(annotation) if item is not type(None)]
    if get_origin(annotation) is Literal:
        return click.Choice([str(choice) for choice in choices])
    if choices and get_origin(annotation) is not Literal:
        return _click_type(choices[0])
    if annotation is Path:
        return click.Path(path_type=Path)
    return annotation if annotation in (bool, int, float) else str
