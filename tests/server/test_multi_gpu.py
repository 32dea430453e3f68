"""The GPU profiles name no device: Triton takes those that it sees, after a restart those left."""

from __future__ import annotations

import re
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from bgem3_server.errors import StartError
from bgem3_server.settings import ServeSettings
from bgem3_server.triton import profile, supervisor
from bgem3_server.triton.gpus import Gpu

L4 = Gpu("NVIDIA L4", "8.9")
TEMPLATES = Path(__file__).parents[2] / "model_repository"
GPU_PROFILES = [
    path
    for path in sorted([*TEMPLATES.glob("*/config.pbtxt"), *TEMPLATES.glob("*/configs/*.pbtxt")])
    if "KIND_GPU" in path.read_text(encoding="utf-8")
]


def test_there_are_gpu_profiles():
    """Of the trunk and of both heads at least."""
    models = {path.relative_to(TEMPLATES).parts[0] for path in GPU_PROFILES}

    assert {"bge_m3_trunk", "bge_m3_sparse", "bge_m3_colbert"} == models


@pytest.mark.parametrize("path", GPU_PROFILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_an_instance_on_every_gpu(path):
    """A group with `gpus` would be on these alone, and fail to load when one of them is gone."""
    text = path.read_text(encoding="utf-8")
    groups = text_format.Parse(
        re.search(r"^instance_group .*$", text, re.MULTILINE)[0], ModelConfig()
    ).instance_group

    assert [(ModelInstanceGroup.KIND_GPU, 1, [])] == [
        (group.kind, group.count, list(group.gpus)) for group in groups
    ]


@pytest.mark.parametrize("path", GPU_PROFILES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_no_option_names_a_device(path):
    """As ONNX Runtime's shrinking of its arena would ("gpu:0")."""
    lines = path.read_text(encoding="utf-8").splitlines()
    settings = "\n".join(line for line in lines if not line.lstrip().startswith("#"))

    assert [] == re.findall(r"gpu:\d|device_id|CUDA_VISIBLE_DEVICES", settings)


def test_a_restart_with_a_gpu_fewer_starts_the_same(monkeypatch, make_repository):
    """With the GPU profile, also when none is left: never at the speed of a CPU."""
    gpus = [L4, L4]
    begun: list[str] = []
    monkeypatch.setattr(profile, "visible_gpus", lambda: list(gpus))
    monkeypatch.setattr(
        supervisor,
        "find_installation",
        lambda _: SimpleNamespace(has_backend=lambda name: True, origin="a container"),
    )
    monkeypatch.setattr(supervisor, "batching_of_trunk", lambda *_: None)

    def start(self, plan, addresses):
        begun.append(plan.profile.profile)
        if len(begun) == 3:
            return
        if not self.ready.done():
            self.ready.set_result(None)
        gpus.pop()
        raise StartError("a GPU is gone")

    monkeypatch.setattr(supervisor.Supervisor, "_start", start)
    settings = ServeSettings(restart_delay_seconds=0.01)
    watched = supervisor.Supervisor(make_repository(), settings, lambda _: None, lambda _: None)
    watched.start()
    wait([watched.ended], timeout=30)

    assert (["gpu"] * 3, []) == (begun, gpus)
