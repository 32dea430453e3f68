"""Every configuration of the repository keeps the tensor contract, in every profile."""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    BatchOutput,
    DataType,
    ModelConfig,
    ModelInstanceGroup,
    ModelOutput,
)

from bgem3_backend.contract import (
    COLBERT_HEAD,
    DENSE,
    ENSEMBLE,
    HIDDEN_STATES,
    INPUT_IDS,
    LENGTHS,
    MODELS,
    SPARSE,
    TOKEN_TEXTS,
    TOKENIZER,
    TRUNK,
    Model,
    Tensor,
)
from bgem3_export.manifest import ModelShape
from bgem3_export.templates import render_templates, templates_directory

SHAPES = {
    "bge-m3": ModelShape(
        hidden_size=1024,
        colbert_size=1024,
        vocabulary_size=250002,
        max_length_tokens=8192,
        ignored_token_ids=(0, 1, 2, 3),
        precision="fp16",
    ),
    "small": ModelShape(
        hidden_size=384,
        colbert_size=96,
        vocabulary_size=1000,
        max_length_tokens=510,
        ignored_token_ids=(0, 1, 2, 5),
        precision="fp32",
    ),
}
GPU, CPU = "gpu", "cpu"
STEPS = [model for model in MODELS if model is not ENSEMBLE]
BY_NAME = {model.name: model for model in MODELS}
# The models that run where the profile says, and those that are on the CPU in both.
PLACED = [TRUNK, SPARSE, COLBERT_HEAD]
UNPLACED = [TOKENIZER, TOKEN_TEXTS]


@dataclass(frozen=True)
class Repository:
    """A rendered repository, and what it was rendered with."""

    directory: Path
    shape: ModelShape

    def config(self, model: Model, profile: str) -> ModelConfig:
        """Read a configuration as Triton does: the profile's, or else the default one."""
        folder = self.directory / model.name
        path = folder / "configs" / f"{profile}.pbtxt"
        text = (path if path.is_file() else folder / "config.pbtxt").read_text(encoding="utf-8")
        return text_format.Parse(text, ModelConfig())


@pytest.fixture(scope="module", params=SHAPES)
def repository(request, tmp_path_factory) -> Repository:
    """The templates, rendered."""
    directory = tmp_path_factory.mktemp(request.param)
    render_templates(SHAPES[request.param], directory, "3")
    return Repository(directory, SHAPES[request.param])


def described(tensor: Tensor, shape: ModelShape) -> tuple[str, str, list[int]]:
    """Return name, type and dims as a configuration must have them."""
    hidden = {"fp16": "FP16", "fp32": "FP32"}[shape.precision]
    datatype = hidden if tensor.datatype == "HIDDEN" else tensor.datatype
    sizes = {"H": shape.hidden_size, "D": shape.colbert_size}
    return tensor.name, f"TYPE_{datatype}", [sizes.get(dim, -1) for dim in tensor.dims]


def found(tensors) -> list[tuple[str, str, list[int]]]:
    """Return name, type and dims as a configuration has them."""
    return [(item.name, DataType.Name(item.data_type), list(item.dims)) for item in tensors]


def parameters(config: ModelConfig) -> dict[str, str]:
    """Return the parameters of a configuration."""
    return {name: value.string_value for name, value in config.parameters.items()}


def without(config: ModelConfig, *fields: str) -> ModelConfig:
    """Return a copy that lacks some fields."""
    copy = ModelConfig()
    copy.CopyFrom(config)
    for name in fields:
        copy.ClearField(name)
    return copy


def test_every_template_belongs_to_a_model_and_a_profile():
    """What these tests do not look at is not there."""
    templates = templates_directory()
    configs = {str(path.relative_to(templates)) for path in templates.rglob("*.pbtxt")}

    assert {f"{model.name}/config.pbtxt" for model in MODELS} | {
        f"{model.name}/configs/cpu.pbtxt" for model in PLACED
    } == configs


def test_no_placeholder_is_left(repository):
    """Rendered files hold none; the shape fills them all."""
    rendered = [path.read_text(encoding="utf-8") for path in repository.directory.rglob("*.pbtxt")]

    assert len(MODELS) + len(PLACED) == len(rendered)
    assert not any("$" in text for text in rendered)


@pytest.mark.parametrize("profile", [GPU, CPU])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_names_types_and_dims_are_the_contracts(repository, model, profile):
    """Inputs and outputs, in the contract's order."""
    config = repository.config(model, profile)

    assert model.name == config.name
    assert [described(tensor, repository.shape) for tensor in model.inputs] == found(config.input)
    assert [described(tensor, repository.shape) for tensor in model.outputs] == found(config.output)


@pytest.mark.parametrize("profile", [GPU, CPU])
@pytest.mark.parametrize("model", STEPS, ids=lambda model: model.name)
def test_steps_batch_ragged_requests(repository, model, profile):
    """Without the two, requests of unlike lengths are never computed together."""
    config = repository.config(model, profile)

    assert all(tensor.allow_ragged_batch for tensor in config.input)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert config.max_batch_size > 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_no_input_is_optional_and_no_output_reshaped(repository, model):
    """Ragged batching refuses the one, and the other changes what the contract says."""
    for profile in (GPU, CPU):
        config = repository.config(model, profile)

        assert not any(tensor.optional for tensor in config.input)
        assert not any(tensor.HasField("reshape") for tensor in (*config.input, *config.output))


def test_the_gpu_trunk_gives_each_request_its_own_rows(repository):
    """A wrong source silently hands out a neighbour's rows: dense by texts, states by tokens."""
    config = repository.config(TRUNK, GPU)
    scattered = [
        (list(entry.target_name), BatchOutput.Kind.Name(entry.kind), list(entry.source_input))
        for entry in config.batch_output
    ]

    assert [
        ([DENSE.name], "BATCH_SCATTER_WITH_INPUT_SHAPE", [LENGTHS.name]),
        ([HIDDEN_STATES.name], "BATCH_SCATTER_WITH_INPUT_SHAPE", [INPUT_IDS.name]),
    ] == scattered
    for (target, _, source), tensor in zip(scattered, TRUNK.outputs, strict=True):
        assert TRUNK.output(target[0]).dims[0] == TRUNK.input(source[0]).dims[0] == tensor.dims[0]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_nobody_else_scatters(repository, model):
    """Python models answer each request themselves."""
    for profile in (GPU, CPU):
        if (model, profile) != (TRUNK, GPU):
            assert not repository.config(model, profile).batch_output


@pytest.mark.parametrize(
    ("model", "profile", "backend"),
    [(TRUNK, GPU, "onnxruntime")]
    + [(TRUNK, CPU, "python")]
    + [(model, profile, "python") for model in STEPS for profile in (GPU, CPU) if model != TRUNK],
    ids=lambda value: value.name if isinstance(value, Model) else value,
)
def test_the_engine_of_each_profile(repository, model, profile, backend):
    """ONNX Runtime's backend for the trunk on GPUs; Python models everywhere else."""
    config = repository.config(model, profile)

    assert backend == config.backend
    assert not config.platform
    assert ("model.onnx" if backend == "onnxruntime" else "") == config.default_model_filename


@pytest.mark.parametrize(
    ("model", "profile", "kind"),
    [(model, GPU, "KIND_GPU") for model in PLACED]
    + [(model, CPU, "KIND_CPU") for model in PLACED]
    + [(model, profile, "KIND_CPU") for model in UNPLACED for profile in (GPU, CPU)],
    ids=lambda value: value.name if isinstance(value, Model) else value,
)
def test_one_instance_where_the_profile_says(repository, model, profile, kind):
    """The count is said: Triton's own default is two on a CPU. No GPU is named: all are used."""
    (group,) = repository.config(model, profile).instance_group

    assert kind == ModelInstanceGroup.Kind.Name(group.kind)
    assert 1 == group.count
    assert not group.gpus


@pytest.mark.parametrize("model", [SPARSE, COLBERT_HEAD], ids=lambda model: model.name)
def test_heads_take_the_hidden_states_where_they_are(repository, model):
    """On GPUs Triton copies them to the host unless it is told not to."""
    key = "FORCE_CPU_ONLY_INPUT_TENSORS"

    assert "no" == parameters(repository.config(model, GPU))[key]
    assert key not in parameters(repository.config(model, CPU))


def test_the_gpu_trunk_keeps_little_memory(repository):
    """The arena grows by what is asked for, holds no weights, and names no single device."""
    config = repository.config(TRUNK, GPU)
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator

    assert "cuda" == cuda.name
    assert {"arena_extend_strategy": "kSameAsRequested"} == dict(cuda.parameters)
    assert {"session.use_device_allocator_for_initializers": "1"} == parameters(config)


@pytest.mark.parametrize("profile", [GPU, CPU])
def test_models_are_told_the_shape(repository, profile):
    """What a Python model reads in ``initialize`` is there, and is this checkpoint's."""
    shape = repository.shape
    limit = {"max_length_tokens": str(shape.max_length_tokens)}
    vocabulary = {"vocabulary_size": str(shape.vocabulary_size)}
    ignored = {"ignored_token_ids": ",".join(map(str, shape.ignored_token_ids))}
    expected = {
        TOKENIZER: limit,
        SPARSE: limit | vocabulary | ignored,
        COLBERT_HEAD: limit,
    } | ({TRUNK: limit | vocabulary} if profile == CPU else {})
    for model, told in expected.items():
        assert told.items() <= parameters(repository.config(model, profile)).items()


@pytest.mark.parametrize("model", PLACED, ids=lambda model: model.name)
def test_profiles_differ_only_in_how_a_model_is_run(repository, model):
    """Engine, place, scattering and parameters; nothing that a client could notice."""
    how = (
        "backend",
        "default_model_filename",
        "max_batch_size",
        "instance_group",
        "batch_output",
        "optimization",
        "parameters",
    )

    assert without(repository.config(model, GPU), *how) == without(
        repository.config(model, CPU), *how
    )


def test_the_ensemble_connects_what_exists(repository):
    """Each map names a model's tensor, and tensors that meet have one type and one shape."""
    ensemble = repository.config(ENSEMBLE, GPU)
    tensors = {tensor.name: tensor for tensor in ENSEMBLE.inputs}
    for step in ensemble.ensemble_scheduling.step:
        for key, name in step.output_map.items():
            tensors[name] = BY_NAME[step.model_name].output(key)

    def kind(tensor: Tensor) -> tuple[object, ...]:
        return tensor.datatype, tensor.dims

    for step in ensemble.ensemble_scheduling.step:
        model = BY_NAME[step.model_name]
        assert {tensor.name for tensor in model.inputs} == set(step.input_map)
        for key, name in step.input_map.items():
            assert kind(model.input(key)) == kind(tensors[name]), (step.model_name, key)
    for tensor in ENSEMBLE.outputs:
        assert kind(tensor) == kind(tensors[tensor.name])


def test_each_tensor_of_the_ensemble_has_one_producer(repository):
    """Every public output, and everything that a step takes, is made exactly once."""
    ensemble = repository.config(ENSEMBLE, GPU)
    steps = ensemble.ensemble_scheduling.step
    produced = Counter(name for step in steps for name in step.output_map.values())
    produced.update(tensor.name for tensor in ENSEMBLE.inputs)
    needed = {tensor.name for tensor in ENSEMBLE.outputs}
    needed |= {name for step in steps for name in step.input_map.values()}

    assert dict.fromkeys(needed, 1) == dict(produced)


def test_no_public_output_is_another_steps_input(repository):
    """Triton answers some subsets of such outputs with "unexpected deadlock"."""
    ensemble = repository.config(ENSEMBLE, GPU)
    consumed = {
        name for step in ensemble.ensemble_scheduling.step for name in step.input_map.values()
    }

    assert set() == consumed & {tensor.name for tensor in ENSEMBLE.outputs}


def test_only_one_step_takes_the_text(repository):
    """What it refuses reaches no other: Triton 24.10 never ends what two steps refuse at once."""
    ensemble = repository.config(ENSEMBLE, GPU)
    public = {tensor.name for tensor in ENSEMBLE.inputs}

    assert [TOKENIZER.name] == [
        step.model_name
        for step in ensemble.ensemble_scheduling.step
        if public & set(step.input_map.values())
    ]


def test_the_ensemble_serves_the_newest_version_of_each_step(repository):
    """Versions roll over and back together, by the repository."""
    ensemble = repository.config(ENSEMBLE, GPU)

    assert "ensemble" == ensemble.platform
    assert [-1] * 7 == [step.model_version for step in ensemble.ensemble_scheduling.step]
    assert {model.name for model in STEPS} == {
        step.model_name for step in ensemble.ensemble_scheduling.step
    }


def test_dense_alone_runs_no_head(repository):
    """The steps that a set of outputs needs: this is what makes the outputs the mode."""
    steps = list(repository.config(ENSEMBLE, GPU).ensemble_scheduling.step)

    def needed(*outputs: str) -> Counter[str]:
        wanted, models = set(outputs), Counter()
        # Steps are written in the order of the flow, so one pass from the end finds them all.
        for step in reversed(steps):
            if wanted & set(step.output_map.values()):
                models[step.model_name] += 1
                wanted |= set(step.input_map.values())
        return models

    encoder = [TOKENIZER.name, TRUNK.name]

    assert Counter([TOKENIZER.name]) == needed("token_lengths")
    assert Counter([TOKENIZER.name, TOKEN_TEXTS.name]) == needed("token_ids", "tokens")
    assert Counter(encoder) == needed("dense", "token_lengths", "full_token_lengths")
    assert Counter([*encoder, SPARSE.name]) == needed(
        "sparse_indices", "sparse_values", "sparse_lengths"
    )
    assert Counter([*encoder, COLBERT_HEAD.name]) == needed("colbert", "colbert_lengths")
    assert Counter([*encoder, COLBERT_HEAD.name]) == needed("colbert_fp16")
    assert Counter([*encoder, COLBERT_HEAD.name]) == needed("token_states")


def test_outputs_have_triton_defaults_otherwise(repository):
    """No label file and no shape tensor has crept in."""
    for model in MODELS:
        for profile in (GPU, CPU):
            for output in repository.config(model, profile).output:
                expected = ModelOutput(
                    name=output.name, data_type=output.data_type, dims=output.dims
                )

                assert expected == output


@pytest.mark.parametrize("model", STEPS, ids=lambda model: model.name)
def test_model_files_only_import(repository, model):
    """A version holds one thin file that names an existing class."""
    path = repository.directory / model.name / "3" / "model.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body

    assert [path] == [file for file in path.parent.rglob("*") if file.is_file()]
    assert [ast.Expr, ast.ImportFrom, ast.Assign] == [type(statement) for statement in body]
    statement = body[1]
    assert isinstance(statement, ast.ImportFrom)
    assert ["TritonPythonModel"] == [alias.name for alias in statement.names]

    # Read, not imported: Triton's own module exists only inside its model processes.
    spec = importlib.util.find_spec("bgem3_backend.models")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package, module = str(statement.module).rsplit(".", 1)
    assert "bgem3_backend.models" == package
    source = Path(spec.submodule_search_locations[0]) / f"{module}.py"
    (implementation,) = [
        node
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "TritonPythonModel"
    ]
    bases = [base.id for base in implementation.bases if isinstance(base, ast.Name)]
    methods = {node.name for node in implementation.body if isinstance(node, ast.FunctionDef)}
    assert bases == ["HeadModel"] or {"initialize", "execute"} <= methods


def test_each_model_has_its_own_class():
    """No two folders name the same module."""
    modules = {
        path.parent.parent.name: ast.parse(path.read_text(encoding="utf-8")).body[1].module
        for path in templates_directory().rglob("model.py")
    }

    assert {
        TOKENIZER.name: "bgem3_backend.models.tokenizer",
        TOKEN_TEXTS.name: "bgem3_backend.models.token_texts",
        TRUNK.name: "bgem3_backend.models.cpu_trunk",
        SPARSE.name: "bgem3_backend.models.sparse",
        COLBERT_HEAD.name: "bgem3_backend.models.colbert",
    } == modules


def test_every_model_has_the_version_and_no_other(repository):
    """The ensemble too, which has nothing to put in it."""
    for model in MODELS:
        folders = [path.name for path in (repository.directory / model.name).iterdir()]

        assert ["3"] == [name for name in folders if name.isdigit()]


def test_rendering_again_replaces_configurations_and_adds_a_version(tmp_path):
    """A link to the old configuration, in a published repository, keeps its content."""
    render_templates(SHAPES["small"], tmp_path, "1")
    config = tmp_path / TRUNK.name / "config.pbtxt"
    old = config.read_text(encoding="utf-8")
    link = tmp_path / "link"
    link.hardlink_to(config)
    render_templates(SHAPES["bge-m3"], tmp_path, "2")

    assert old == link.read_text(encoding="utf-8")
    assert old != config.read_text(encoding="utf-8")
    assert {"1", "2"} <= {path.name for path in (tmp_path / TRUNK.name).iterdir()}
