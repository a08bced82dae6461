"""The methods published since FDA against their definitions, solved another way: stacked least squares, matrix exponentials,
plain loops. Where authors have released code, it gave the same numbers on these random states (relative 1e-5)."""

import numpy as np
import pytest
import scipy.linalg
import torch

from fda.checkpoints.treatments import is_inner_matrix, is_matrix
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.methods.ta import task_weights
from fda.merging.registry import METHODS
from tests.support.states import STILL, assert_close, distance, floats, random_states, run


def expected_by(rule, base, finetuned, solved):
    """θ0 + rule(name, taus) where `solved(name, θ0)`, the mean of the task vectors elsewhere; in float64."""
    expected = {}
    for name, theta0 in floats(base).items():
        taus = [(state[name].float() - theta0).double().numpy() for state in finetuned]
        moves = name != STILL and solved(name, base[name])
        expected[name] = theta0.double() + torch.from_numpy(np.asarray(rule(taus) if moves else sum(taus) / len(taus)))
    return expected


def thirds(rule):
    """The rule on query, key and value apart, where the rows are three times the columns (`in_proj_weight` here)."""

    def apart(taus):
        rows, columns = taus[0].shape
        count = 3 if rows == 3 * columns else 1
        return np.concatenate([rule(list(part)) for part in zip(*(np.split(tau, count) for tau in taus), strict=True)])

    return apart


def stacked(blocks, answers):
    """M of least norm with A Mᵀ = B for the stacked A and B."""
    return np.linalg.lstsq(np.concatenate(blocks), np.concatenate(answers), rcond=1e-10)[0].T


# ACTMat, TACT, anchored ridge ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("even", [0.0, 1.0])
@pytest.mark.parametrize("tasks", [1, 3, 8])
def test_actmat_is_least_squares_on_the_rows_of_the_task_vectors(tasks, even):
    base, finetuned = random_states(tasks, 1, partly_still=False)

    def rule(taus):
        sizes = [np.linalg.norm(tau) ** even for tau in taus]
        rows = [tau / size for tau, size in zip(taus, sizes, strict=True)]
        return stacked(rows, [row @ tau.T for row, tau in zip(rows, taus, strict=True)])

    expected = expected_by(thirds(rule), base, finetuned, is_matrix)
    assert_close(run("actmat", base, finetuned, even=even), expected, base, tolerance=3e-5)


def test_actmat_weighs_a_large_expert_more_unless_told_not_to():
    base = {"w.weight": torch.zeros(6, 4)}
    small = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    large = 100 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    tasks = [{"w.weight": small}, {"w.weight": large}]
    merged, even = run("actmat", base, tasks)["w.weight"], run("actmat", base, tasks, even=1.0)["w.weight"]
    assert distance(merged, large) < 1e-3 < 0.1 < distance(even, large)


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_tact_takes_its_moments_from_the_largest_entries(density):
    base, finetuned = random_states(3, 2, partly_still=False)

    def rule(taus):  # Σ τi τ̂iᵀτ̂i (Σ τ̂iᵀτ̂i)⁺
        rows = []
        for tau in taus:
            bound = np.sort(np.abs(tau), axis=None)[::-1][max(int(tau.size * density), 1) - 1]
            rows.append(tau * (np.abs(tau) >= bound) if int(tau.size * density) else 0 * tau)
        pull = sum(tau @ row.T @ row for tau, row in zip(taus, rows, strict=True))
        return pull @ np.linalg.pinv(sum(row.T @ row for row in rows), rcond=1e-6, hermitian=True)

    expected = expected_by(thirds(rule), base, finetuned, is_matrix)
    assert_close(run("tact", base, finetuned, density=density), expected, base, tolerance=3e-5)


@pytest.mark.parametrize("strength", [0.1, 10.0])
@pytest.mark.parametrize("towards", ["tsv", "ta"])
def test_anchored_ridge_is_least_squares_with_rows_that_ask_for_the_other_merge(towards, strength):
    base, finetuned = random_states(3, 3, partly_still=False)
    under = run(towards, base, finetuned)
    name = f"anchored_ridge:{towards}"
    expected = {key: tensor.double() for key, tensor in under.items()}
    for key, theta0 in floats(base).items():
        if not is_matrix(key, base[key]) or key == STILL:
            continue
        other = (under[key] - theta0).double().numpy()
        taus = [(state[key].float() - theta0).double().numpy() for state in finetuned]
        count = 3 if theta0.shape[0] == 3 * theta0.shape[1] else 1
        solved = []
        for own, *parts in zip(np.split(other, count), *(np.split(tau, count) for tau in taus), strict=True):
            rows = [part * np.sqrt(part.shape[1]) / np.linalg.norm(part) for part in parts]
            answers = [row @ part.T for row, part in zip(rows, parts, strict=True)]
            root = np.sqrt(strength)
            solved.append(stacked([*rows, root * np.eye(own.shape[1])], [*answers, root * own.T]))
        expected[key] = theta0.double() + torch.from_numpy(np.concatenate(solved))
    assert_close(run(name, base, finetuned, strength=strength), expected, base)
    if towards == "tsv":
        plain = run("anchored_ridge", base, finetuned, strength=strength)
        assert all(
            torch.equal(plain[key], tensor) for key, tensor in run(name, base, finetuned, strength=strength).items()
        )


def test_a_strong_pull_gives_the_other_merge():
    base, finetuned = random_states(3)
    assert_close(run("anchored_ridge", base, finetuned, strength=1e9), run("tsv", base, finetuned), base)


# SWUDI ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("time", [0.0, 0.5, 40.0])
def test_swudi_without_truncation_is_the_gradient_flow_of_wudis_loss(time, tasks):
    """M' = −(M C − D) from Στ for the time t, by one matrix exponential."""
    base, finetuned = random_states(tasks, 4, partly_still=False)

    def rule(taus):
        squares = [tau.T @ tau / np.sum(tau**2) for tau in taus]
        pull = sum(tau @ square for tau, square in zip(taus, squares, strict=True))
        rows, columns = pull.shape
        system = np.block([[-sum(squares), np.zeros((columns, rows))], [pull, np.zeros((rows, rows))]])
        return (np.hstack([sum(taus), np.eye(rows)]) @ scipy.linalg.expm(time * system))[:, :columns]

    expected = expected_by(rule, base, finetuned, is_inner_matrix)
    assert_close(run("swudi", base, finetuned, time=time, rank=1.0), expected, base)


@pytest.mark.parametrize("tasks", [2, 5])
def test_swudi_a_solves_in_the_leading_directions_only(tasks):
    base, finetuned = random_states(tasks, 5, partly_still=False)

    def rule(taus):
        squares = [tau.T @ tau / np.sum(tau**2) for tau in taus]
        left, singular, _ = np.linalg.svd(sum(squares))
        singular = np.maximum(singular, 1e-8)
        lead = left[:, : int(np.ceil(np.sqrt(singular).sum() ** 2 / singular.sum()))]
        pull = sum(tau @ square for tau, square in zip(taus, squares, strict=True))
        inside = np.linalg.solve(lead.T @ sum(squares) @ lead, (pull @ lead).T).T
        return sum(taus) @ (np.eye(len(left)) - lead @ lead.T) + inside @ lead.T

    expected = expected_by(rule, base, finetuned, is_inner_matrix)
    result = run("swudi_a", base, finetuned)
    keys = [key for key in result if min(base[key].shape, default=0) != 1]  # of one row nearly all eigenvalues are zero
    assert_close({k: result[k] for k in keys}, expected, {k: base[k] for k in keys})


def test_swudi_keeps_the_sum_of_tasks_that_do_not_interfere_and_of_weak_directions():
    first, second = torch.zeros(5, 6), torch.zeros(5, 6)
    random = torch.Generator().manual_seed(6)
    first[:, :3], second[:, 3:] = torch.randn(5, 3, generator=random), torch.randn(5, 3, generator=random)
    base = {"w.weight": torch.zeros(5, 6)}
    tasks = [{"w.weight": first}, {"w.weight": second}]
    for settings in ({}, {"rank": 1.0, "time": 1e6}):
        assert distance(run("swudi", base, tasks, **settings)["w.weight"], first + second) < 1e-5
    same = [{"w.weight": first}] * 2  # resolved: once; the columns that no task moved: zero
    assert distance(run("swudi", base, same, rank=1.0, time=1e6)["w.weight"], first) < 1e-5
    assert torch.equal(run("swudi", base, same, time=0.0)["w.weight"], 2 * first)


def test_the_language_head_is_averaged_by_swudi_and_optmerge():
    random = torch.Generator().manual_seed(7)
    base = {"lm_head.weight": torch.zeros(6, 4)}
    tasks = [{"lm_head.weight": torch.randn(6, 4, generator=random)} for _ in range(2)]
    mean = sum(task["lm_head.weight"] for task in tasks) / 2
    for name in ("swudi", "swudi_a", "optmerge"):
        assert distance(run(name, base, tasks)["lm_head.weight"], mean) < 1e-6


# OptMerge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_optmerge_is_adam_on_its_loss_by_autograd(tasks):
    base, finetuned = random_states(tasks, 8, partly_still=False)
    merged = run("optmerge", base, finetuned, lr=1e-3, steps=40)
    for name, theta0 in floats(base).items():
        keep = min(theta0.shape, default=0) // tasks
        if name == STILL or not is_inner_matrix(name, base[name]) or not keep:
            continue
        taus = [state[name].float() - theta0 for state in finetuned]
        targets, projectors = [], []
        for tau in taus:
            mean = sum(taus) / tasks
            u, s, vt = torch.linalg.svd(tau - mean, full_matrices=False)
            targets.append(mean + u[:, :keep] @ s[:keep].diag() @ vt[:keep])
            _, s, vt = torch.linalg.svd(tau, full_matrices=False)
            projectors.append(s[:keep].diag() @ vt[:keep])
        found = sum(taus).clone().requires_grad_()
        optimizer = torch.optim.Adam([found], lr=1e-3)
        for _ in range(40):
            optimizer.zero_grad()
            parts = zip(taus, targets, projectors, strict=True)
            sum(((found - t) @ p.T).square().sum() / tau.square().sum() for tau, t, p in parts).backward()
            optimizer.step()
        assert distance(merged[name] - theta0, found.detach()) < 1e-4, name
        assert tasks == 1 or distance(merged[name] - theta0, sum(taus)) > 1e-3


# DC-Merge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_dc_merge_is_ties_entry_by_entry_in_the_common_basis(tasks, density):
    base, finetuned = random_states(tasks, 9, partly_still=False)

    def rule(taus):
        rank = min(taus[0].shape)
        keep = rank // tasks
        if not keep:
            return sum(taus) / tasks
        triples = [np.linalg.svd(tau, full_matrices=False) for tau in taus]
        left, _ = scipy.linalg.polar(np.hstack([u[:, :keep] for u, _, _ in triples]))
        right, _ = scipy.linalg.polar(np.vstack([vt[:keep] for _, _, vt in triples]))
        cores = [left.T @ (u[:, :keep] * s[:keep]) @ vt[:keep] @ right.T for u, s, vt in triples]
        for core in cores:
            order = np.argsort(-np.abs(core), axis=None)
            core.ravel()[order[max(1, int(rank**2 * density)) :]] = 0
        merged = np.zeros_like(cores[0])
        for row, column in np.ndindex(merged.shape):
            if row // keep != column // keep:
                continue
            entries = [core[row, column] for core in cores]
            agreeing = [entry for entry in entries if entry * sum(entries) > 0]
            merged[row, column] = np.mean(agreeing) if agreeing else 0
        return left @ merged @ right

    expected = expected_by(rule, base, finetuned, is_matrix)
    assert_close(run("dc_merge", base, finetuned, density=density), expected, base, tolerance=3e-5)


def test_dc_merge_of_tasks_in_orthogonal_subspaces_is_their_sum():
    left, right = (np.linalg.qr(np.random.default_rng(seed).normal(size=(12, 12)))[0] for seed in (0, 1))
    parts = [
        torch.from_numpy(left[:, i : i + 4] @ np.diag([4.0, 3, 2, 1]) @ right[i : i + 4]).float() for i in (0, 4, 8)
    ]
    merged = run("dc_merge", {"w.weight": torch.zeros(12, 12)}, [{"w.weight": part} for part in parts], density=4 / 144)
    assert distance(merged["w.weight"], sum(parts)) < 1e-5


# weights of task arithmetic ------------------------------------------------------------------------------------------


def test_task_arithmetic_with_a_weight_for_each_task():
    base, finetuned = random_states(3)
    weighted = {
        key: theta0
        + 0.5 * sum(w * (state[key].float() - theta0) for w, state in zip((1, 0.5, 2), finetuned, strict=True))
        for key, theta0 in floats(base).items()
    }
    assert_close(run("ta", base, finetuned, scale=0.5, weights="1, 0.5,2"), weighted, base)
    left_out = run("ta", base, finetuned[1:], scale=0.5)
    assert_close(run("ta", base, finetuned, scale=0.5, weights="0,1,1"), left_out, base)


@pytest.mark.parametrize("weights", ["1", "1,2,3,4", "1,x,2", "1,,2", "1,-1,2", "1,nan,2", "1,11,2"])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(UserError, match="give one number from 0 to 10 for each of the 3 tasks, in their order"):
        task_weights(weights, 3)
    base, finetuned = random_states(3)
    with pytest.raises(UserError, match="do not fit"):
        merge(METHODS["ta"], base, finetuned, weights=weights)
