"""TIES, DARE, DARE-TIES, DELLA and Breadcrumbs against the flattened mathematics, and by hand."""

import pytest
import torch

from fda.errors import UserError
from fda.merging.math.sparsify import crumbs, drop, generator, magprune
from fda.merging.registry import METHODS
from tests.support.states import (
    STILL,
    assert_close,
    flat,
    floats,
    gridded_states,
    random_states,
    run,
    task_vectors,
    unflat,
)

TASKS = (1, 2, 3, 5)


def flattened_ties(taus, density):
    """Trim, elect, merge on (T, d) at once, with the original's order statistics and majority sign."""
    d = taus.shape[1]
    if density < 1:
        threshold = torch.stack([tau.abs().sort().values[d - int(d * density) - 1] for tau in taus])
        taus = torch.where(taus.abs() >= threshold[:, None], taus, torch.zeros(()))
    elected = taus.sum(dim=0).sign()
    elected = torch.where(elected == 0, elected.sum().sign(), elected)
    agree = torch.where(elected > 0, taus > 0, taus < 0)
    return (taus * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("density", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_ties_is_the_flattened_ties(tasks, density):
    base, finetuned = random_states(tasks, seed=tasks)
    delta = flattened_ties(task_vectors(base, finetuned), density)
    for scale in (0.3, 1.0):
        result = run("ties", base, finetuned, density=density, scale=scale)
        assert_close(result, unflat(flat(base) + scale * delta, base), base, tolerance=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tasks", (2, 4))
def test_ties_is_exact_where_magnitudes_tie_and_sums_cancel(tasks, seed):
    base, finetuned = gridded_states(tasks, seed)
    taus = task_vectors(base, finetuned)
    assert ((taus.sum(dim=0) == 0) & (taus != 0).any(dim=0)).any()
    result = run("ties", base, finetuned)
    for name, expected in unflat(flat(base) + flattened_ties(taus, 0.2), base).items():
        assert torch.equal(result[name], expected), name


def test_ties_by_hand():
    base = {"a": torch.zeros(3), "b": torch.zeros(2)}
    finetuned = [
        {"a": torch.tensor([5.0, -3.0, 0.1]), "b": torch.tensor([2.0, 4.0])},
        {"a": torch.tensor([3.0, 4.0, 0.2]), "b": torch.tensor([1.0, -4.0])},
    ]
    # density 0.4 keeps 2 + 1 of 5 entries: 5, −3, 4 and 3, 4, −4; the zero sum of b[1] goes with the majority, +
    merged = run("ties", base, finetuned, density=0.4)
    assert merged["a"].tolist() == [4.0, 4.0, 0.0]
    assert merged["b"].tolist() == [0.0, 4.0]


def test_without_dropping_dare_is_task_arithmetic_and_dare_ties_is_ties():
    base, finetuned = random_states(3)
    for dare, plain in (("dare", "ta"), ("dare_ties", "ties")):
        result, expected = run(dare, base, finetuned, rate=0.0), run(plain, base, finetuned)
        assert all(torch.equal(result[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["dare", "dare_ties"])
def test_dropping_everything_leaves_the_base(name):
    base, finetuned = random_states(3)
    result = run(name, base, finetuned, rate=1.0)
    assert all(torch.equal(result[key], theta0) for key, theta0 in floats(base).items())


def test_dare_drops_or_rescales_each_entry_of_each_task():
    base, finetuned = random_states(2, partly_still=False)
    taus = [{name: state[name].float() - theta0 for name, theta0 in floats(base).items()} for state in finetuned]
    merged = run("dare", base, finetuned, rate=0.4, scale=1.0)
    for name, theta0 in floats(base).items():
        first, second = (tau[name] / 0.6 for tau in taus)
        choices = torch.stack([theta0, theta0 + first, theta0 + second, theta0 + (first + second)])
        assert ((choices - merged[name]).abs() < 1e-5).any(dim=0).all(), name


def test_the_expectation_of_dare_is_task_arithmetic():
    base, finetuned = random_states(2)
    draws = torch.stack([flat(run("dare", base, finetuned, rate=0.5, scale=1.0, seed=seed)) for seed in range(1500)])
    expected = flat(base) + task_vectors(base, finetuned).sum(dim=0)
    error = draws.std(dim=0) / 1500**0.5
    assert ((draws.mean(dim=0) - expected).abs() <= 5 * error + 1e-5).all()


@pytest.mark.parametrize("tasks", (2, 5))
def test_dare_ties_is_ties_of_the_dropped_task_vectors(tasks):
    base, finetuned = random_states(tasks)
    dropped = []
    for task, state in enumerate(finetuned):
        taus = {name: state[name].float() - theta0 for name, theta0 in floats(base).items()}
        dropped.append(flat({name: drop(tau, 0.3, generator(7, task, name)) for name, tau in taus.items()}))
    delta = flattened_ties(torch.stack(dropped), 0.5)
    result = run("dare_ties", base, finetuned, rate=0.3, density=0.5, seed=7)
    assert_close(result, unflat(flat(base) + delta, base), base, tolerance=1e-6)


def test_masks_of_tasks_tensors_and_seeds_are_independent():
    ones = torch.ones(64)
    seeds = ((0, 0, "a"), (0, 1, "a"), (0, 0, "b"), (1, 0, "a"))
    masks = {key: tuple(drop(ones, 0.5, generator(*key)).tolist()) for key in seeds}
    assert len(set(masks.values())) == len(seeds)


def crumbs_of(tau, density, outliers):
    """Breadcrumbs by sorting: cut the head, keep the next ⌊n·density⌋."""
    flat_tau, n = tau.reshape(-1), tau.numel()
    keep = int(n * density)
    top = min(int(n * outliers), n - keep)
    kept = flat_tau.abs().sort(descending=True).indices[top : top + keep]
    mask = torch.zeros(n).index_fill(0, kept, 1.0)
    return (flat_tau * mask).reshape(tau.shape)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize(
    ("density", "outliers"), [(0.15, 0.006), (0.5, 0.1), (0.9, 0.3), (0.3, 0.0), (0.0, 0.1), (1.0, 0.0)]
)
def test_breadcrumbs_cut_both_tails_of_every_tensor(tasks, density, outliers):
    base, finetuned = random_states(tasks)
    expected = {}
    for name, theta0 in floats(base).items():
        if theta0.dtype == base[name].dtype:  # half-precision weights have tied magnitudes; their rule is tested below
            taus = [state[name].float() - theta0 for state in finetuned]
            expected[name] = theta0 + 0.2 * sum(crumbs_of(tau, density, outliers) for tau in taus)
    result = run("breadcrumbs", base, finetuned, density=density, outliers=outliers)
    single = {name: result[name] for name in expected}
    assert_close(single, expected, {name: base[name] for name in expected}, tolerance=1e-6)


def test_breadcrumbs_by_hand():
    tau = torch.tensor([9.0, -1.0, 5.0, -4.0, 0.5, 5.0, -5.0, 2.0, 3.0, 0.0])
    assert crumbs(tau, 0.2, 0.1).tolist() == [0, 0, 5, 0, 0, 5, -5, 0, 0, 0]  # the third 5 ties with the kept two
    assert crumbs(tau, 0.4, 0.0).tolist() == [9, 0, 5, 0, 0, 5, -5, 0, 0, 0]  # nothing cut above
    assert crumbs(tau, 0.9, 0.5).tolist() == [0, -1, 5, -4, 0.5, 5, -5, 2, 3, 0]  # only one outlier can go
    assert crumbs(tau, 0.05, 0.0).count_nonzero() == 0
    assert crumbs(torch.zeros(7), 0.5, 0.2).tolist() == [0.0] * 7


def test_magprune_keeps_by_rank_within_the_row_and_rescales():
    row = torch.tensor([0.3, -5.0, 0.01, 2.0, -0.7])
    rows = 40_000
    pruned = magprune(row.repeat(rows, 1), 0.6, 0.2, generator(0, 0, "w"))
    probability = torch.tensor([0.5, 0.8, 0.4, 0.7, 0.6])  # ranks 2, 5, 1, 4, 3
    kept = pruned != 0
    error = (probability * (1 - probability) / rows).sqrt()
    assert ((kept.float().mean(dim=0) - probability).abs() < 5 * error).all()
    assert torch.allclose(pruned[kept], (row / probability).repeat(rows, 1)[kept])
    assert torch.allclose(pruned.mean(dim=0), row, rtol=0.05)


def test_magprune_of_vectors_scalars_and_convolutions():
    vector = torch.arange(1.0, 30_001.0)
    pruned = magprune(vector, 0.5, 0.3, generator(0, 0, "w")) != 0
    assert pruned[:3000].float().mean() < 0.3 < 0.7 < pruned[-3000:].float().mean()  # one row: 0.2 … 0.8
    draws = torch.stack([magprune(torch.tensor(2.0), 0.25, 0.1, generator(seed, 0, "w")) for seed in range(400)])
    assert set(draws.tolist()) == {0.0, 8.0}
    assert 60 < int((draws != 0).sum()) < 140
    convolution = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    by_rows = magprune(convolution.reshape(3, 100), 0.5, 0.3, generator(0, 0, "w")).reshape(3, 4, 5, 5)
    assert torch.equal(magprune(convolution, 0.5, 0.3, generator(0, 0, "w")), by_rows)


@pytest.mark.parametrize("tasks", TASKS)
def test_della_averages_what_agrees_with_the_sign_of_the_sum(tasks):
    base, finetuned = random_states(tasks)
    expected = {}
    for name, theta0 in floats(base).items():
        pruned = torch.stack(
            [magprune(s[name].float() - theta0, 0.7, 0.07, generator(3, i, name)) for i, s in enumerate(finetuned)]
        )
        majority = torch.where(pruned.sum(dim=0) >= 0, 1.0, -1.0)
        chosen = pruned.sign() == majority
        expected[name] = theta0 + 1.1 * (pruned * chosen).sum(dim=0) / chosen.sum(dim=0).clamp(min=1)
    assert_close(run("della", base, finetuned, seed=3), expected, base, tolerance=1e-6)


def test_della_without_dropping_averages_the_elected_entries_untrimmed():
    base, finetuned = random_states(3)
    delta = flattened_ties(task_vectors(base, finetuned), 1.0)
    assert_close(run("della", base, finetuned, density=1.0, scale=1.0), unflat(flat(base) + delta, base), base)
    assert torch.equal(run("della", base, finetuned)[STILL], base[STILL])


@pytest.mark.parametrize(("density", "epsilon"), [(0.05, 0.07), (0.95, 0.07), (0.5, 0.5)])
def test_della_refuses_probabilities_outside_of_zero_and_one(density, epsilon):
    base, finetuned = random_states(2)
    with pytest.raises(UserError, match="choose a smaller epsilon"):
        run("della", base, finetuned, density=density, epsilon=epsilon)


@pytest.mark.parametrize("name", ["ties", "dare_ties"])
def test_ties_works_on_one_thread_and_leaves_the_caller_its_own(name):
    """A busy machine made TIES on two threads 3 to 15 times slower."""
    base, finetuned = random_states(2)
    seen, before = [], torch.get_num_threads()

    class Watched(dict):
        def __getitem__(self, key):
            seen.append(torch.get_num_threads())
            return super().__getitem__(key)

    torch.set_num_threads(2)
    try:
        merging = METHODS[name].merge(Watched(base), finetuned)
        next(merging)
        assert torch.get_num_threads() == 2
        list(merging)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(before)
