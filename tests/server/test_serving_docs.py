"""docs/serving.md says what the settings are."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from bgem3_backend.settings import BackendSettings
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"


def settings_table(model: type[BaseSettings], leave_out: Container[str] = ()) -> str:
    """The table of a model's settings, as Markdown."""
    rows = ["| option | environment | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in leave_out:
            continue
        secret = field.annotation is SecretStr
        default = "" if secret or field.default in (None, "") else f"`{field.default}`"
        option = "" if secret else f"`--{name.replace('_', '-')}`"
        rows.append(f"| {option} | `BGEM3_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def models_table() -> str:
    """The table of the settings that the Python models read."""
    rows = ["| environment | default | |", "|---|---|---|"]
    for name, field in BackendSettings.model_fields.items():
        default = f"`{field.default}`" if field.default_factory is None else "all cores"
        if field.default is None:
            default = "the engine's"
        rows.append(f"| `BGEM3_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_of_the_models_is_documented():
    """With the variable, the default and the field's own words."""
    assert models_table() in DOCUMENT.read_text(encoding="utf-8")


def test_every_setting_is_documented():
    """With the option, the variable, the default and the words of `bgem3 serve --help`."""
    assert settings_table(ServeSettings) in DOCUMENT.read_text(encoding="utf-8")


def test_every_setting_of_the_service_is_documented():
    """With the words of `bgem3 gateway --help`; what it shares with Triton stands there once."""
    table = settings_table(GatewaySettings, leave_out=ServeSettings.model_fields)

    assert table in DOCUMENT.read_text(encoding="utf-8")


def test_settings_of_one_name_mean_the_same():
    """One environment variable cannot mean two things."""
    for name in GatewaySettings.model_fields.keys() & ServeSettings.model_fields:
        ours, tritons = GatewaySettings.model_fields[name], ServeSettings.model_fields[name]

        assert (ours.annotation, ours.default) == (tritons.annotation, tritons.default)
        assert ours.description == tritons.description
