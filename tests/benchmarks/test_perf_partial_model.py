"""Parts of the ensemble, made from the template that is exported."""

from collections import defaultdict
from pathlib import Path
from string import Template

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.text_format import Parse
from tritonclient.grpc.model_config_pb2 import ModelConfig

from bgem3_bench.perf.errors import PartialModelError
from bgem3_bench.perf.partial_model import with_outputs

TEMPLATE = Path(__file__).parents[2] / "model_repository" / "bge_m3" / "config.pbtxt"


@pytest.fixture(scope="module")
def ensemble():
    """The ensemble's configuration, as a server gives it."""
    values = defaultdict(str, hidden_size="8", colbert_size="8")
    text = Template(TEMPLATE.read_text("utf-8")).substitute(values)
    return MessageToDict(Parse(text, ModelConfig()), preserving_proto_field_name=True)


@pytest.mark.parametrize(
    ("outputs", "steps"),
    [
        ({"dense"}, ["tokenizer", "trunk"]),
        ({"dense", "token_lengths"}, ["tokenizer", "trunk"]),
        ({"sparse_values"}, ["tokenizer", "trunk", "sparse"]),
        ({"dense", "colbert"}, ["tokenizer", "trunk", "colbert"]),
        ({"tokens"}, ["tokenizer", "token_texts"]),
    ],
)
def test_the_steps_are_those_that_triton_would_run(ensemble, outputs, steps):
    """For a request that asks the whole ensemble for these outputs."""
    part = with_outputs(ensemble, outputs)

    assert outputs == {output["name"] for output in part["output"]}
    assert [f"bge_m3_{step}" for step in steps] == [
        step["model_name"] for step in part["ensemble_scheduling"]["step"]
    ]


def test_nothing_is_made_that_nobody_takes(ensemble):
    """Triton refuses an ensemble with such a tensor."""
    part = with_outputs(ensemble, {"dense"})

    steps = part["ensemble_scheduling"]["step"]
    made = {tensor for step in steps for tensor in step["output_map"].values()}
    taken = {tensor for step in steps for tensor in step["input_map"].values()}
    assert {"dense"} == made - taken
    assert "_hidden_states" not in made


def test_the_whole_stays_the_whole(ensemble):
    """And the original is not touched by making a part."""
    everything = {output["name"] for output in ensemble["output"]}
    with_outputs(ensemble, {"dense"})

    assert ensemble == with_outputs(ensemble, everything)


def test_what_has_no_such_part_is_refused(ensemble):
    """Another output, or a model that is no ensemble."""
    plain = {"name": "plain", "output": [{"name": "dense"}]}

    with pytest.raises(PartialModelError, match="no output 'depth'"):
        with_outputs(ensemble, {"dense", "depth"})
    with pytest.raises(PartialModelError, match="'plain' is no ensemble"):
        with_outputs(plain, {"dense"})
