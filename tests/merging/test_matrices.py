"""TSV-M, Iso-C, Iso-CTS and WUDI against their mathematics in float64, written another way, and their invariants."""

import pytest
import torch

from fda.checkpoints.treatments import is_linear, is_matrix
from fda.merging.math.singular import polar
from fda.merging.methods.wudi import least_interference
from tests.support.states import STILL, assert_close, distance, floats, random_states, run

TASKS = (1, 2, 3, 5, 8)


def with_full_rank(tasks, seed=0):
    """Random states in which every task moves every tensor but one: the polar factors of zero matrices are arbitrary."""
    return random_states(tasks, seed, partly_still=False)


def expected_by(rule, base, finetuned):
    """θ0 + rule(taus) for matrices and the mean of the task vectors elsewhere, in float64."""
    expected = {}
    for name, theta0 in floats(base).items():
        taus = [state[name].double() - theta0.double() for state in finetuned]
        moves = name != STILL and is_matrix(name, base[name])
        expected[name] = theta0.double() + (rule(taus) if moves else sum(taus) / len(taus))
    return expected


def whitened(columns):
    """U (UᵀU)^(−½): orthonormal columns spanning those of U, by an eigendecomposition."""
    values, vectors = torch.linalg.eigh(columns.T @ columns)
    return columns @ vectors @ torch.diag(values.rsqrt()) @ vectors.T


def top_triples(matrix, count):
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :count], s[:count], vt[:count].T


def tsv_rule(taus):
    keep = min(taus[0].shape) // len(taus)
    if keep == 0:
        return sum(taus) / len(taus)
    us, ss, vs = zip(*(top_triples(tau, keep) for tau in taus), strict=True)
    left, right = whitened(torch.cat(us, dim=1)), whitened(torch.cat(vs, dim=1))
    return (left * torch.cat(ss)) @ right.T


def iso_c_rule(taus):
    total = sum(taus)
    total = total.T if total.shape[0] < total.shape[1] else total
    update = whitened(total) * torch.linalg.matrix_norm(total, "nuc") / min(total.shape)
    return update if update.shape == taus[0].shape else update.T


def iso_cts_rule(taus, common=0.8):
    rank, tasks = min(taus[0].shape), len(taus)
    specific = round((rank - int(common * rank)) / tasks) * tasks
    specific = specific if specific <= rank else rank // tasks * tasks
    left, values, right = top_triples(sum(taus), rank - specific)
    blocks = []
    if specific:
        outside = torch.eye(len(left), dtype=torch.float64) - left @ left.T
        blocks = [top_triples(outside @ tau, specific // tasks) for tau in taus]
    us, ss, vs = zip(*blocks, (left, values, right), strict=True)
    update = whitened(torch.cat(us, dim=1)) @ whitened(torch.cat(vs, dim=1)).T
    return update * torch.cat(ss).sum() / rank


RULES = {"tsv": tsv_rule, "iso_c": iso_c_rule, "iso_cts": iso_cts_rule}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("tasks", TASKS)
def test_agrees_with_its_mathematics_in_float64(name, tasks):
    base, finetuned = with_full_rank(tasks, seed=10 + tasks)
    assert_close(run(name, base, finetuned), expected_by(RULES[name], base, finetuned), base)


@pytest.mark.parametrize("common", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("tasks", (2, 3, 8))
def test_iso_cts_with_any_share_of_common_directions(common, tasks):
    base, finetuned = with_full_rank(tasks, seed=20)
    expected = expected_by(lambda taus: iso_cts_rule(taus, common), base, finetuned)
    assert_close(run("iso_cts", base, finetuned, common=common), expected, base)


def test_iso_cts_with_common_directions_only_is_iso_c():
    base, finetuned = random_states(3)
    assert_close(run("iso_cts", base, finetuned, common=1.0), run("iso_c", base, finetuned), base)


@pytest.mark.parametrize("name", ["iso_c", "iso_cts"])
@pytest.mark.parametrize("tasks", TASKS)
def test_isotropic_updates_have_a_flat_spectrum(name, tasks):
    base, finetuned = random_states(tasks)
    merged = run(name, base, finetuned)
    for key, theta0 in floats(base).items():
        if is_matrix(key, base[key]) and key != STILL:
            values = torch.linalg.svdvals(merged[key].double() - theta0.double())
            assert float(values.max() / values.min()) < 1 + 1e-4, key


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (9, 9), (1, 9), (9, 1)])
def test_the_polar_factor_is_orthonormal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    factor = polar(matrix)
    gram = factor.T @ factor if shape[0] >= shape[1] else factor @ factor.T
    assert torch.allclose(gram, torch.eye(min(shape)), atol=1e-5)
    assert distance(factor @ (factor.T @ matrix), matrix) < 1e-5 or shape[0] > shape[1]


def test_tsv_decomposes_nothing_of_a_matrix_that_no_task_has_changed(monkeypatch):
    """As where training was frozen: a decomposition of zeros costs as much as any other."""
    base = {"a.weight": torch.randn(90, 70), "b.weight": torch.randn(70, 90)}
    moved = [{"a.weight": base["a.weight"].clone(), "b.weight": torch.randn(70, 90)} for _ in range(2)]
    monkeypatch.setattr("fda.merging.math.singular.full_top_triples", lambda *_: pytest.fail("decomposed"))
    monkeypatch.setattr("fda.merging.math.singular.full_polar", lambda *_: pytest.fail("decomposed"))
    merged = run("tsv", base, moved)
    assert torch.equal(merged["a.weight"], base["a.weight"])
    assert not torch.equal(merged["b.weight"], base["b.weight"])


def test_tsv_of_tasks_in_orthogonal_subspaces_is_their_sum():
    left, right = (torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(s)))[0] for s in (0, 1))
    base = {"w.weight": torch.zeros(12, 12)}
    parts = [left[:, i : i + 4] @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])) @ right[i : i + 4] for i in (0, 4, 8)]
    merged = run("tsv", base, [{"w.weight": part} for part in parts])
    assert distance(merged["w.weight"], sum(parts)) < 1e-5


def original_wudi(taus, lr, steps):
    """The authors' optimisation: autograd through every pair of products."""
    stack = torch.stack(taus)
    merged = stack.sum(dim=0).requires_grad_()
    squares = stack.flatten(1).square().sum(dim=1)
    optimizer = torch.optim.Adam([merged], lr=lr)
    for _ in range(steps):
        products = (merged - stack) @ stack.transpose(1, 2)
        loss = (products.square().sum(dim=(1, 2)) / squares).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return merged.detach()


@pytest.mark.parametrize("lr", [1e-5, 1e-3])
@pytest.mark.parametrize("tasks", (1, 2, 3, 8))
def test_wudi_is_the_original_optimisation_on_linear_weights_only(tasks, lr):
    base, finetuned = with_full_rank(tasks, seed=30)
    merged = run("wudi", base, finetuned, lr=lr)
    for name, theta0 in floats(base).items():
        if not is_linear(name, base[name]) or name == STILL:
            assert torch.equal(merged[name], theta0), name
            continue
        taus = [state[name].float() - theta0 for state in finetuned]
        assert distance(least_interference(taus, lr, 300), original_wudi(taus, lr, 300)) < 1e-5, name
        assert torch.equal(merged[name], theta0 + least_interference(taus, lr, 300)), name


def test_wudi_moves_like_the_original():
    base, finetuned = with_full_rank(4)
    name = "0.mlp.c_proj.weight"
    taus = [state[name] - base[name] for state in finetuned]
    move = original_wudi(taus, 1e-3, 300) - sum(taus)
    assert distance(least_interference(taus, 1e-3, 300) - sum(taus), move) < 1e-3
    assert float(move.abs().max()) > 0.05


def interference(merged: torch.Tensor, taus: list[torch.Tensor]) -> float:
    """The loss that WUDI lowers: Σ ‖(M − τi) τiᵀ‖² / ‖τi‖²."""
    return sum(float(((merged - tau) @ tau.T).square().sum() / tau.square().sum()) for tau in taus)


@pytest.mark.parametrize("tasks", (2, 5))
def test_wudi_lowers_the_interference_all_the_way(tasks):
    random = torch.Generator().manual_seed(1)
    taus = [0.01 * torch.randn(20, 12, generator=random) for _ in range(tasks)]
    losses = [interference(least_interference(taus, 1e-5, steps), taus) for steps in (0, 10, 50, 100, 200, 300)]
    assert losses[0] == pytest.approx(interference(sum(taus), taus))
    assert losses == sorted(losses, reverse=True) and len(set(losses)) == len(losses)


def test_wudi_changes_nothing_for_one_task_or_tasks_that_do_not_interfere():
    tau = torch.randn(7, 13, generator=torch.Generator().manual_seed(2))
    assert torch.equal(least_interference([tau], 1e-2, 50), tau)
    first, second = tau.clone(), tau.clone()
    first[:, :6], second[:, 6:] = 0, 0  # rows in orthogonal subspaces
    assert torch.equal(least_interference([first, second], 1e-2, 50), first + second)


def test_wudi_ignores_a_zero_task_vector():
    random = torch.Generator().manual_seed(3)
    taus = [torch.randn(7, 13, generator=random) for _ in range(2)]
    assert torch.equal(least_interference([*taus, torch.zeros(7, 13)], 1e-3, 50), least_interference(taus, 1e-3, 50))
    assert not least_interference([torch.zeros(3, 2)] * 2, 1e-3, 5).any()
