"""The ``bgem3`` command."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version

import click

from bgem3_client.errors import BgeM3Error

COMMAND_GROUP = "bgem3.commands"


class InstalledCommands(click.Group):
    """Subcommands from the entry points ``bgem3.commands``, imported only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands whose libraries are installed."""
        return sorted(
            point.name for point in entry_points(group=COMMAND_GROUP) if self._load(point.name)
        )

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return one subcommand.

        Raises:
            click.ClickException: A library that the subcommand needs is not installed.
        """
        points = entry_points(group=COMMAND_GROUP, name=name)
        if not points:
            return None
        command = self._load(name)
        if command is None:
            raise click.ClickException(
                f"'bgem3 {name}' needs more than the client: pip install 'bgem3-triton[all]'"
            )
        return command

    @staticmethod
    def _load(name: str) -> click.Command | None:
        (point,) = entry_points(group=COMMAND_GROUP, name=name)
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("bgem3"):
                raise
            return None
        assert isinstance(command, click.Command)
        return command


@click.group(cls=InstalledCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("bgem3-triton"), prog_name="bgem3")
def cli() -> None:
    """BGE-M3 on NVIDIA Triton: dense, sparse and ColBERT from one forward pass."""


def main() -> None:
    """Run the command; end with the error's own exit code and one plain message."""
    try:
        cli()
    except BgeM3Error as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
