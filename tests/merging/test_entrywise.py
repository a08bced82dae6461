"""Methods without sparsifying or SVD: average, TA, MagMax, Consensus TA, Model Stock, SLERP."""

import math

import pytest
import torch

from fda.errors import UserError
from tests.support.states import assert_close, flat, floats, gridded_states, random_states, run, task_vectors, unflat

TASKS = (1, 2, 3, 5)


def updated(base, delta, scale):
    """θ0 + scale · delta of a flat vector, as a state dict."""
    return unflat(flat(base) + scale * delta, base)


@pytest.mark.parametrize("tasks", TASKS)
def test_average_is_the_mean_of_the_finetuned_weights(tasks):
    base, finetuned = random_states(tasks)
    mean = torch.stack([flat(state).double() for state in finetuned]).mean(dim=0)
    assert_close(run("average", base, finetuned), unflat(mean, base), base)


@pytest.mark.parametrize("tasks", TASKS)
def test_task_arithmetic_adds_the_scaled_task_vectors(tasks):
    base, finetuned = random_states(tasks)
    delta = task_vectors(base, finetuned).double().sum(dim=0)
    assert_close(run("ta", base, finetuned), updated(base, delta, 0.3), base)
    assert_close(run("ta", base, finetuned, scale=1.7), updated(base, delta, 1.7), base)
    assert_close(run("sum", base, finetuned), updated(base, delta, 1.0), base)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("states", [random_states, gridded_states])
def test_magmax_takes_the_largest_entry_and_the_later_of_equals(tasks, states):
    base, finetuned = states(tasks)
    taus = task_vectors(base, finetuned)
    chosen = taus[0].tolist()
    for tau in taus[1:].tolist():
        chosen = [new if abs(new) >= abs(old) else old for old, new in zip(chosen, tau, strict=True)]
    result = run("magmax", base, finetuned)
    for name, expected in updated(base, torch.tensor(chosen), 0.5).items():
        assert torch.equal(result[name], expected), name


def test_magmax_on_a_tie_takes_the_later_task():
    base = {"w": torch.zeros(3)}
    first, second = {"w": torch.tensor([1.0, -2.0, 0.5])}, {"w": torch.tensor([-1.0, 1.0, -0.5])}
    assert run("magmax", base, [first, second], scale=1.0)["w"].tolist() == [-1.0, -2.0, -0.5]
    assert run("magmax", base, [second, first], scale=1.0)["w"].tolist() == [1.0, -2.0, 0.5]


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("threshold", [0.2, 0.4, 1.0])
def test_consensus_keeps_what_enough_tasks_use(tasks, threshold):
    base, finetuned = random_states(tasks)
    total = flat(base) + task_vectors(base, finetuned).sum(dim=0)
    users = torch.zeros(total.shape, dtype=torch.int)
    for state in finetuned:  # in weights, as in the paper: |θ0 − θt| > λ |θmulti − θt|
        users += ((flat(base) - flat(state)).abs() > threshold * (total - flat(state)).abs()).int()
    for used_by in (0, 1, 2, 3):
        delta = (total - flat(base)) * (users >= used_by)
        result = run("consensus_ta", base, finetuned, threshold=threshold, used_by=used_by)
        assert_close(result, updated(base, delta, 0.3), base)


def test_consensus_of_two_tasks_by_hand():
    base = {"w": torch.zeros(4)}
    finetuned = [{"w": torch.tensor([1.0, 1.0, 1.0, 0.0])}, {"w": torch.tensor([1.0, 0.1, -1.0, 0.0])}]
    # users of each entry at λ = 0.4: both; only the first (0.1 < 0.4); both (2.5 times the other); nobody
    assert run("consensus_ta", base, finetuned, scale=1.0)["w"].tolist() == [2.0, 0.0, 0.0, 0.0]
    assert run("consensus_ta", base, finetuned, scale=1.0, used_by=1)["w"].tolist() == pytest.approx([2.0, 1.1, 0, 0])


@pytest.mark.parametrize("tasks", (2, 3, 5))
def test_model_stock_interpolates_by_the_mean_cosine_of_all_pairs(tasks):
    base, finetuned = random_states(tasks, partly_still=False)
    for state in finetuned:  # a common direction, so that cosines are positive
        for name, tensor in base.items():
            if tensor.is_floating_point() and name != "0.still.weight":
                state[name] = (state[name].float() + 1.0).to(tensor.dtype)
    expected = {}
    for name, theta0 in floats(base).items():
        taus = torch.stack([state[name].double().reshape(-1) - theta0.double().reshape(-1) for state in finetuned])
        norms = taus.norm(dim=1)
        if not norms.all():
            expected[name] = theta0
            continue
        cosines = taus @ taus.T / torch.outer(norms, norms)
        cosine = (cosines.sum() - tasks) / (tasks * (tasks - 1))
        t = tasks * cosine / (1 + (tasks - 1) * cosine)
        expected[name] = (t * (taus.mean(dim=0)) + theta0.double().reshape(-1)).reshape(theta0.shape)
        assert cosine > 0, name
    assert_close(run("model_stock", base, finetuned), expected, base)


def test_model_stock_stays_at_the_base_where_task_vectors_oppose_each_other():
    base = {"w": torch.tensor([3.0]), "v": torch.zeros(2), "tiny": torch.zeros(2)}
    first = {"w": torch.tensor([4.0]), "v": torch.tensor([1.0, 0.0]), "tiny": torch.tensor([1e-5, 0.0])}
    second = {"w": torch.tensor([2.0]), "v": torch.tensor([0.0, 1.0]), "tiny": torch.tensor([1e-5, 0.0])}
    merged = run("model_stock", base, [first, second])
    assert merged["w"].tolist() == [3.0]  # cos = −1: the formula divides by zero
    assert merged["v"].tolist() == [0.0, 0.0]  # cos = 0
    assert merged["tiny"].tolist() == pytest.approx([1e-5, 0.0])  # cos = 1, however small


def test_model_stock_needs_two_tasks():
    base, finetuned = random_states(1)
    with pytest.raises(UserError, match=r"model_stock .* at least two tasks"):
        run("model_stock", base, finetuned)


def test_slerp_goes_along_the_arc():
    base = {"w": torch.zeros(2)}
    first, second = {"w": torch.tensor([2.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = t * math.pi / 2
        expected = [2 * math.cos(angle), 2 * math.sin(angle)]
        assert run("slerp", base, [first, second], t=t)["w"].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_slerp_of_each_tensor_as_one_vector(t):
    base, finetuned = random_states(2)
    first, second = (floats(state) for state in finetuned)
    expected = {}
    for name, theta1 in first.items():
        a, b = theta1.double().reshape(-1), second[name].double().reshape(-1)
        # rotate a towards b in the plane of both, and interpolate the lengths' two weights
        cosine = torch.clamp((a / a.norm()) @ (b / b.norm()), -1, 1)
        if abs(cosine) > 0.9995:
            expected[name] = (a + t * (b - a)).reshape(theta1.shape)
        else:
            angle = torch.arccos(cosine)
            share = torch.sin(t * angle) / torch.sin(angle)
            rest = torch.cos(t * angle) - share * cosine
            expected[name] = (rest * a + share * b).reshape(theta1.shape)
    assert_close(run("slerp", base, finetuned, t=t), expected, base)


@pytest.mark.parametrize("tasks", [1, 3])
def test_slerp_needs_exactly_two_tasks(tasks):
    base, finetuned = random_states(tasks)
    with pytest.raises(UserError, match=f"slerp merges exactly two tasks, not {tasks}"):
        run("slerp", base, finetuned)
