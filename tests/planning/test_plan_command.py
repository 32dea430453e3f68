"""`bgem3 plan`: the settings follow from the memory, and are written where they belong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from bgem3_backend.contract import TRUNK
from bgem3_export.batching.build import LIBRARY_FILE
from bgem3_export.errors import (
    NotEnoughMemoryError,
    PlanError,
    RepositoryError,
)
from bgem3_export.manifest import MANIFEST_FILE, Manifest
from bgem3_export.planning import devices, making
from bgem3_export.planning.command import plan
from bgem3_export.planning.sizes import format_size, parse_size
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.planning.workspaces import Processor
from bgem3_export.trunk_config import BatchLimits, TrunkConfig


def run(*arguments: object) -> Result:
    """Run the command; its errors are raised."""
    return CliRunner().invoke(
        plan, [str(argument) for argument in arguments], catch_exceptions=False
    )


def planned_as_json(*arguments: object) -> dict[str, Any]:
    """Run the command for JSON."""
    content: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return content


def settings(content: dict[str, Any]) -> dict[str, str]:
    """The settings of a plan, by name."""
    return {setting["name"]: setting["value"] for setting in content["settings"]}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GiB", 16 * 2**30),
        ("24 GB", 24 * 10**9),
        ("1.5gib", 3 * 2**29),
        ("512MiB", 2**29),
        ("100", 100),
    ],
)
def test_sizes_are_read(text, size):
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "GiB", "16 apples", "-1GiB", "0", "1,5GiB"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="as in 16GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(2**34, "16.00 GiB"), (3 * 2**19, "1.50 MiB"), (512, "0.5 KiB")]
)
def test_sizes_are_written(size, text):
    assert text == format_size(size)


def test_the_costs_of_a_gpu_fit_and_fill_it(planned):
    """So many tokens as fit: with one step more the memory would not do."""
    content = planned_as_json(planned, "--gpu-memory", "4500MiB")
    sizes = {cost["name"]: cost["size_bytes"] for cost in content["costs"]}
    tokens = int(settings(content)["max_batch_tokens"])

    newest = Manifest.read(planned).newest
    graph = planned / TRUNK.name / newest / TrunkConfig.read(planned, "gpu").graph_file
    trunk = TrunkMemory(graph, "cuda", Processor(1, 0), 8192)
    step = trunk.reserved_bytes(tokens + 1024, "kNextPowerOfTwo", gives_back=False)
    step += sizes["behind the trunk"] * 1024 // tokens - sizes["a batch in the trunk"]

    assert sum(sizes.values()) == content["used_bytes"]
    assert content["used_bytes"] <= content["memory_bytes"] == 4500 * 2**20
    assert 8192 <= tokens < 32_768
    assert content["memory_bytes"] - content["used_bytes"] < step


def test_more_memory_makes_batches_no_larger_than_is_of_use(planned):
    small, large = (
        settings(planned_as_json(planned, "--gpu-memory", size)) for size in ("4500MiB", "80GiB")
    )

    assert int(small["max_batch_tokens"]) < int(large["max_batch_tokens"]) == 32_768
    assert int(small["BGEM3_MAX_REQUEST_TOKENS"]) == int(small["max_batch_tokens"])
    assert "BGEM3_MAX_REQUEST_TOKENS" not in large


def test_gpus_and_instances_multiply_what_is_in_flight(planned):
    one = settings(planned_as_json(planned, "--gpu-memory", "80GiB"))
    four = settings(
        planned_as_json(planned, "--gpu-memory", "80GiB", "--gpus", 2, "--instances", 2)
    )

    assert 4 * int(one["BGEM3_MAX_IN_FLIGHT_TOKENS"]) == int(four["BGEM3_MAX_IN_FLIGHT_TOKENS"])
    assert ("1", "2") == (one["instance_group count"], four["instance_group count"])
    assert ("2", "8") == (one["BGEM3_BULK_PARTS"], four["BGEM3_BULK_PARTS"])


def test_too_little_memory_says_what_would_do(planned):
    with pytest.raises(NotEnoughMemoryError) as error:
        run(planned, "--gpu-memory", "1GiB", "--instances", 2)

    needed = re.search(r"a GPU of (\S+ GiB) or more", str(error.value))
    assert needed
    assert "the weights, with the processes around them, do not fit" in str(error.value)
    assert "--instances 1" in str(error.value)
    enough = parse_size(needed[1]) + 2**24
    assert 0 == run(planned, "--gpu-memory", enough, "--instances", 2).exit_code


def test_a_text_that_does_not_fit_is_told_apart_from_weights_that_do_not(planned):
    with pytest.raises(NotEnoughMemoryError, match="a batch of one text of 8,192 tokens does not"):
        run(planned, "--gpu-memory", "3500MiB")


def test_the_table_explains_each_line(planned):
    output = run(planned, "--gpu-memory", "16GiB").stdout

    for word in ("CUDA contexts", "weights", "behind the trunk", "max_batch_tokens", "16.00 GiB"):
        assert word in output


def test_a_cpu_gets_its_own_plan(planned):
    content = planned_as_json(planned, "--memory", "4GiB")

    assert content["used_bytes"] <= 4 * 2**30
    assert "16384" == settings(content)["BGEM3_MAX_IN_FLIGHT_TOKENS"]


def test_little_memory_on_a_cpu_means_fewer_tokens_in_flight(planned):
    in_flight = int(
        settings(planned_as_json(planned, "--memory", "2000MiB"))["BGEM3_MAX_IN_FLIGHT_TOKENS"]
    )

    assert 8192 <= in_flight < 16_384
    with pytest.raises(NotEnoughMemoryError, match="not enough for texts of 8,192 tokens"):
        run(planned, "--memory", "1GiB")


def test_apply_writes_the_configuration_and_the_library(planned):
    config_file = planned / TRUNK.name / "config.pbtxt"
    before, manifest = config_file.read_text(), (planned / MANIFEST_FILE).read_bytes()
    output = run(planned, "--gpu-memory", "4500MiB", "--instances", 1, "--apply").stdout
    config = TrunkConfig.read(planned, "gpu")
    tokens = int(settings(planned_as_json(planned, "--gpu-memory", "4500MiB"))["max_batch_tokens"])

    assert tokens == config.limits.tokens
    assert (planned / TRUNK.name / LIBRARY_FILE).is_file()
    assert manifest == (planned / MANIFEST_FILE).read_bytes()
    assert "BGEM3_MAX_IN_FLIGHT_TOKENS=" in output
    # Everything else stays, comments too.
    comments = [line for line in before.splitlines() if line.startswith("#")]
    after = config_file.read_text()
    assert comments == [line for line in after.splitlines() if line.startswith("#")]
    assert without_limits(before) == without_limits(after)


def without_limits(text: str) -> str:
    """A configuration without what a plan sets."""
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    config.max_batch_size = 0
    for name in ("max_batch_tokens", "batch_cost"):
        if name in config.parameters:
            del config.parameters[name]
    return str(config)


def test_applying_twice_writes_once(planned):
    run(planned, "--gpu-memory", "16GiB", "--apply")
    config_file = planned / TRUNK.name / "config.pbtxt"
    first = config_file.stat()
    output = run(planned, "--gpu-memory", "16GiB", "--apply").stdout

    assert "nothing to write" in output
    assert first.st_mtime_ns == config_file.stat().st_mtime_ns


def test_without_a_compiler_the_settings_are_written_all_the_same(planned, monkeypatch):
    monkeypatch.setenv("CC", "/nowhere/cc")
    output = run(planned, "--gpu-memory", "16GiB", "--apply").stdout

    assert "the batching library could not be built" in output
    assert TrunkConfig.read(planned, "gpu").limits.tokens == 32_768


def test_a_configuration_of_another_shape_is_left_alone(planned):
    config_file = planned / TRUNK.name / "config.pbtxt"
    changed = config_file.read_text().replace("max_batch_size:", "max_batch_size :")
    config_file.write_text(changed)

    with pytest.raises(PlanError, match="is not as the export wrote it, and is left alone"):
        run(planned, "--gpu-memory", "16GiB", "--apply")
    assert changed == config_file.read_text()


def test_a_hard_linked_configuration_changes_in_one_place(planned, tmp_path):
    config_file = planned / TRUNK.name / "config.pbtxt"
    other = tmp_path / "linked.pbtxt"
    other.hardlink_to(config_file)
    before = other.read_text()
    TrunkConfig.read(planned, "gpu").write(BatchLimits(7, 9999, "tokens"), 3)

    assert before == other.read_text()
    assert BatchLimits(7, 9999, "tokens") == TrunkConfig.read(planned, "gpu").limits


def test_a_budget_that_is_no_number_is_told(planned):
    config_file = planned / TRUNK.name / "config.pbtxt"
    TrunkConfig.read(planned, "gpu").write(BatchLimits(7, 9999, "tokens"), 1)
    config_file.write_text(config_file.read_text().replace('"9999"', '"lots"'))

    with pytest.raises(RepositoryError, match="is 'lots', and must be a number of tokens"):
        run(planned, "--gpu-memory", "16GiB")


def test_one_kind_of_memory_at_a_time(planned):
    result = run(planned, "--gpu-memory", "16GiB", "--memory", "4GiB")

    assert 2 == result.exit_code
    assert "choose one" in result.output


def test_a_size_that_is_none_is_a_mistake_of_the_command_line(planned):
    result = run(planned, "--gpu-memory", "much")

    assert 2 == result.exit_code
    assert "'much' is not a size: write a number and a unit" in result.output


def test_without_a_gpu_to_ask_the_memory_has_to_be_named(planned, monkeypatch):
    import pynvml

    def fail() -> None:
        raise pynvml.NVMLError_DriverNotLoaded

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with pytest.raises(PlanError, match="say how much memory there is: --gpu-memory 16GiB"):
        run(planned)


def test_the_gpus_of_the_machine_are_asked(planned, monkeypatch):
    monkeypatch.setattr(making, "gpu_memories", lambda: [24 * 2**30, 16 * 2**30])
    content = planned_as_json(planned)

    assert 16 * 2**30 == content["memory_bytes"]
    assert content["title"].startswith("2 GPU(s)")


def test_nvml_tells_the_memory_of_each_gpu(monkeypatch):
    import pynvml

    class Memory:
        total = 8 * 2**30

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: Memory)

    assert [8 * 2**30] * 2 == devices.gpu_memories()


def test_a_folder_that_is_no_repository_is_refused(tmp_path):
    with pytest.raises(RepositoryError, match=r"has no manifest\.json"):
        run(tmp_path, "--gpu-memory", "16GiB")


def test_a_tensorrt_plan_cannot_be_planned_for(planned):
    config_file = planned / TRUNK.name / "config.pbtxt"
    graph = TrunkConfig.read(planned, "gpu").graph_file
    config_file.write_text(config_file.read_text().replace(f'"{graph}"', '"model.plan"'))

    with pytest.raises(PlanError, match="only graphs"):
        run(planned, "--gpu-memory", "16GiB")


def test_a_graph_that_is_not_there_is_told(planned):
    newest = Manifest.read(planned).newest
    graph = TrunkConfig.read(planned, "gpu").graph_file
    (planned / TRUNK.name / newest / graph).unlink()

    with pytest.raises(RepositoryError, match="is not there; export again"):
        run(planned, "--gpu-memory", "16GiB")


def test_a_json_plan_tells_what_was_applied(planned: Path):
    content = planned_as_json(planned, "--gpu-memory", "16GiB", "--apply")

    assert any("written to" in line for line in content["applied"])
