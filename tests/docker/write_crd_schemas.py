"""Writes data/crd_schemas.json: the schemas of the custom resources that docker/kubernetes uses.

Run it where their sources are installed; the project needs those for nothing else:

    python -m venv schemas
    schemas/bin/pip install cloudcoil-models-keda cloudcoil-models-prometheus-operator
    schemas/bin/pip install --no-deps kserve
    schemas/bin/python tests/docker/write_crd_schemas.py

The first two are made from the definitions (CRDs) of KEDA and of the Prometheus Operator. KServe's
is read from its Python SDK, which is made from KServe's OpenAPI: fields and their types, but not
which are required. What those hold of Kubernetes' own (containers, volumes) is left open here; the
tests check it as parts of a Pod.
"""

from __future__ import annotations

import ast
import json
import re
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "crd_schemas.json"
CLOUDCOIL = {
    "keda.sh/v1alpha1 ScaledObject": "cloudcoil-models-keda",
    "monitoring.coreos.com/v1 ServiceMonitor": "cloudcoil-models-prometheus-operator",
}
KSERVE = {
    "serving.kserve.io/v1beta1 InferenceService": "V1beta1InferenceService",
    "serving.kserve.io/v1alpha1 ServingRuntime": "V1alpha1ServingRuntime",
}
SCALARS = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}
NOT_SCHEMA = {"title", "description", "default"}


def strict(schema: Any) -> Any:
    """Leave out what is for readers, and let in no field that is not named."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: {key: strict(value) for key, value in item.items()}
        if name in {"properties", "$defs"}
        else strict(item)
        for name, item in schema.items()
        if name not in NOT_SCHEMA
    }
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept


def cloudcoil_schemas() -> dict[str, Any]:
    """The schemas of KEDA and the Prometheus Operator."""
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

    models = (ScaledObject, ServiceMonitor)
    return {
        name: {"source": f"{package} {version(package)}", **strict(model.model_json_schema())}
        for (name, package), model in zip(CLOUDCOIL.items(), models, strict=True)
    }


def kserve_types() -> dict[str, dict[str, str]]:
    """The fields of every class of KServe's SDK, by the class's name, as JSON name and type."""
    types = {}
    for file in distribution("kserve").files or ():
        if file.match("kserve/models/v*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for item in (node for node in tree.body if isinstance(node, ast.ClassDef)):
                values = {
                    node.targets[0].id: ast.literal_eval(node.value)
                    for node in item.body
                    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                }
                types[item.name] = {
                    values["attribute_map"][name]: kind
                    for name, kind in values["openapi_types"].items()
                }
    return types


def kserve_schema(kind: str, types: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The schema of a type as the SDK writes it; anything goes for those of Kubernetes."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        return {"type": "array", "items": kserve_schema(match[1], types)}
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {"type": "object", "additionalProperties": kserve_schema(match[1], types)}
    if kind in SCALARS:
        return {"type": SCALARS[kind]}
    if kind not in types:
        return {}  # a type of Kubernetes'
    fields = {name: kserve_schema(item, types) for name, item in types[kind].items()}
    return {"type": "object", "additionalProperties": False, "properties": fields}


def main() -> None:
    """Write the file."""
    schemas = cloudcoil_schemas()
    types = kserve_types()
    for name, kind in KSERVE.items():
        schemas[name] = {"source": f"kserve {version('kserve')}", **kserve_schema(kind, types)}
    lines = [
        f"{json.dumps(name)}: {json.dumps(schema, sort_keys=True, separators=(',', ':'))}"
        for name, schema in schemas.items()
    ]
    DATA.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
