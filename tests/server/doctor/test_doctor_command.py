"""`bgem3 doctor`: what it prints, and that nothing stops it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from doctor_run import COMMAND, broken_off, run_doctor, write_repository

from bgem3_server.doctor.check import Check, Family, Result, run_checks
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.command import doctor
from bgem3_server.doctor.families import FAMILIES
from bgem3_server.doctor.finding import Finding, Outcome, ok, problem, warning
from bgem3_server.doctor.report import exit_code, without_secrets
from bgem3_server.doctor.secrets import Secrets
from bgem3_server.doctor.subject import Subject
from bgem3_server.triton import wheel

DOCUMENT = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
# So that no server of this machine is asked, and no port of it is in the way.
NOWHERE = {
    "BGEM3_GRPC_PORT": "0",
    "BGEM3_HTTP_PORT": "0",
    "BGEM3_METRICS_PORT": "0",
    "BGEM3_PORT": "0",
}
SECRETS = {
    "BGEM3_API_KEY": "key-of-the-caller",
    "BGEM3_API_KEYS": "first-of-the-keys,second-of-the-keys",
    "BGEM3_TRITON_KEY": "key-of-triton-0123456789",
    "BGEM3_STORE_API_KEY": "key-of-the-store",
    "HF_TOKEN": "token-of-the-hub",
    "http_proxy": "http://user:password-of-the-proxy@proxy.example:1",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests here: each of them runs the whole command."""
    return write_repository(tmp_path_factory.mktemp("doctor") / "repository")


def test_json_is_as_documented(repository):
    """The schema in docs/doctor.md holds for what comes out, and names every field."""
    schema = json.loads(re.search(r"```json schema\n(.*?)```", DOCUMENT, re.DOTALL)[1])
    run = run_doctor(repository, "--json", environment=NOWHERE)

    jsonschema.validate(run.json, schema)
    assert set(schema["properties"]) == set(run.json)
    assert sum(run.json["counts"].values()) == len(run.json["findings"])
    assert run.code == run.json["exit_code"]
    assert {check.name for family in FAMILIES for check in family.checks} == {
        item["check"] for item in run.json["findings"]
    }


def test_no_check_breaks_off(repository):
    """On a machine as it is, with and without a repository."""
    assert [] == broken_off(Subject(repository=repository))
    assert [] == broken_off(Subject())


def test_a_problem_is_the_exit_status(repository, tmp_path):
    """1 for a problem, and what to do; the lines of a file are whole."""
    (tmp_path / "bge_m3").mkdir()
    run = run_doctor(tmp_path, environment=NOWHERE)

    assert 1 == run.code
    lines = run.out.splitlines()
    (found,) = [number for number, line in enumerate(lines) if "[not_a_repository]" in line]
    assert lines[found].startswith("  PROBLEM  ")
    assert lines[found + 1].strip().startswith("-> name the folder that 'bgem3 export")
    assert "\x1b" not in run.out


def test_a_terminal_of_80_columns(repository):
    """Lines are folded, words stay whole, and colours are there."""
    leader, follower = pty.openpty()
    environment = {**os.environ, **NOWHERE, "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, repository], stdout=follower, env=environment
    ) as process:
        os.close(follower)
        blocks = []
        while True:
            try:
                block = os.read(leader, 65536)
            except OSError:  # what Linux says when nobody writes any more
                break
            if not block:
                break
            blocks.append(block)
        process.wait(60)
    os.close(leader)
    printed = b"".join(blocks).decode()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed).splitlines()

    assert "\x1b[32m" in printed
    assert any(line.startswith("           ") for line in lines)
    # A path may be longer than a line, and is not broken.
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in lines if "/" not in line)


def test_secrets_are_not_printed(repository):
    """Neither keys nor passwords, in any of its forms."""
    environment = {**NOWHERE, **SECRETS}
    url = "http://user:password-in-the-url@127.0.0.1:1"
    runs = [
        run_doctor(repository, *options, environment=environment)
        for options in (
            ["--json", "--url", url, "--service", url],
            ["--url", "127.0.0.1:1", "--store", url, "--collection", "notes"],
        )
    ]

    printed = "".join(run.out + run.err for run in runs)
    assert "proxy.example" in printed
    for secret in ("first-of-the-keys", "password-in-the-url", *SECRETS.values()):
        assert secret not in printed
        assert secret.partition("user:")[2].partition("@")[0] == "" or (
            secret.partition("user:")[2].partition("@")[0] not in printed
        )


def test_secrets_in_what_libraries_say():
    """Wherever they are: in messages, advice, figures and lists."""
    secrets = Secrets({"MY_API_KEY": "abcdefgh", "PATH": "/usr/bin", "SHORT_KEY": "a"}.items())
    result = Result(
        "family",
        "check",
        Finding(
            Outcome.PROBLEM,
            "refused abcdefgh at http://me:mine@host/usr/bin",
            Code.REQUEST_FAILED,
            "not abcdefgh",
            {"key": "abcdefgh", "list": ["abcdefgh", "b"], "number": 7},
        ),
    )

    shown = without_secrets(result, secrets).finding

    assert "refused *** at http://***@host/usr/bin" == shown.message
    assert "not ***" == shown.advice
    assert {"key": "***", "list": ["***", "b"], "number": 7} == shown.details


def test_settings_that_cannot_be_used(repository):
    """They are one problem, not the end; and the value of a secret is not repeated."""
    environment = {**NOWHERE, "BGEM3_PORT": "99999", "BGEM3_TRITON_KEY": "short!"}
    run = run_doctor(repository, "--json", environment=environment)

    messages = [
        item["message"] for item in run.json["findings"] if item["code"] == "setting_invalid"
    ]
    assert ["BGEM3_TRITON_KEY", "--port"] == [
        message[:16].partition(" ")[0].rstrip(":") for message in messages
    ]
    assert "short!" not in run.out
    assert 0 == run.json["counts"]["failed"]


def test_an_option_that_does_not_fit():
    """Is a mistake in the command, and nothing is checked."""
    run = run_doctor("--grpc-port", "many")

    assert 2 == run.code
    assert "" == run.out


def test_it_works_where_little_is_installed(repository):
    """Only what the client brings: everything else is imported when it is there."""
    blocked = (
        "torch",
        "tokenizers",
        "onnx",
        "onnxruntime",
        "openvino",
        "transformers",
        "fastapi",
        "uvicorn",
        "structlog",
        "pynvml",
        "psutil",
        "packaging",
        "qdrant_client",
        "platformdirs",
        "filelock",
    )
    before = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {blocked!r} else real(name, *rest)
"""
    run = run_doctor(
        repository, "--json", "--store", "somewhere", environment=NOWHERE, before=before
    )

    assert [] == [item for item in run.json["findings"] if item["outcome"] == "failed"]
    codes = {item["code"] for item in run.json["findings"]}
    assert {"store_library_missing", "trunk_engine_unavailable"} <= codes


def test_nothing_is_left_behind(repository, tmp_path):
    """The cache is not even made, though Triton's backends would be put together in it."""
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    environment = {**NOWHERE, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    run = run_doctor(repository, "--json", environment=environment)

    assert [] == list(tmp_path.iterdir())
    assert before == {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    found = {item["check"]: item["outcome"] for item in run.json["findings"]}
    assert "ok" == found["versions.triton"]


def test_the_wheels_backends_elsewhere_than_in_the_cache(tmp_path):
    """So that a look at an installation does not change it."""
    contents = wheel.find_wheel()
    assert contents is not None

    made = wheel.assemble_backends(contents, tmp_path)

    assert made == wheel.backend_directory(contents, tmp_path)
    assert (made / "python" / "triton_python_backend_stub").is_file()


def test_a_check_that_breaks_off():
    """Is reported with its error; what it had found counts, and the others go on."""

    def broken(subject):
        yield ok("the first half")
        raise ZeroDivisionError("a mistake of ours")

    families = [
        Family("one", [Check("one.broken", broken)]),
        Family("two", [Check("two.well", lambda subject: [ok("well")])]),
    ]

    results = list(run_checks(families, Subject()))

    assert ["one.broken", "one.broken", "two.well"] == [result.check for result in results]
    assert [Outcome.OK, Outcome.FAILED, Outcome.OK] == [item.finding.outcome for item in results]
    assert "ZeroDivisionError: a mistake of ours" in results[1].finding.message
    assert Code.CHECK_FAILED == results[1].finding.code


def test_exit_status():
    """Warnings are none of a problem; what could not be checked is one."""

    def of(*findings: Finding) -> int:
        return exit_code([Result("family", "check", finding) for finding in findings])

    warned = warning(Code.TRITON_OLD, "old", "take another")
    assert 0 == of(ok("well"), warned)
    assert 1 == of(ok("well"), problem(Code.PORT_TAKEN, "taken", "take another"))
    assert 1 == of(Finding(Outcome.FAILED, "broken", Code.CHECK_FAILED))


def test_every_code_and_check_is_documented():
    """In the table of docs/doctor.md, each once; and nothing else is."""
    codes = DOCUMENT.partition("By the word in brackets")[2]
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|", codes, re.MULTILINE)
    checks = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", DOCUMENT, re.MULTILINE)

    assert sorted(code.value for code in Code) == sorted(rows)
    assert [check.name for family in FAMILIES for check in family.checks] == checks


def test_every_option_is_documented():
    """As `bgem3 doctor --help` has them."""
    for parameter in doctor.params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert f"`{option}" in DOCUMENT, option
