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
    BatchInput,
    BatchOutput,
    DataType,
    ModelConfig,
    ModelInstanceGroup,
    ModelOutput,
)

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    COLBERT_HEAD,
    COLBERT_LENGTHS,
    COLBERT_ROWS,
    COLUMNS,
    DENSE,
    ENSEMBLE,
    HIDDEN_STATES,
    INPUT_IDS,
    LENGTHS,
    LONGEST,
    MODELS,
    MODELS_WITH_HEADS,
    SPARSE,
    SPARSE_MERGE,
    TOKEN_STATES,
    TOKEN_TEXTS,
    TOKEN_WEIGHTS,
    TOKENIZER,
    TRUNK,
    TRUNK_WITH_HEADS,
    Model,
    Tensor,
)
from bgem3_export.manifest import ModelShape
from bgem3_export.templates import render_templates, templates_directory
from bgem3_export.tensorrt.length_mix import batch_shapes
from bgem3_export.trunk_graph import (
    CUDA_GRAPH_FILE,
    CUDA_HEADS_GRAPH_FILE,
    HEADS_GRAPH_FILE,
    PLAN_FILE,
    TENSORRT_GRAPH_FILE,
)

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
GPU, CPU, TENSORRT, PLAN = "gpu", "cpu", "tensorrt", "tensorrt_plan"
GPU_HEADS, CPU_HEADS = "gpu_heads", "cpu_heads"
FOR_TENSORRT = [TENSORRT, PLAN]
WITH_HEADS = [GPU_HEADS, CPU_HEADS]
ON_GPUS = [GPU, *FOR_TENSORRT]
PROFILES = [*ON_GPUS, CPU, *WITH_HEADS]
# What a profile loads.
LOADED = {profile: MODELS_WITH_HEADS if profile in WITH_HEADS else MODELS for profile in PROFILES}
CASES = [(model, profile) for profile, models in LOADED.items() for model in models]
STEPS = [model for model in MODELS if model is not ENSEMBLE]
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


def inputs(model: Model, profile: str) -> tuple[Tensor, ...]:
    """Return what a model takes: the trunk also what Triton or TensorRT measure by."""
    if model is TRUNK and profile in FOR_TENSORRT:
        return (*model.inputs, COLUMNS)
    if model is TRUNK_WITH_HEADS and profile == GPU_HEADS:
        return (*model.inputs, COLBERT_ROWS)
    return model.inputs


def identified(value: object) -> str | None:
    """Return what a test's parameter is called."""
    return value.name if isinstance(value, Model) else None


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
    } | {f"{TRUNK.name}/configs/{profile}.pbtxt" for profile in (*FOR_TENSORRT, *WITH_HEADS)} | {
        f"{model.name}/configs/heads.pbtxt" for model in (ENSEMBLE, SPARSE)
    } == configs


def test_no_placeholder_is_left(repository):
    """Rendered files hold none; the shape fills them all."""
    rendered = [path.read_text(encoding="utf-8") for path in repository.directory.rglob("*.pbtxt")]

    assert len(MODELS) + len(PLACED) + 3 * len(FOR_TENSORRT) + 3 * len(WITH_HEADS) == len(rendered)
    assert not any("$" in text for text in rendered)


@pytest.mark.parametrize(("model", "profile"), CASES, ids=identified)
def test_names_types_and_dims_are_the_contracts(repository, model, profile):
    """Inputs and outputs, in the contract's order."""
    config = repository.config(model, profile)

    assert model.name == config.name
    assert [described(tensor, repository.shape) for tensor in inputs(model, profile)] == found(
        config.input
    )
    assert [described(tensor, repository.shape) for tensor in model.outputs] == found(config.output)


@pytest.mark.parametrize(
    ("model", "profile"), [case for case in CASES if case[0] is not ENSEMBLE], ids=identified
)
def test_steps_batch_ragged_requests(repository, model, profile):
    """Without the two, requests of unlike lengths are never computed together."""
    config = repository.config(model, profile)

    assert all(tensor.allow_ragged_batch for tensor in config.input)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert config.max_batch_size > 1


def test_no_input_is_optional_and_no_output_reshaped(repository):
    """Ragged batching refuses the one, and the other changes what the contract says."""
    for model, profile in CASES:
        config = repository.config(model, profile)

        assert not any(tensor.optional for tensor in config.input)
        assert not any(tensor.HasField("reshape") for tensor in (*config.input, *config.output))


@pytest.mark.parametrize("profile", ON_GPUS)
def test_the_gpu_trunk_gives_each_request_its_own_rows(repository, profile):
    """A wrong source silently hands out a neighbour's rows: dense by texts, states by tokens."""
    config = repository.config(TRUNK, profile)
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


def test_the_gpu_trunk_with_heads_gives_each_request_its_own_rows(repository):
    """Each output by an input that has as many: texts, tokens, and tokens but the first."""
    config = repository.config(TRUNK_WITH_HEADS, GPU_HEADS)
    sources = {}
    for entry in config.batch_output:
        assert "BATCH_SCATTER_WITH_INPUT_SHAPE" == BatchOutput.Kind.Name(entry.kind)
        (target,), (source,) = entry.target_name, entry.source_input
        sources[target] = source
    taken = {tensor.name: tensor for tensor in inputs(TRUNK_WITH_HEADS, GPU_HEADS)}

    assert {
        DENSE.name: LENGTHS.name,
        TOKEN_WEIGHTS.name: INPUT_IDS.name,
        COLBERT.name: COLBERT_ROWS.name,
        COLBERT_FP16.name: COLBERT_ROWS.name,
        COLBERT_LENGTHS.name: LENGTHS.name,
        TOKEN_STATES.name: INPUT_IDS.name,
    } == sources
    for target, source in sources.items():
        assert TRUNK_WITH_HEADS.output(target).dims[0] == taken[source].dims[0]


def test_nobody_else_scatters(repository):
    """Python models answer each request themselves."""
    for model, profile in CASES:
        if model.name != TRUNK.name or profile in (CPU, CPU_HEADS):
            assert not repository.config(model, profile).batch_output


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_triton_tells_tensorrt_the_longest_text(repository, model):
    """By the size of an input that it makes, from the largest one that a request brings."""
    for profile in PROFILES:
        made = [
            (
                BatchInput.Kind.Name(entry.kind),
                list(entry.target_name),
                DataType.Name(entry.data_type),
                list(entry.source_input),
            )
            for entry in repository.config(model, profile).batch_input
        ]
        expected = (
            "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
            [LONGEST.name],
            f"TYPE_{LONGEST.datatype}",
            [COLUMNS.name],
        )

        assert ([expected] if model is TRUNK and profile in FOR_TENSORRT else []) == made


@pytest.mark.parametrize(
    ("model", "profile", "backend", "file"),
    [
        (TRUNK, GPU, "onnxruntime", CUDA_GRAPH_FILE),
        (TRUNK, CPU, "python", ""),
        (TRUNK, TENSORRT, "onnxruntime", TENSORRT_GRAPH_FILE),
        (TRUNK, PLAN, "tensorrt", PLAN_FILE),
        (TRUNK_WITH_HEADS, GPU_HEADS, "onnxruntime", CUDA_HEADS_GRAPH_FILE),
        (TRUNK_WITH_HEADS, CPU_HEADS, "python", ""),
        (SPARSE_MERGE, GPU_HEADS, "python", "merge.py"),
        (SPARSE_MERGE, CPU_HEADS, "python", "merge.py"),
    ]
    + [
        (model, profile, "python", "")
        for model, profile in CASES
        if model not in (ENSEMBLE, TRUNK, TRUNK_WITH_HEADS, SPARSE_MERGE)
    ],
    ids=identified,
)
def test_the_engine_of_each_profile(repository, model, profile, backend, file):
    """Triton's own backends for the trunk on GPUs; Python models everywhere else."""
    config = repository.config(model, profile)

    assert backend == config.backend
    assert not config.platform
    assert file == config.default_model_filename


@pytest.mark.parametrize(
    ("model", "profile", "kind"),
    [(model, profile, "KIND_GPU") for model in PLACED for profile in ON_GPUS]
    + [(model, CPU, "KIND_CPU") for model in PLACED]
    + [(model, profile, "KIND_CPU") for model in UNPLACED for profile in PROFILES]
    # Merging the sparse weights is no work for a GPU.
    + [(SPARSE_MERGE, profile, "KIND_CPU") for profile in WITH_HEADS]
    + [(TRUNK_WITH_HEADS, GPU_HEADS, "KIND_GPU"), (TRUNK_WITH_HEADS, CPU_HEADS, "KIND_CPU")],
    ids=identified,
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
    """The arena grows in few regions, holds no weights, and no single device is named.

    Attention is told to pad nothing, so that the tokens are what a batch costs.
    """
    config = repository.config(TRUNK, GPU)
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator

    assert "cuda" == cuda.name
    assert "kNextPowerOfTwo" == cuda.parameters["arena_extend_strategy"]
    assert "3" == cuda.parameters["sdpa_kernel"]
    assert "tokens" == parameters(config)["batch_cost"]
    assert "1" == parameters(config)["session.use_device_allocator_for_initializers"]
    assert "memory.enable_memory_arena_shrinkage" not in parameters(config)


def test_the_gpu_trunk_is_as_exact_as_its_precision(repository):
    """Layer norms of FP16 sum up in FP32, and FP32 is not rounded to TF32."""
    (cuda,) = repository.config(
        TRUNK, GPU
    ).optimization.execution_accelerators.gpu_execution_accelerator

    assert {
        "arena_extend_strategy": "kNextPowerOfTwo",
        "sdpa_kernel": "3",
        "enable_skip_layer_norm_strict_mode": "1",
        "use_tf32": "0",
    } == dict(cuda.parameters)


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


@pytest.mark.parametrize("profile", WITH_HEADS)
def test_heads_in_the_graph_are_nothing_that_a_client_could_notice(repository, profile):
    """The ensemble differs in its steps alone; the models beside the heads do not differ."""
    assert without(repository.config(ENSEMBLE, GPU), "ensemble_scheduling") == without(
        repository.config(ENSEMBLE, profile), "ensemble_scheduling"
    )
    for model in UNPLACED:
        assert repository.config(model, GPU) == repository.config(model, profile)


def test_models_with_heads_in_the_graph_are_told_the_shape(repository):
    """And the CPU trunk, which graph to take."""
    shape = repository.shape
    common = {
        "max_length_tokens": str(shape.max_length_tokens),
        "vocabulary_size": str(shape.vocabulary_size),
    }
    ignored = ",".join(map(str, shape.ignored_token_ids))
    for profile in WITH_HEADS:
        merge = parameters(repository.config(SPARSE_MERGE, profile))
        assert common | {"ignored_token_ids": ignored} == merge
    trunk = parameters(repository.config(TRUNK_WITH_HEADS, CPU_HEADS))

    assert (common | {"graph_file": HEADS_GRAPH_FILE}).items() <= trunk.items()


def test_the_gpu_trunk_is_run_in_the_same_way_with_heads(repository):
    """It differs in the graph and in what goes in and comes out."""
    what = ("default_model_filename", "input", "output", "batch_output")

    assert without(repository.config(TRUNK, GPU), *what) == without(
        repository.config(TRUNK_WITH_HEADS, GPU_HEADS), *what
    )


@pytest.mark.parametrize("profile", FOR_TENSORRT)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_profiles_for_tensorrt_differ_in_what_it_has_to_be_told(repository, model, profile):
    """Beside the trunk, in one tensor from the tokenizer and in what that lets in."""
    how = {
        ENSEMBLE: ["ensemble_scheduling"],
        TOKENIZER: ["parameters"],
        TRUNK: [
            "backend",
            "batch_input",
            "default_model_filename",
            "input",
            "max_batch_size",
            "optimization",
            "parameters",
        ],
    }.get(model, [])

    assert without(repository.config(model, GPU), *how) == without(
        repository.config(model, profile), *how
    )


@pytest.mark.parametrize("profile", FOR_TENSORRT)
@pytest.mark.parametrize("mix", ["queries", "passages", "documents"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_batch_is_one_that_tensorrt_was_planned_for(tmp_path, shape, mix, profile):
    """The largest requests that the tokenizer lets in, as many as Triton puts together."""
    shape = shape.model_copy(update={"length_mix": mix})
    render_templates(shape, tmp_path, "1")
    repository = Repository(tmp_path, shape)
    told = parameters(repository.config(TOKENIZER, profile))
    requests = repository.config(TRUNK, profile).max_batch_size
    largest = batch_shapes(mix, shape.max_length_tokens)

    assert largest.longest.maximum == int(told["max_length_tokens"])
    assert largest.texts.maximum == int(told["max_texts_per_request"]) * requests
    assert largest.tokens.maximum == int(told["max_request_tokens"]) * requests
    assert largest.inputs[COLUMNS.name].maximum == int(told["max_length_tokens"]) * requests
    assert int(told["max_request_tokens"]) >= int(told["max_length_tokens"])


def test_onnx_runtime_builds_the_engine_that_is_planned(repository):
    """The ranges of every input, and an engine that is kept."""
    first, second = repository.config(
        TRUNK, TENSORRT
    ).optimization.execution_accelerators.gpu_execution_accelerator
    sizes = batch_shapes("passages", repository.shape.max_length_tokens).inputs
    told = dict(first.parameters)

    def ranges(key: str) -> dict[str, int]:
        return {
            name: int(size) for name, size in (part.split(":") for part in told[key].split(","))
        }

    assert ("tensorrt", "cuda") == (first.name, second.name)
    assert repository.shape.precision.upper() == told["precision_mode"]
    assert ("1", "1") == (told["trt_engine_cache_enable"], told["trt_layer_norm_fp32_fallback"])
    assert {name: size.minimum for name, size in sizes.items()} == ranges("trt_profile_min_shapes")
    assert {name: size.usual for name, size in sizes.items()} == ranges("trt_profile_opt_shapes")
    assert {name: size.maximum for name, size in sizes.items()} == ranges("trt_profile_max_shapes")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_ensemble_connects_what_exists(repository, profile):
    """Each map names a model's tensor, and tensors that meet have one type and one shape."""
    ensemble = repository.config(ENSEMBLE, profile)
    models = {model.name: model for model in LOADED[profile]}
    tensors = {tensor.name: tensor for tensor in ENSEMBLE.inputs}
    for step in ensemble.ensemble_scheduling.step:
        for key, name in step.output_map.items():
            tensors[name] = models[step.model_name].output(key)

    def kind(tensor: Tensor) -> tuple[object, ...]:
        return tensor.datatype, tensor.dims

    for step in ensemble.ensemble_scheduling.step:
        taken = {tensor.name: tensor for tensor in inputs(models[step.model_name], profile)}
        assert taken.keys() == set(step.input_map)
        for key, name in step.input_map.items():
            assert kind(taken[key]) == kind(tensors[name]), (step.model_name, key)
    for tensor in ENSEMBLE.outputs:
        assert kind(tensor) == kind(tensors[tensor.name])


@pytest.mark.parametrize("profile", PROFILES)
def test_each_tensor_of_the_ensemble_has_one_producer(repository, profile):
    """Every public output, and everything that a step takes, is made exactly once."""
    ensemble = repository.config(ENSEMBLE, profile)
    steps = ensemble.ensemble_scheduling.step
    produced = Counter(name for step in steps for name in step.output_map.values())
    produced.update(tensor.name for tensor in ENSEMBLE.inputs)
    needed = {tensor.name for tensor in ENSEMBLE.outputs}
    needed |= {name for step in steps for name in step.input_map.values()}

    assert dict.fromkeys(needed, 1) == dict(produced)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_public_output_is_another_steps_input(repository, profile):
    """Triton answers some subsets of such outputs with "unexpected deadlock"."""
    ensemble = repository.config(ENSEMBLE, profile)
    consumed = {
        name for step in ensemble.ensemble_scheduling.step for name in step.input_map.values()
    }

    assert set() == consumed & {tensor.name for tensor in ENSEMBLE.outputs}


@pytest.mark.parametrize("profile", PROFILES)
def test_only_one_step_takes_the_text(repository, profile):
    """What it refuses reaches no other: Triton 24.10 never ends what two steps refuse at once."""
    ensemble = repository.config(ENSEMBLE, profile)
    public = {tensor.name for tensor in ENSEMBLE.inputs}

    assert [TOKENIZER.name] == [
        step.model_name
        for step in ensemble.ensemble_scheduling.step
        if public & set(step.input_map.values())
    ]


@pytest.mark.parametrize(("profile", "steps"), [(GPU, 7), *((heads, 5) for heads in WITH_HEADS)])
def test_the_ensemble_serves_the_newest_version_of_each_step(repository, profile, steps):
    """Versions roll over and back together, by the repository."""
    ensemble = repository.config(ENSEMBLE, profile)

    assert "ensemble" == ensemble.platform
    assert [-1] * steps == [step.model_version for step in ensemble.ensemble_scheduling.step]
    assert {model.name for model in LOADED[profile] if model is not ENSEMBLE} == {
        step.model_name for step in ensemble.ensemble_scheduling.step
    }


def steps_for(repository: Repository, profile: str, *outputs: str) -> Counter[str]:
    """Return how often each model runs for a request of some outputs."""
    wanted, models = set(outputs), Counter()
    # Steps are written in the order of the flow, so one pass from the end finds them all.
    for step in reversed(repository.config(ENSEMBLE, profile).ensemble_scheduling.step):
        if wanted & set(step.output_map.values()):
            models[step.model_name] += 1
            wanted |= set(step.input_map.values())
    return models


@pytest.mark.parametrize("profile", WITH_HEADS)
def test_with_heads_in_the_graph_one_run_gives_all_three_representations(repository, profile):
    """The hidden states, which are rarely asked for, take another."""
    encoder = [TOKENIZER.name, TRUNK.name]

    def needed(*outputs: str) -> Counter[str]:
        return steps_for(repository, profile, *outputs)

    assert Counter([TOKENIZER.name]) == needed("token_lengths")
    assert Counter(encoder) == needed("dense", "colbert", "colbert_fp16", "colbert_lengths")
    assert Counter([*encoder, SPARSE.name]) == needed("dense", "sparse_values", "colbert")
    assert Counter(encoder) == needed("token_states")
    assert Counter([*encoder, TRUNK.name]) == needed("dense", "token_states")


def test_dense_alone_runs_no_head(repository):
    """The steps that a set of outputs needs: this is what makes the outputs the mode."""

    def needed(*outputs: str) -> Counter[str]:
        return steps_for(repository, GPU, *outputs)

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
    for model, profile in CASES:
        for output in repository.config(model, profile).output:
            expected = ModelOutput(name=output.name, data_type=output.data_type, dims=output.dims)

            assert expected == output


def test_a_version_holds_the_file_that_triton_loads(repository):
    """One for each model; the sparse one has another where the heads are in the graph."""
    files = {
        str(path.relative_to(repository.directory))
        for path in repository.directory.rglob("3/**/*")
        if path.is_file()
    }

    assert {f"{model.name}/3/model.py" for model in STEPS} | {f"{SPARSE.name}/3/merge.py"} == files


@pytest.mark.parametrize(
    ("model", "file"),
    [*((model, "model.py") for model in STEPS), (SPARSE_MERGE, "merge.py")],
    ids=identified,
)
def test_model_files_only_import(repository, model, file):
    """Each is thin, and names an existing class."""
    path = repository.directory / model.name / "3" / file
    body = ast.parse(path.read_text(encoding="utf-8")).body

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
    """No two files name the same module."""
    modules = {
        (path.parent.parent.name, path.name): ast.parse(path.read_text(encoding="utf-8"))
        .body[1]
        .module
        for path in templates_directory().rglob("*.py")
    }

    assert {
        (TOKENIZER.name, "model.py"): "bgem3_backend.models.tokenizer",
        (TOKEN_TEXTS.name, "model.py"): "bgem3_backend.models.token_texts",
        (TRUNK.name, "model.py"): "bgem3_backend.models.cpu_trunk",
        (SPARSE.name, "model.py"): "bgem3_backend.models.sparse",
        (SPARSE.name, "merge.py"): "bgem3_backend.models.sparse_merge",
        (COLBERT_HEAD.name, "model.py"): "bgem3_backend.models.colbert",
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
