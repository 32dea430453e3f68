"""What is read from Triton's log."""

from __future__ import annotations

import pytest

from bgem3_server.errors import ModelLoadError, PortInUseError, StartError
from bgem3_server.triton.log import LogLine, Severity, parse_line, start_failure

# Lines as release 24.10 writes them.
IN_USE = (
    'E1122 09:20:12.374649 7545 main.cc:293] "failed to start Metrics service: Unavailable - '
    "Socket '127.0.0.1:18002' already in use \""
)
FAILED = (
    "E1122 09:23:53.722127 8240 model_lifecycle.cc:642] \"failed to load 'inner' version 1: "
    'Internal: ValueError: no head\\n\\nAt:\\n  /models/inner/1/model.py(2): initialize\\n"'
)
DEPENDS = (
    'E1122 09:23:53.722223 8240 model_repository_manager.cc:703] "Invalid argument: ensemble '
    "'bge_m3' depends on 'inner' which has no loaded version. Model 'inner' loading failed\""
)
FINAL = "error: creating server: Internal - failed to load all models"


def test_a_line_is_read_without_its_prefix_and_escapes():
    """Severity, and the message as it was meant."""
    raw = 'W1122 09:20:11.216715 7484 server.cc:631] "a \\"b\\"\\nc:\\\\d"'

    assert LogLine(Severity.WARNING, 'a "b"\nc:\\d', raw, from_triton=True) == parse_line(raw)


def test_what_models_print_is_kept_as_it_is():
    """A line without Triton's prefix is somebody else's."""
    assert LogLine(Severity.INFO, "hello", "hello", from_triton=False) == parse_line("hello")


def test_the_root_of_a_failed_ensemble_is_told():
    """An ensemble that fails for the sake of its step is not a second reason."""
    error = start_failure(map(parse_line, [FAILED, DEPENDS, FINAL]), "ended with exit status 1")

    assert isinstance(error, ModelLoadError)
    assert error.reasons == {"inner": "ValueError: no head (/models/inner/1/model.py:2)"}


def test_an_ensemble_that_fails_by_itself_is_told():
    """Here nothing else says why."""
    error = start_failure(map(parse_line, [DEPENDS, FINAL]), "ended with exit status 1")

    assert isinstance(error, ModelLoadError)
    assert list(error.reasons) == ["bge_m3"]


def test_a_port_in_use_is_its_own_type():
    """The caller may pick another one."""
    error = start_failure(map(parse_line, [IN_USE]), "ended with exit status 1")

    assert isinstance(error, PortInUseError)
    assert str(error) == "cannot listen on 127.0.0.1:18002 (Metrics): already in use"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "Triton was killed by SIGKILL before it was ready:"),
        (
            ["tritonserver: unrecognized option '--x'", "Usage: tritonserver [options]", "  --y"],
            "Triton was killed by SIGKILL before it was ready:\n"
            "  tritonserver: unrecognized option '--x'",
        ),
        (
            ["+---+", "| a |", "error: creating server: no room"],
            "Triton was killed by SIGKILL before it was ready:\n  creating server: no room",
        ),
    ],
)
def test_other_failures_are_told_in_tritons_words(lines, said):
    """Its errors, or what was printed last, without tables and usage."""
    error = start_failure(map(parse_line, lines), "was killed by SIGKILL")

    assert StartError is type(error)
    assert said == str(error)
