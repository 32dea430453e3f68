"""What can be said of the images and compose files without an engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bgem3_client.triton_key import CLOSED_APIS, HEADER, VARIABLE
from bgem3_server.gateway.settings import GatewaySettings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE_FILES = sorted((ROOT / "docker").glob("compose*.yaml"))
BASE = ROOT / "docker" / "compose.yaml"
GPU = ROOT / "docker" / "compose.gpu.yaml"


def load_compose(path: Path) -> dict[str, Any]:
    """Return a compose file as it stands, its variables not replaced."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def load_project() -> dict[str, Any]:
    """Return ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def wheel_sources() -> set[str]:
    """Return what the wheel is made of, by the names at the top of the repository."""
    project = load_project()
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    packages = {package.split("/")[0] for package in wheel["packages"]}
    return files | packages | set(wheel["force-include"])


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


BUILT_FROM = wheel_sources() | {"constraints.txt"}


def files_below(path: Path) -> list[Path]:
    """Return a file itself, or the files in a folder."""
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def sent_files() -> list[Path]:
    """Return the build context: what a build is sent of this folder, as it lies here."""
    tops = [top for top in ROOT.iterdir() if top.name in BUILT_FROM]
    return [
        file
        for top in tops
        for file in files_below(top)
        if is_sent(file.relative_to(ROOT).as_posix())
    ]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_a_dockerfile_copies_exists_and_is_sent(path):
    """Every source of a COPY or bind mount is in the repository and not kept out of the build."""
    sources = context_sources(path)
    sent = sent_files()

    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [s for s in sources if not any(file.is_relative_to(ROOT / s) for file in sent)] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_copies_all_that_the_wheel_is_made_of(path):
    """A package or file that the wheel takes in, and that is not copied, breaks the build."""
    copied = {
        word
        for item in read_dockerfile(path)
        if item.keyword == "COPY" and "--from=" not in item.arguments
        for word in item.arguments.split()[:-1]
    }

    assert wheel_sources() - copied == set()


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "tests/texts.py",
        "models/bge-m3/manifest.json",
        "docker/compose.yaml",
        "docker/.env",
        "out/bundle/SHA256SUMS",
        "benchmarks/soak.py",
        "client/bgem3_client/__pycache__/errors.cpython-311.pyc",
        "benchmarks/.mypy_cache/3.11/cache.db",
        "server/bgem3_server/.env",
        "server/api-keys",
        ".env",
    ],
)
def test_what_has_no_part_in_an_image_is_not_sent(path):
    """History, environments, tests, models and secrets stay out."""
    assert not is_sent(path)


def test_the_build_context_is_what_the_wheel_is_made_of():
    """All of the packages, the lock, and nothing else that may lie in this folder."""
    sent = {file.relative_to(ROOT).as_posix() for file in sent_files()}
    wheel = load_project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = [*wheel["packages"], "model_repository"]
    single = {path for path in sent if not any(path.startswith(f"{f}/") for f in folders)}
    in_folders = {
        file.relative_to(ROOT).as_posix()
        for folder in folders
        for file in files_below(ROOT / folder)
        if "__pycache__" not in file.parts and not any(p.startswith(".") for p in file.parts)
    }

    assert single == {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    assert sent - single == in_folders
    assert sum((ROOT / path).stat().st_size for path in sent) < 5_000_000
    assert [path for path in sent if (ROOT / path).stat().st_size > 500_000] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_do_not_run_as_root(path):
    """Every outside image is an argument, which takes a digest too; the last user is a number."""
    instructions = read_dockerfile(path)
    froms = [item.arguments.split() for item in instructions if item.keyword == "FROM"]
    stages = {words[2] for words in froms if len(words) == 3}
    outside = [words[0] for words in froms if words[0] not in stages]
    defaults = argument_defaults(path)
    names = [re.fullmatch(r"\$\{(\w+)\}", name)[1] for name in outside]
    users = [item.arguments for item in instructions if item.keyword == "USER"]

    assert {"TRITON_IMAGE", "PYTHON_IMAGE"} & set(names)
    for name in names:
        # A model is put in where one is named: by default there is none.
        assert defaults[name] == "scratch" if name == "MODEL" else ":" in defaults[name]
    assert users[-1] == "1000:1000"


def test_triton_is_recent_enough():
    """Earlier releases than 26.03 hang an ensemble when a later step's queue fills."""
    image = argument_defaults(ROOT / "docker" / "triton.Dockerfile")["TRITON_IMAGE"]
    match = re.fullmatch(r"nvcr\.io/nvidia/tritonserver:(\d\d)\.(\d\d)-py3", image)

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
    images = [service["image"] for service in services if "build" in service]

    assert images
    assert [i for i in images if f":${{BGEM3_VERSION:-{version}}}" not in i] == []


@pytest.mark.parametrize("on_gpus", [False, True])
def test_what_compose_refers_to_exists(on_gpus):
    """Build files, build arguments, volumes and services named in compose.yaml are there."""
    compose = load_compose(BASE)
    services = compose["services"]
    if on_gpus:
        overlay = load_compose(GPU)["services"]
        for name in ("export", "triton"):
            build, more = services[name]["build"], overlay[name]["build"]
            services[name]["build"] = {**build, **more, "args": build["args"] | more["args"]}

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
        unused = service["build"]["args"].keys() - argument_defaults(dockerfile).keys()

        assert unused == ({"PYTHON_IMAGE"} if dockerfile.name == "triton.Dockerfile" else set())


def test_images_of_others_are_pinned_and_optional():
    """By a tag, or by whatever is named instead; none starts unless its profile is asked for."""
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
        by_tag = rf"\$\{{{name.upper()}_IMAGE:-[\w./-]+:v?\d+\.\d+\.\d+(-\w+)?\}}"

        assert re.fullmatch(by_tag, service["image"])
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
        assert service["healthcheck"]


def test_every_container_has_limits_and_no_more_rights_than_it_needs():
    """Of memory and processes; nothing can write to its own image."""
    services = load_compose(BASE)["services"]

    for service in services.values():
        assert re.fullmatch(r"\d+g|\$\{\w+_MEMORY:-\d+g\}", service["mem_limit"])
        assert service["pids_limit"] > 0
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert service["read_only"] is True


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
    assert repository in {
        argument.removeprefix("--model-repository=") for argument in services["triton"]["command"]
    }


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

    assert service["environment"].keys() - names == {VARIABLE}
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


def test_gpus_are_asked_for_by_the_overlay_alone():
    """Without it nothing needs NVIDIA's toolkit; with it both export and server have every GPU."""
    base = load_compose(BASE)["services"]
    overlay = load_compose(GPU)["services"]
    (device,) = overlay["triton"]["deploy"]["resources"]["reservations"]["devices"]

    assert [name for name, service in base.items() if "deploy" in service] == []
    assert [name for name, service in overlay.items() if "deploy" in service] == [
        "export",
        "triton",
    ]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert base["export"]["build"]["args"]["ACCELERATOR"] == "cpu"
    assert overlay["export"]["build"]["args"]["ACCELERATOR"] == "gpu"


def test_the_key_to_tritons_closed_endpoints_is_nowhere_written():
    """Server and service are given the same, if there is one; no file has a default."""
    services = load_compose(BASE)["services"]

    for name in ("triton", "gateway"):
        assert services[name]["environment"][VARIABLE] is None


def triton_arguments(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """Return what the entry point of Triton's image starts `tritonserver` with.

    NVIDIA's script in front of it runs what follows it, and is left out.
    """
    (entry_point,) = [
        json.loads(item.arguments)
        for item in read_dockerfile(ROOT / "docker" / "triton.Dockerfile")
        if item.keyword == "ENTRYPOINT"
    ]
    tritonserver = folder / "tritonserver"
    tritonserver.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    tritonserver.chmod(0o755)
    run = subprocess.run(
        [*entry_point[1:], *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def test_tritons_image_closes_what_bgem3_serve_closes(tmp_path):
    """With the key of the environment; what follows the image's name is handed on as it is."""
    closed = f"{','.join(CLOSED_APIS)}:{HEADER}=a-key"

    assert triton_arguments(tmp_path, "--model-repository=/a b", **{VARIABLE: "a-key"}) == [
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--http-restricted-api={closed}",
        f"--grpc-restricted-protocol={closed}",
        "--model-repository=/a b",
    ]


def test_without_a_key_tritons_image_makes_a_new_one_at_each_start(tmp_path):
    """One that nobody is told."""
    keys = {triton_arguments(tmp_path)[2].rpartition("=")[2] for _ in range(2)}

    assert len(keys) == 2
    assert [key for key in keys if not re.fullmatch(r"[0-9a-f]{64}", key)] == []


def test_a_bundle_names_the_images():
    """All that compose and the Dockerfiles name, for sites that have to carry them over."""
    version = load_project()["project"]["version"]
    contents = ROOT / "server" / "bgem3_server" / "bundle" / "contents" / "images.txt"
    listed = [
        line
        for line in contents.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    built = {f"bgem3-{path.name.removesuffix('.Dockerfile')}:{version}" for path in DOCKERFILES}
    bases = {
        value
        for path in DOCKERFILES
        for name, value in argument_defaults(path).items()
        if name.endswith("_IMAGE")
    }
    others = {
        service["image"].partition(":-")[2].removesuffix("}")
        for service in load_compose(BASE)["services"].values()
        if "build" not in service
    }

    assert sorted(listed) == sorted(built | bases | others)


def test_the_service_can_search():
    """Its image has what stores and readers of files need."""
    runs = [
        str(item.arguments)
        for item in read_dockerfile(ROOT / "docker" / "gateway.Dockerfile")
        if item.keyword == "RUN"
    ]

    assert "[gateway,retrieval]" in "".join(runs)
