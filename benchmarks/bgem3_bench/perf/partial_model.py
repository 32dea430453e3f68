"""A model with some of the ensemble's outputs, since perf_analyzer asks a model for all it has.

A request for ``dense`` alone makes Triton leave out the steps that only others need.
perf_analyzer cannot send such a request. But an ensemble that has no other outputs and no other
steps does the same work in the same instances, and Triton loads one in milliseconds: it is a
configuration, without weights.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import click
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from bgem3_backend.contract import Tensor
from bgem3_bench.perf.errors import PartialModelError
from bgem3_client.address import Address
from bgem3_client.triton_key import VARIABLE, key_headers

Config = dict[str, Any]
"""A model's configuration: Triton's ``ModelConfig`` as JSON."""

# Models come from a folder with a version in it; any file makes one.
_FILES: Final = {"file:1/empty": b"empty"}
_UNLOAD_SECONDS: Final = 30.0


@contextmanager
def partial_model(address: Address, model: str, outputs: Sequence[Tensor]) -> Iterator[str]:
    """Have the server serve a part of an ensemble while the block runs; yields its name.

    Args:
        address: Where the server is.
        model: The ensemble.
        outputs: What the part is to give.

    Raises:
        PartialModelError: The server does not let models be loaded, or ``model`` is none that has
            such a part.
    """
    name = f"{model}_part_{uuid4().hex[:8]}"
    triton, key = _connect(address), key_headers(address)
    try:
        try:
            config = with_outputs(_config(triton, model), {tensor.name for tensor in outputs})
            triton.load_model(
                name, headers=key, config=json.dumps(config | {"name": name}), files=_FILES
            )
        except InferenceServerException as error:
            raise PartialModelError(
                f"the server at {address.target} does not load a model with some of the outputs of "
                f"{model!r}: {error.message()}. One that 'bgem3 serve' has started does, for its "
                f"own user on its machine, or with its {VARIABLE}; --outputs all measures the "
                "model as it is"
            ) from error
        try:
            yield name
        finally:
            _unload(triton, name, address, key)
    finally:
        triton.close()


def with_outputs(config: Config, outputs: Collection[str]) -> Config:
    """Return the configuration of an ensemble that gives ``outputs`` alone.

    Steps, and outputs of steps, that nothing of it needs are left out: Triton refuses them.

    Raises:
        PartialModelError: It is no ensemble, or has not all of the outputs.
    """
    missing = set(outputs) - {output["name"] for output in config["output"]}
    steps = config.get("ensemble_scheduling", {}).get("step", [])
    if missing or not steps:
        reason = f"has no output {sorted(missing)[0]!r}" if missing else "is no ensemble"
        raise PartialModelError(
            f"model {config['name']!r} {reason}: --outputs all measures it as it is"
        )
    needed = set(outputs)
    kept: list[Config] = []
    while True:
        kept = [
            {**step, "output_map": _needed(step["output_map"], needed)}
            for step in steps
            if _needed(step["output_map"], needed)
        ]
        taken = {tensor for step in kept for tensor in step["input_map"].values()}
        if taken <= needed:
            break
        needed |= taken
    return {
        **config,
        "output": [output for output in config["output"] if output["name"] in outputs],
        "ensemble_scheduling": {"step": kept},
    }


def _needed(output_map: dict[str, str], needed: Collection[str]) -> dict[str, str]:
    return {output: tensor for output, tensor in output_map.items() if tensor in needed}


def _connect(address: Address) -> Any:
    if address.protocol == "grpc":
        return tritonclient.grpc.InferenceServerClient(address.target)
    return tritonclient.http.InferenceServerClient(address.target, network_timeout=_UNLOAD_SECONDS)


def _config(triton: Any, model: str) -> Config:
    if isinstance(triton, tritonclient.grpc.InferenceServerClient):
        answer: dict[str, Config] = triton.get_model_config(model, as_json=True)
        return answer["config"]
    config: Config = triton.get_model_config(model)
    return config


def _unload(triton: Any, name: str, address: Address, key: dict[str, str]) -> None:
    """Unload the part; where that fails the measurement, or why it failed, still counts."""
    grpc = isinstance(triton, tritonclient.grpc.InferenceServerClient)
    try:
        timeout = {"client_timeout": _UNLOAD_SECONDS} if grpc else {}
        triton.unload_model(name, headers=key, **timeout)
    except (InferenceServerException, OSError) as error:
        click.echo(
            f"warning: model {name!r} stays on the server at {address.target} until it is started "
            f"anew; it cannot be unloaded: {error}",
            err=True,
        )
