"""A swept coefficient: one merge must give what a merge at each value gives."""

import pytest
import torch

from fda.checkpoints.weights import Checkpoint
from fda.merging.merge import merge
from fda.merging.registry import METHODS
from fda.merging.sweep import Scaled, unit_update_to_file
from tests.support.states import assert_close, floats, random_states

SWEPT = [m.name for m in METHODS.values() if m.coefficient is not None and not m.swept]


def test_the_methods_with_a_coefficient_are_swept():
    assert {"ta", "ties", "dare", "dare_ties", "breadcrumbs", "della", "magmax", "consensus_ta"} <= set(SWEPT)
    assert {"tsv", "iso_c", "iso_cts"} <= set(SWEPT)
    for name in SWEPT:
        variant = METHODS[f"{name}:swept"]
        assert variant.swept and variant.merge is METHODS[name].merge and variant.defaults == METHODS[name].defaults


@pytest.mark.parametrize("name", SWEPT)
def test_the_values_are_in_range_in_order_and_near_the_authors_value(name):
    coefficient = METHODS[name].coefficient
    values = coefficient.sweep
    assert list(values) == sorted(set(values))
    assert coefficient.low <= values[0] and values[-1] <= coefficient.high and coefficient.low <= 1 <= coefficient.high
    assert values[0] <= coefficient.default <= values[-1]


@pytest.mark.parametrize("name", SWEPT)
@pytest.mark.parametrize("value", [0.15, 0.9])
def test_one_merge_serves_all_values(name, value, tmp_path):
    base, finetuned = random_states(3)
    coefficient = METHODS[name].coefficient.name
    unit_update_to_file(METHODS[name], base, finetuned, tmp_path / "update.safetensors")
    scaled = dict(Scaled(base, Checkpoint(tmp_path / "update.safetensors"), value))
    merged = merge(METHODS[name], base, finetuned, **{coefficient: value})
    assert list(scaled) == list(merged)
    assert all(scaled[key].dtype == tensor.dtype for key, tensor in merged.items())
    assert_close(
        {key: tensor.float() for key, tensor in floats(scaled).items()}, floats(merged), base, tolerance=2e-3
    )  # the half-precision tensors are rounded
    exact = [key for key, tensor in base.items() if tensor.dtype == torch.float32]
    assert_close({k: scaled[k] for k in exact}, {k: merged[k] for k in exact}, {k: base[k] for k in exact})
    assert all(torch.equal(scaled[key], base[key]) for key, tensor in base.items() if not tensor.is_floating_point())


def test_other_hyperparameters_reach_the_merge(tmp_path):
    base, finetuned = random_states(3)
    unit_update_to_file(METHODS["ties"], base, finetuned, tmp_path / "update.safetensors", density=1.0)
    scaled = dict(Scaled(base, Checkpoint(tmp_path / "update.safetensors"), 0.5))
    merged = merge(METHODS["ties"], base, finetuned, density=1.0, scale=0.5)
    exact = [key for key, tensor in base.items() if tensor.dtype == torch.float32]
    assert_close({k: scaled[k] for k in exact}, {k: merged[k] for k in exact}, {k: base[k] for k in exact})
