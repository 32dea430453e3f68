"""What can be said of the images and compose files without an engine."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bgem3_server.gateway.settings import GatewaySettings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE_FILES = sorted((ROOT / "docker").glob("compose*.yaml"))
BASE = ROOT / "docker" / "compose.yaml"
CPU = ROOT / "docker" / "compose.cpu.yaml"


class ComposeLoader(yaml.SafeLoader):
    """Reads compose files; `!reset` takes an attribute of an earlier file away."""


ComposeLoader.add_constructor("!reset", lambda loader, node: RESET)
RESET = "!reset"


def load_compose(path: Path) -> dict[str, Any]:
    """Return a compose file as it stands, its variables not replaced."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=ComposeLoader)


def load_project() -> dict[str, Any]:
    """Return ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    keyword: str
    arguments: str


def read_dockerfile(path: Path) -> list[Instruction]:
    """Return the instructions of a Dockerfile, comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(keyword, arguments) for keyword, arguments in parts]


def argument_defaults(path: Path) -> dict[str, str]:
    """Return the build arguments of a Dockerfile; those without a default have an empty one."""
    arguments = [item.arguments for item in read_dockerfile(path) if item.keyword == "ARG"]
    return {name: value for name, _, value in (argument.partition("=") for argument in arguments)}


def context_sources(path: Path) -> set[str]:
    """Return what a Dockerfile takes from the build context, by COPY or by a bind mount."""
    sources: set[str] = set()
    for item in read_dockerfile(path):
        if item.keyword in {"COPY", "ADD"} and "--from=" not in item.arguments:
            words = [word for word in shlex.split(item.arguments) if not word.startswith("--")]
            sources |= set(words[:-1])
        for mount in re.findall(r"--mount=(\S+)", item.arguments):
            options = dict(option.partition("=")[::2] for option in mount.split(","))
            if options["type"] == "bind" and "from" not in options:
                sources.add(options["source"])
    return sources


def is_sent(path: str) -> bool:
    """Tell whether ``.dockerignore`` lets a path into the build context: the last match counts."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        expression = re.escape(pattern.lstrip("!")).replace(r"\[", "[").replace(r"\]", "]")
        expression = expression.replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        # A rule for a folder holds for what is in it.
        if re.fullmatch(f"{expression}(/.*)?", path):
            sent = pattern.startswith("!")
    return sent


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_a_dockerfile_copies_exists_and_is_sent(path):
    """Every source of a COPY or bind mount is in the repository and not kept out of the build."""
    sources = context_sources(path)

    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not is_sent(source)] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_copies_all_that_the_wheel_is_made_of(path):
    """A package or file that the wheel takes in, and that is not copied, breaks the build."""
    project = load_project()
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {package.split("/")[0] for package in wheel["packages"]}
    needed |= set(wheel["force-include"])

    assert needed - context_sources(path) == set()


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "tests/texts.py",
        "models/bge-m3/manifest.json",
        "docker/compose.yaml",
        "client/bgem3_client/__pycache__/errors.cpython-311.pyc",
        ".env",
    ],
)
def test_the_build_context_is_no_more_than_needed(path):
    """History, environments, tests, models and secrets stay out."""
    assert not is_sent(path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_do_not_run_as_root(path):
    """Every outside image has a tag (and takes a digest) by argument; the last user is a number."""
    instructions = read_dockerfile(path)
    froms = [item.arguments.split() for item in instructions if item.keyword == "FROM"]
    stages = {words[2] for words in froms if len(words) == 3}
    outside = [words[0] for words in froms if words[0] not in stages]
    users = [item.arguments for item in instructions if item.keyword == "USER"]

    assert outside
    assert [
        name for name in outside if not re.search(r":\$\{(\w+)_TAG\}\$\{\1_DIGEST:", name)
    ] == []
    assert users[-1] == "1000:1000"


def test_triton_is_recent_enough():
    """Earlier releases than 26.03 hang an ensemble when a later step's queue fills."""
    tag = argument_defaults(ROOT / "docker" / "triton.Dockerfile")["TRITON_TAG"]
    match = re.fullmatch(r"(\d\d)\.(\d\d)-py3", tag)

    assert match
    assert (int(match[1]), int(match[2])) >= (26, 4)


@pytest.mark.parametrize("path", [*DOCKERFILES, *COMPOSE_FILES], ids=lambda path: path.name)
def test_nothing_is_taken_at_latest(path):
    """The tag `latest` means another image tomorrow."""
    assert not re.search(r"\blatest\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_images_carry_the_version_of_the_project(path):
    """What compose builds is tagged with the version that `pyproject.toml` states."""
    version = load_project()["project"]["version"]
    services = load_compose(path)["services"].values()
    images = [service["image"] for service in services if "build" in service or path != BASE]

    assert images
    assert [i for i in images if f":${{BGEM3_VERSION:-{version}}}" not in i] == []


def test_what_compose_refers_to_exists():
    """Build files, build arguments, volumes and services named in compose.yaml are there."""
    compose = load_compose(BASE)
    services = compose["services"]

    for service in services.values():
        sources = {volume.split(":")[0] for volume in service["volumes"]}
        folders = {source for source in sources if source.startswith("./")}

        assert sources - folders - compose["volumes"].keys() == set()
        assert [folder for folder in folders if not (BASE.parent / folder).is_dir()] == []
        assert set(service.get("depends_on", {})) - services.keys() == set()
    for service in (service for service in services.values() if "build" in service):
        context = BASE.parent / service["build"]["context"]
        dockerfile = context / service["build"]["dockerfile"]

        assert context.resolve() == ROOT
        assert dockerfile.is_file()
        assert service["build"]["args"].keys() - argument_defaults(dockerfile).keys() == set()


def test_images_of_others_are_pinned_and_optional():
    """A tag, a digest where one is given; none starts unless its profile is asked for."""
    others = {
        name: service
        for name, service in load_compose(BASE)["services"].items()
        if "build" not in service
    }

    assert {name: service["profiles"] for name, service in others.items()} == {
        "qdrant": ["qdrant"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }
    for name, service in others.items():
        variable = name.upper()
        tag_and_digest = (
            rf":\$\{{{variable}_TAG:-v?\d+\.\d+\.\d+(-\w+)?\}}"
            rf"\$\{{{variable}_DIGEST:\+@\$\{{{variable}_DIGEST\}}\}}"
        )

        assert re.search(tag_and_digest, service["image"])
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
        assert service["healthcheck"]


def test_every_container_has_limits_and_no_more_rights_than_it_needs():
    """Of memory and processes; what has no need to write to its image cannot."""
    services = load_compose(BASE)["services"]

    for service in services.values():
        assert re.fullmatch(r"\d+g|\$\{\w+_MEMORY:-\d+g\}", service["mem_limit"])
        assert service["pids_limit"] > 0
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    read_only = {name for name, service in services.items() if service.get("read_only")}

    assert read_only == {"gateway", "qdrant", "prometheus", "grafana"}


def test_prometheus_scrapes_what_compose_starts():
    """By the names of its services, at the ports that they listen on."""
    services = load_compose(BASE)["services"]
    file = ROOT / "docker" / "prometheus" / "prometheus.yml"
    configuration = yaml.safe_load(file.read_text(encoding="utf-8"))
    targets = [
        target
        for job in configuration["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    ]

    assert [target.split(":")[0] for target in targets] == ["gateway", "triton"]
    for name, port in (target.split(":") for target in targets):
        assert any(published.endswith(f":{port}") for published in services[name]["ports"])


def test_grafana_lets_nobody_change_anything():
    """There is no administrator with a password that everybody knows."""
    environment = load_compose(BASE)["services"]["grafana"]["environment"]

    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"


def test_ports_are_bound_to_loopback_by_default():
    """Triton has no authentication, the service none by default: another address is asked for."""
    services = load_compose(BASE)["services"]
    ports = services["triton"]["ports"]

    assert services["gateway"]["ports"] == ["${BGEM3_HOST:-127.0.0.1}:${BGEM3_PORT:-33330}:33330"]
    assert len(ports) == 3
    others = [
        port
        for name, service in services.items()
        if name != "gateway"
        for port in service.get("ports", [])
    ]
    assert [
        port for port in others if not port.startswith("${BGEM3_BIND_ADDRESS:-127.0.0.1}:")
    ] == []


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_triton_reads_what_the_export_writes(path):
    """Both services name the same folder, inside the volume that both mount."""
    services = load_compose(path)["services"]
    repository = services["export"]["environment"]["REPOSITORY"]

    assert repository.startswith("/models/")
    assert f"--model-repository={repository}" in services["triton"]["command"]


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_the_service_counts_with_the_tokenizer_that_triton_serves(path):
    """Another repository's would count wrong, and name another model."""
    services = load_compose(path)["services"]

    assert (
        services["export"]["environment"]["REPOSITORY"]
        == services["gateway"]["environment"]["BGEM3_TOKENIZER"]
    )


def test_the_service_is_given_settings_that_it_has():
    """And asks Triton at the port that Triton's image opens, on the port that it opens itself."""
    service = load_compose(BASE)["services"]["gateway"]
    names = {f"BGEM3_{name.upper()}" for name in GatewaySettings.model_fields}
    port = GatewaySettings.model_fields["port"].default
    health = [
        item.arguments
        for item in read_dockerfile(ROOT / "docker" / "gateway.Dockerfile")
        if item.keyword == "HEALTHCHECK"
    ]

    assert service["environment"].keys() - names == set()
    assert service["environment"]["BGEM3_TRITON"] == "triton:8001"
    assert [p for p in service["ports"] if not p.endswith(f":{port}")] == []
    assert f"http://127.0.0.1:{port}/health/ready" in health[0]


def test_triton_waits_for_the_export():
    """Triton starts once the export has ended well, which runs once and is not restarted."""
    services = load_compose(BASE)["services"]
    condition = services["triton"]["depends_on"]["export"]["condition"]

    assert condition == "service_completed_successfully"
    assert services["export"]["restart"] == "no"
    assert services["triton"]["restart"] == "unless-stopped"
    assert services["gateway"]["restart"] == "unless-stopped"


def test_the_cpu_overlay_asks_for_no_gpu():
    """Every service that reserves GPUs in compose.yaml gives them up, and uses the CPU profile."""
    base = load_compose(BASE)["services"]
    overlay = load_compose(CPU)["services"]
    on_gpus = [name for name, service in base.items() if "deploy" in service]

    assert on_gpus == ["export", "triton"]
    assert [overlay[name]["deploy"] for name in on_gpus] == [RESET, RESET]
    assert "--model-config-name=cpu" in overlay["triton"]["command"]
    assert "cpu" in overlay["triton"]["build"]["args"]["EXTRAS"].split(",")


def test_the_service_can_search():
    """Its image has what stores and readers of files need."""
    runs = [
        str(item.arguments)
        for item in read_dockerfile(ROOT / "docker" / "gateway.Dockerfile")
        if item.keyword == "RUN"
    ]

    assert "[gateway,retrieval]" in "".join(runs)
