"""docker/kubernetes as `kubectl kustomize` renders it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "docker" / "kubernetes"

ACCELERATORS = ("gpu", "cpu")
SCALERS = (("hpa",), (), ("keda",))
# Those that change the Deployment, as the accelerators do.
ON_THE_SERVER = ("fleet", "keys", "grpc")
BESIDE_IT = ("monitoring", "ingress", "qdrant", "demo")

Combination: TypeAlias = tuple[str, ...]
Object: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What a kustomization comes to.

    Attributes:
        combination: The components, or the name of the kustomization.
        objects: What would be applied, in order.
    """

    combination: Combination
    objects: list[Object]

    def __str__(self) -> str:
        return "+".join(self.combination)

    def of_kind(self, *kinds: str) -> list[Object]:
        """Return the objects of these kinds."""
        return [item for item in self.objects if item["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object:
        """Return the one object of this kind and name; a generated name by its beginning."""
        found = [
            item
            for item in self.of_kind(kind)
            if item["metadata"]["name"] == name
            or (kind == "ConfigMap" and item["metadata"]["name"].rpartition("-")[0] == name)
        ]
        (only,) = found
        return only


def kubectl() -> str | None:
    """Return the kubectl of this environment, else of this machine, if there is one."""
    beside_python = Path(sys.executable).with_name("kubectl")
    return str(beside_python) if beside_python.exists() else shutil.which("kubectl")


def render(folder: Path) -> list[Object]:
    """Return the objects that `kubectl apply -k FOLDER` would apply."""
    program = kubectl()
    assert program is not None
    result = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, f"{folder}: {result.stderr}"
    return list(yaml.load_all(result.stdout, Loader=yaml.CSafeLoader))


def subsets(names: Sequence[str]) -> list[Combination]:
    """Return all subsets, the empty one first."""
    return [
        chosen for size in range(len(names) + 1) for chosen in itertools.combinations(names, size)
    ]


def all_combinations() -> list[Combination]:
    """Return every combination that makes sense: one accelerator, one autoscaler at most."""
    optional = subsets((*ON_THE_SERVER, *BESIDE_IT))
    parts = itertools.product(ACCELERATORS, optional, SCALERS)
    return [(accelerator, *chosen, *scaler) for accelerator, chosen, scaler in parts]


def some_combinations() -> list[Combination]:
    """Return every combination of what changes the server; by turns, with what stands beside it."""
    beside = itertools.cycle(subsets(BESIDE_IT))
    scaler = itertools.cycle(SCALERS)
    return [
        (accelerator, *chosen, *next(beside), *next(scaler))
        for accelerator, chosen in itertools.product(ACCELERATORS, subsets(ON_THE_SERVER))
    ]


def render_combinations(
    combinations: Sequence[Combination], folder: Path, at_once: int = 8
) -> Iterator[Rendered]:
    """Render each combination, several by one call of kubectl, each in a namespace of its own.

    Args:
        combinations: The components of each.
        folder: A new folder for the kustomizations.
        at_once: How many go into one call.
    """
    for number, combination in enumerate(combinations):
        place = folder / f"c{number}"
        place.mkdir(parents=True)
        base = os.path.relpath(KUBERNETES, place)
        text = yaml.safe_dump(
            {
                "namespace": f"bgem3-{number}",
                "resources": [f"{base}/base"],
                "components": [f"{base}/components/{name}" for name in combination],
            }
        )
        (place / "kustomization.yaml").write_text(text, encoding="utf-8")
    for first in range(0, len(combinations), at_once):
        numbers = range(first, min(first + at_once, len(combinations)))
        call = folder / f"from{first}"
        call.mkdir()
        resources = yaml.safe_dump({"resources": [f"../c{number}" for number in numbers]})
        (call / "kustomization.yaml").write_text(resources, encoding="utf-8")
        objects = render(call)
        for number in numbers:
            yield Rendered(combinations[number], list(_in_namespace(objects, f"bgem3-{number}")))


def _in_namespace(objects: Iterable[Object], namespace: str) -> Iterator[Object]:
    """The objects of a namespace, as they are in bgem3."""
    for item in objects:
        metadata = item["metadata"]
        if item["kind"] == "Namespace" and metadata["name"] == namespace:
            yield item | {"metadata": metadata | {"name": "bgem3"}}
        elif metadata.get("namespace") == namespace:
            yield item | {"metadata": metadata | {"namespace": "bgem3"}}
