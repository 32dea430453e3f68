"""What is checked about the directory to serve."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from demo_manifest import demo_manifest

from bgem3_client.errors import BgeM3Error
from bgem3_export.errors import RepositoryError
from bgem3_server.commands import serve
from bgem3_server.repository import read_repository


def test_missing_directory(tmp_path):
    """A mistake of the caller, with the command that makes a repository."""
    with pytest.raises(RepositoryError, match=r"is not a directory; .*bgem3 export") as caught:
        read_repository(tmp_path / "nowhere")

    assert caught.value.exit_code == 2


def test_directory_without_the_public_model(tmp_path):
    """A checkpoint, say."""
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(RepositoryError, match=r"no bge_m3/config\.pbtxt"):
        read_repository(tmp_path)


def test_repository_without_a_manifest(make_repository):
    """Triton needs none."""
    assert read_repository(make_repository()) is None


def test_manifest_is_what_the_export_wrote(make_repository):
    """Read by the export's own reader."""
    repository = make_repository()
    manifest = demo_manifest()
    manifest.write(repository)

    assert manifest == read_repository(repository)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("[1]", "is damaged"),
        ('{"format_version": 1, "versions": {"1": {"demo": "perhaps"}}}', "is damaged"),
        ('{"format_version": 99}', "has format 99, and this release writes format 1"),
    ],
)
def test_damaged_or_foreign_manifest(make_repository, text, message):
    """The repository is not what its maker left, or another release made it."""
    repository = make_repository()
    (repository / "manifest.json").write_text(text)

    with pytest.raises(RepositoryError, match=message):
        read_repository(repository)


def test_serve_checks_the_directory_first(tmp_path):
    """Nothing is started for a directory that is not there."""
    result = CliRunner().invoke(serve, [str(tmp_path / "nowhere")])

    assert isinstance(result.exception, BgeM3Error)
    assert result.stdout == ""


def test_settings_out_of_range_name_the_option_and_the_variable(tmp_path):
    """A usage error, from the option as from the environment."""
    result = CliRunner().invoke(serve, [str(tmp_path)], env={"BGEM3_GRPC_PORT": "70000"})

    assert result.exit_code == 2
    assert "--grpc-port (or BGEM3_GRPC_PORT)" in result.stderr
