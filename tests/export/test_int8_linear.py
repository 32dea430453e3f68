"""A linear layer in INT8 stays near the same in FP32, whatever stands out in its inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bgem3_export.int8.calibration import InputStatistics
from bgem3_export.int8.quantized_linear import QuantizedLinear, quantize_linear

INPUTS, OUTPUTS, TOKENS = 384, 96, 200
OUTLIERS = [3, 77, 200]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Activations as a trunk has them: some inputs are far larger than all others."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((TOKENS, INPUTS)).astype(np.float32) + 0.3
    rows[:, OUTLIERS] *= 60
    return rows


@pytest.fixture(scope="module")
def weight() -> np.ndarray:
    """Weights of a linear layer, [K, N]."""
    return np.random.default_rng(1).standard_normal((INPUTS, OUTPUTS)).astype(np.float32) / 20


@pytest.fixture(scope="module")
def bias() -> np.ndarray:
    """Its bias, [N]."""
    return np.random.default_rng(2).standard_normal(OUTPUTS).astype(np.float32)


@pytest.fixture(scope="module")
def layer(rows, weight, bias) -> QuantizedLinear:
    """The same in INT8."""
    return quantize_linear(weight, bias, statistics(rows))


def statistics(rows: np.ndarray) -> InputStatistics:
    """Return what calibration would find in these rows."""
    return InputStatistics(mean=rows.mean(axis=0), largest=np.abs(rows).max(axis=0))


def computed(layer: QuantizedLinear, rows: np.ndarray) -> np.ndarray:
    """Return what the layer gives."""
    return layer(torch.from_numpy(rows)).numpy()


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the size of the difference by the size of what is expected."""
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def test_outliers_do_not_cost_accuracy(layer, rows, weight, bias):
    """They are multiplied in FP32, and the others are as fine as without them."""
    ordinary = np.delete(rows, OUTLIERS, axis=1) @ np.delete(weight, OUTLIERS, axis=0)
    error = computed(layer, rows) - (rows @ weight + bias)

    assert set(OUTLIERS) <= set(layer.kept)
    assert 0.012 > float(np.linalg.norm(error) / np.linalg.norm(ordinary))


def test_few_inputs_are_kept_in_fp32(layer):
    """They cost several times as much."""
    assert 32 == layer.kept.size
    assert 0 == np.count_nonzero(layer.smoothing[layer.kept])
    assert 0 == np.count_nonzero(layer.weight[layer.kept])


def test_no_output_is_shifted(layer, rows, weight, bias):
    """Rounding errors of the weights do not add up in the mean over tokens."""
    error = computed(layer, rows) - (rows @ weight + bias)

    assert 0.1 * error.std() > np.abs(error.mean(axis=0)).mean()


def test_a_token_does_not_depend_on_its_neighbours(layer, rows):
    """It is scaled by its own range."""
    larger_neighbours = rows * 100
    larger_neighbours[7] = rows[7]
    together = computed(layer, larger_neighbours)[7]

    np.testing.assert_allclose(together, computed(layer, rows[7:8])[0], rtol=1e-5, atol=1e-5)


def test_a_token_of_equal_activations_is_finite(layer, weight, bias):
    """Its range is 0."""
    rows = np.zeros((1, INPUTS), np.float32)
    actual = computed(layer, rows)

    assert 0.1 > relative_error(actual, bias[None])


def test_a_layer_without_weights_gives_its_bias(bias):
    """As a pruned one has."""
    rows = np.random.default_rng(3).standard_normal((5, INPUTS)).astype(np.float32)
    weight = np.zeros((INPUTS, OUTPUTS), np.float32)
    actual = computed(quantize_linear(weight, bias, statistics(rows)), rows)

    np.testing.assert_allclose(actual, np.tile(bias, (5, 1)))


def test_an_input_that_calibration_did_not_see_does_no_harm(rows, weight, bias):
    """One that was next to 0 in all calibration texts may be as large as any in another."""
    unseen = rows.copy()
    unseen[:, 10] *= 1e-6
    layer = quantize_linear(weight, bias, statistics(unseen))
    ordinary = np.delete(rows, OUTLIERS, axis=1) @ np.delete(weight, OUTLIERS, axis=0)
    error = computed(layer, rows) - (rows @ weight + bias)

    assert 0.03 > float(np.linalg.norm(error) / np.linalg.norm(ordinary))
