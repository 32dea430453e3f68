"""docs/serving.md says what the settings are."""

from __future__ import annotations

from pathlib import Path

from bgem3_backend.settings import BackendSettings
from bgem3_server.settings import ServeSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "serving.md"


def settings_table() -> str:
    """The table of all settings, as Markdown."""
    rows = ["| option | environment | default | |", "|---|---|---|---|"]
    for name, field in ServeSettings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        option = "--" + name.replace("_", "-")
        rows.append(f"| `{option}` | `BGEM3_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def models_table() -> str:
    """The table of the settings that the Python models read."""
    rows = ["| environment | default | |", "|---|---|---|"]
    for name, field in BackendSettings.model_fields.items():
        default = f"`{field.default}`" if field.default_factory is None else "all cores"
        rows.append(f"| `BGEM3_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_of_the_models_is_documented():
    """With the variable, the default and the field's own words."""
    assert models_table() in DOCUMENT.read_text(encoding="utf-8")


def test_every_setting_is_documented():
    """With the option, the variable, the default and the words of `bgem3 serve --help`."""
    assert settings_table() in DOCUMENT.read_text(encoding="utf-8")
