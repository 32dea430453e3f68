"""Options made from settings models."""

from __future__ import annotations

import click
from click.testing import CliRunner
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bgem3_client.command_line.settings_options import (
    CommandWithHeadings,
    read_settings,
    settings_options,
)


class Boats(BaseSettings):
    """One model."""

    model_config = SettingsConfigDict(env_prefix="HARBOUR_")

    boats: int = Field(3, ge=1, description="How many boats.")
    lit: bool = Field(True, description="Lights on.")
    password: SecretStr = Field(SecretStr(""), description="Of the harbour.")


class Crews(BaseSettings):
    """Another, with a setting of the same name and meaning."""

    model_config = SettingsConfigDict(env_prefix="HARBOUR_")

    crew: str = Field("none", description="Who sails.")
    lit: bool = Field(True, description="Lights on.")


@click.command(cls=CommandWithHeadings)
@settings_options(Boats, "Boats")
@settings_options(Crews, "Crews", leave_out={"lit"})
def harbour(**options):
    """Show what came out."""
    boats, crews = read_settings(Boats, options), read_settings(Crews, options)
    click.echo(
        f"{boats.boats} {boats.lit} {boats.password.get_secret_value()} {crews.crew} {crews.lit}"
    )


def test_options_stand_under_headings():
    """Each with its description, variable and default; a setting of both models once."""
    shown = CliRunner().invoke(harbour, ["--help"]).output
    first, second = shown.index("Boats:"), shown.index("Crews:")

    assert first < shown.index("--boats") < second < shown.index("--crew") < shown.index("--help")
    assert "How many boats.  [HARBOUR_BOATS; default: 3]" in " ".join(shown.split()).replace(
        ". [", ".  ["
    )
    assert 1 == shown.count("--lit / --no-lit")


def test_a_secret_has_no_option_and_is_read_from_the_environment():
    """Everybody on a machine can read its command lines."""
    result = CliRunner().invoke(harbour, [], env={"HARBOUR_PASSWORD": "ahoy"})

    assert "--password" not in CliRunner().invoke(harbour, ["--help"]).output
    assert "3 True ahoy none True\n" == result.output


def test_an_option_counts_in_every_model_that_has_the_setting():
    """Also where another model has brought it; it wins over the environment."""
    result = CliRunner().invoke(harbour, ["--no-lit"], env={"HARBOUR_LIT": "1"})

    assert "3 False  none False\n" == result.output


def test_a_value_out_of_range_names_option_and_variable():
    """Whichever of the two it came from."""
    result = CliRunner().invoke(harbour, [], env={"HARBOUR_BOATS": "0"})

    assert 2 == result.exit_code
    assert "--boats (or HARBOUR_BOATS): Input should be greater than or equal to 1" in result.output
