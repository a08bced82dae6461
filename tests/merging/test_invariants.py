"""What holds for every data-free method, whatever its rule."""

import pytest
import torch

from fda.checkpoints.treatments import is_linear, is_matrix
from fda.merging.merge import merge
from fda.merging.registry import METHODS
from tests.support.states import DATA_FREE, QUICK, RANDOM, SHAPES, STILL, assert_close, floats, random_states, run


def tasks_for(name):
    return 2 if name == "slerp" else 3


def copies(state):
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("name", DATA_FREE)
def test_every_floating_tensor_is_yielded_once_in_order_and_finite(name):
    base, finetuned = random_states(tasks_for(name))
    merged = list(METHODS[name].merge(base, finetuned, **QUICK.get(name, {})))
    assert [key for key, _ in merged] == [key for key, (_, dtype) in SHAPES.items() if dtype.is_floating_point]
    for key, tensor in merged:
        assert tensor.dtype == torch.float32 and tensor.isfinite().all(), key


@pytest.mark.parametrize("name", DATA_FREE)
def test_inputs_are_not_changed(name):
    base, finetuned = random_states(tasks_for(name))
    before = [copies(state) for state in (base, *finetuned)]
    merge(METHODS[name], base, finetuned, **QUICK.get(name, {}))
    for state, copy in zip((base, *finetuned), before, strict=True):
        assert all(torch.equal(state[key], copy[key]) for key in copy)


@pytest.mark.parametrize("name", DATA_FREE)
def test_without_task_vectors_nothing_changes(name):
    base, _ = random_states(1)
    merged = merge(METHODS[name], base, [copies(base) for _ in range(tasks_for(name))], **QUICK.get(name, {}))
    for key, tensor in base.items():
        assert torch.equal(merged[key], tensor), key


@pytest.mark.parametrize("name", DATA_FREE)
def test_a_tensor_that_no_task_moved_stays(name):
    base, finetuned = random_states(tasks_for(name))
    assert torch.equal(run(name, base, finetuned)[STILL], base[STILL])


@pytest.mark.parametrize("name", [name for name in DATA_FREE if name not in RANDOM])
def test_the_order_of_the_tasks_does_not_matter(name):
    base, finetuned = random_states(tasks_for(name), partly_still=False)
    merged = run(name, base, finetuned)
    for order in ((1, 2, 0), (2, 1, 0)) if tasks_for(name) == 3 else ((1, 0),):
        assert_close(run(name, base, [finetuned[task] for task in order]), merged, base)


@pytest.mark.parametrize("name", DATA_FREE)
def test_the_order_of_the_tensors_does_not_matter(name):
    base, finetuned = random_states(tasks_for(name))
    backwards = [dict(reversed(state.items())) for state in (base, *finetuned)]
    merged, again = run(name, base, finetuned), run(name, backwards[0], backwards[1:])
    assert all(torch.equal(merged[key], again[key]) for key in merged)


@pytest.mark.parametrize("name", RANDOM)
def test_the_seed_decides_the_bytes(name):
    base, finetuned = random_states(3)
    torch.manual_seed(1)
    first = run(name, base, finetuned, seed=5)
    torch.manual_seed(2)
    again, other = run(name, base, finetuned, seed=5), run(name, base, finetuned, seed=6)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


ONE_TASK = {
    "average": {},
    "ta": {"scale": 1.0},
    "sum": {},
    "ties": {"density": 1.0},
    "dare": {"rate": 0.0, "scale": 1.0},
    "dare_ties": {"rate": 0.0, "density": 1.0},
    "della": {"density": 1.0, "scale": 1.0},
    "breadcrumbs": {"density": 1.0, "outliers": 0.0, "scale": 1.0},
    "magmax": {"scale": 1.0},
    "consensus_ta": {"used_by": 1, "scale": 1.0},
    "tsv": {},
}


@pytest.mark.parametrize("name", ONE_TASK)
def test_of_one_task_nothing_is_lost(name):
    base, finetuned = random_states(1)
    assert_close(run(name, base, finetuned, **ONE_TASK[name]), floats(finetuned[0]), base)


def test_wudi_of_one_task_is_the_task_on_its_linear_weights():
    base, finetuned = random_states(1)
    merged = run("wudi", base, finetuned)
    linear = [name for name in merged if is_linear(name, base[name])]
    assert len(linear) == 7
    assert_close({n: merged[n] for n in linear}, {n: finetuned[0][n] for n in linear}, {n: base[n] for n in linear})


def test_iso_c_of_one_task_keeps_its_singular_vectors():
    base, finetuned = random_states(1)
    merged = run("iso_c", base, finetuned)
    for name, theta0 in floats(base).items():
        if is_matrix(name, theta0) and name != STILL:
            tau, update = finetuned[0][name].double() - theta0.double(), merged[name].double() - theta0.double()
            left, values, right = torch.linalg.svd(tau, full_matrices=False)
            assert torch.allclose(left.T @ update @ right.T, torch.eye(len(values)).double() * values.mean(), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("average", {}),
        ("ties", {"density": 1.0}),
        ("della", {"density": 1.0, "scale": 1.0}),
        ("magmax", {"scale": 1.0}),
        ("model_stock", {}),
        ("slerp", {}),
    ],
)
def test_identical_experts_give_the_expert(name, hyperparameters):
    base, (expert,) = random_states(1)
    merged = run(name, base, [copies(expert) for _ in range(tasks_for(name))], **hyperparameters)
    assert_close(merged, floats(expert), base)
