"""The units of docker/systemd, by systemd's own checks and against the code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bgem3_server.commands import serve
from bgem3_server.console import Console
from bgem3_server.gateway.command import gateway
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.log import LogLine, Severity

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "docker" / "systemd"
DOCUMENT = ROOT / "docs" / "systemd.md"
UNITS = ("bgem3.service", "bgem3-gateway.service")
PROGRAM = "/opt/bgem3/bin/bgem3"
BGEM3 = str(Path(sys.executable).with_name("bgem3"))

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not here: apt install systemd",
)


def read_unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit with all that each was given."""
    settings: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def seconds(text: str) -> float:
    """A time as these units write it."""
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return float(match[1])


def variables(name: str) -> dict[str, str]:
    """The variables of an environment file, those that are commented out included."""
    text = (SYSTEMD / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^#?(\w+)=(\S*)$", text, flags=re.MULTILINE))


@pytest.fixture
def unit_folder(tmp_path):
    """The units with the program of this environment, which is there, in place of /opt's."""
    for name in UNITS:
        text = (SYSTEMD / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(PROGRAM, BGEM3), encoding="utf-8")
    return tmp_path


def verify(folder: Path, name: str) -> tuple[int, str]:
    """What systemd has to say about a unit."""
    result = subprocess.run(
        ["systemd-analyze", "verify", name],
        capture_output=True,
        text=True,
        # The colon: and where units are besides.
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
    )
    return result.returncode, result.stdout + result.stderr


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(unit_folder, name):
    """With the overlay for GPUs too."""
    overlay = unit_folder / "bgem3.service.d"
    overlay.mkdir()
    shutil.copy(SYSTEMD / "bgem3-gpu.conf", overlay / "gpu.conf")

    assert (0, "") == verify(unit_folder, name)


@needs_systemd
def test_systemd_sees_mistakes(unit_folder):
    """A misspelt setting is not passed over."""
    unit = unit_folder / UNITS[0]
    unit.write_text(unit.read_text().replace("OOMPolicy=", "OOMPolici="), encoding="utf-8")

    assert "OOMPolici" in verify(unit_folder, UNITS[0])[1]


@needs_systemd
@pytest.mark.parametrize(
    ("row", "name", "with_gpu"),
    [
        ("`bgem3.service`", UNITS[0], False),
        ("`bgem3.service` with `bgem3-gpu.conf`", UNITS[0], True),
        ("`bgem3-gateway.service`", UNITS[1], False),
    ],
)
def test_the_document_has_the_score(unit_folder, row, name, with_gpu):
    """What `systemd-analyze security` says of a unit, at most 1.5 of 10."""
    if with_gpu:
        overlay = unit_folder / f"{name}.d"
        overlay.mkdir()
        shutil.copy(SYSTEMD / "bgem3-gpu.conf", overlay / "gpu.conf")
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit_folder / name)],
        capture_output=True,
        text=True,
    )
    match = re.search(rf"exposure level for {re.escape(name)}: (\S+)", result.stdout)

    assert match, result.stdout + result.stderr
    assert float(match[1]) <= 1.5
    assert f"| {row} | {match[1]} |" in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "command", "arguments"),
    [(UNITS[0], serve, ["serve", "${BGEM3_REPOSITORY}"]), (UNITS[1], gateway, ["gateway"])],
)
def test_units_run_what_there_is(name, command, arguments):
    """The command reads its arguments; the program is at one place in all units."""
    (line,) = read_unit(name)["ExecStart"]
    program, subcommand, *rest = shlex.split(line)

    assert program == PROGRAM
    assert [subcommand, *rest] == arguments
    assert subcommand == command.name
    command.make_context(subcommand, rest)


@pytest.mark.parametrize(
    ("unit", "file", "settings"),
    [
        (UNITS[0], "bgem3.env", ServeSettings.model_fields | GatewaySettings.model_fields),
        (UNITS[1], "gateway.env", GatewaySettings.model_fields),
    ],
)
def test_variables_are_settings(unit, file, settings):
    """Those of the unit and of its environment file; the repository is an argument."""
    (environment_file,) = read_unit(unit)["EnvironmentFile"]
    given = {item.partition("=")[0] for item in read_unit(unit)["Environment"]} | set(
        variables(file)
    )
    known = {f"BGEM3_{field.upper()}" for field in settings}

    assert environment_file.removeprefix("-") == f"/etc/bgem3/{file}"
    assert len(variables(file)) >= 5
    assert given - known <= {"BGEM3_REPOSITORY", "XDG_CACHE_HOME", "HF_HOME"}


def test_there_is_time_to_stop_in_order():
    """Requests in flight, those that nobody waits for, Triton; and a drain of 20 seconds."""
    in_flight = ServeSettings.model_fields["stop_timeout_seconds"].default
    (serve_seconds,) = map(seconds, read_unit(UNITS[0])["TimeoutStopSec"])
    (gateway_seconds,) = map(seconds, read_unit(UNITS[1])["TimeoutStopSec"])

    assert serve_seconds >= 20 + 3 * in_flight + 10
    assert gateway_seconds >= 20 + 2 * in_flight + 10
    assert {"mixed"} == {read_unit(name)["KillMode"][0] for name in UNITS}


def test_a_mistake_in_the_settings_is_not_tried_again():
    """It ends with the status that the units except from restarts."""
    result = subprocess.run(
        [BGEM3, "gateway"], env={**os.environ, "BGEM3_PORT": "x"}, capture_output=True, text=True
    )

    assert "BGEM3_PORT" in result.stderr
    for name in UNITS:
        assert [str(result.returncode)] == read_unit(name)["RestartPreventExitStatus"]


def test_the_log_may_be_emptied_under_triton(tmp_path):
    """As logrotate does (copytruncate): what comes then is at the beginning, without a hole."""
    rotated = (SYSTEMD / "bgem3.logrotate").read_text(encoding="utf-8")
    log_file = tmp_path / "triton.log"
    with Console(ServeSettings(log_file=log_file)) as console:
        console.log(LogLine(Severity.INFO, "first", "first", from_triton=True))
        os.truncate(log_file, 0)
        console.log(LogLine(Severity.INFO, "second", "second", from_triton=True))

    assert log_file.read_text() == "second\n"
    assert "\n    copytruncate\n" in rotated
    assert f"\n{Path(variables('bgem3.env')['BGEM3_LOG_FILE']).parent}/*.log {{" in rotated


def test_the_document_says_where_each_file_goes():
    """All that are there, under the name that they have."""
    rows = [
        line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| `docker/")
    ]
    names = re.findall(
        r"`(?:docker/systemd/)?([\w.-]+\.(?:service|conf|env|logrotate))` ?[|,]", "".join(rows)
    )
    folder = {path.name for path in SYSTEMD.iterdir()}

    assert set(names) >= folder
    for name in folder:
        assert any(name in row for row in rows)
