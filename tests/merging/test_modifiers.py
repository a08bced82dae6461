"""Modifiers on top of any data-free method: their names, their rules by plain loops, and what they leave alone."""

import numpy as np
import pytest
import torch

from fda.checkpoints.treatments import is_matrix
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.registry import METHODS, MODIFIERS, method, rank
from tests.support.states import STILL, assert_close, distance, floats, random_states, run

MERGERS = ["average", "ta", "tsv", "dare_ties", "slerp", "swudi"]
NEUTRAL = {"larv": {"spread": 0.0}, "polarised": {"power": 0.0}}


def layered_states(tasks, layers=4):
    """Blocks of a tall and a wide matrix and a bias, and an embedding outside them."""
    random = torch.Generator().manual_seed(3)
    shapes = {f"m.blocks.{i}.{name}": shape for i in range(layers) for name, shape in
              (("up.weight", (9, 5)), ("down.weight", (5, 9)), ("up.bias", (9,)))}  # fmt: skip
    shapes["m.embed.weight"] = (11, 5)
    base = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    return base, [
        {name: t + 0.3 * torch.randn(t.shape, generator=random) for name, t in base.items()} for _ in range(tasks)
    ]


# names ---------------------------------------------------------------------------------------------------------------


def test_names_are_put_together_from_right_to_left():
    both = method("svc:larv:tsv")
    assert both.title == "TSV-M + LARV + SVC" and both.needs == "nothing" and both.paper.endswith("2602.05536")
    assert set(both.defaults) == {"scale", "rank_power", "depth_power", "spread", "floor"}
    assert method("fda:larv:tsv").start == "larv:tsv" and method("fda:larv:tsv").needs == "anchors"
    assert method("fda:slerp").tasks == 2 and method("larv:model_stock").least_tasks == 2
    assert method("larv:ta:swept").coefficient.name == "scale" and METHODS["larv:ta:swept"].swept
    assert "larv:ta" in METHODS and METHODS.get("larv:ta") is method("larv:ta") and "larv:ta" not in list(METHODS)
    assert "larv:nothing" not in METHODS and METHODS.get("larv:nothing") is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("larv:regmean", "larv goes on a method that merges checkpoints without data, which regmean is not"),
        ("larv:fda:ta", "which fda:ta is not"),
        ("larv:pretrained", "which pretrained is not"),
        ("larv:svc:larv:ta", "name has larv 2 times: give it once"),
        ("svc:ta:swept", "svc:ta has no coefficient to sweep: leave :swept out"),
        ("larv:tvs", r"no merging method 'tvs' \(did you mean tsv\?\)"),
        (":".join(["larv"] * 5000), "4999 times"),
    ],
)
def test_names_whose_parts_do_not_fit_are_answered_with_the_reason(name, says):
    with pytest.raises(UserError, match=says):
        method(name)
    assert name not in METHODS


def test_tables_put_a_modified_method_after_the_plain_one():
    names = [
        "unknown",
        "fda:dc_merge",
        "svc:larv:tsv",
        "fda:larv:tsv",
        "wudi",
        "larv:tsv",
        "fda:tsv",
        "tsv",
        "fda:wudi",
    ]
    expected = [
        "tsv",
        "svc:larv:tsv",
        "larv:tsv",
        "wudi",
        "fda:tsv",
        "fda:larv:tsv",
        "fda:wudi",
        "fda:dc_merge",
        "unknown",
    ]
    assert sorted(names, key=rank) == expected


def test_no_modifier_hides_a_hyperparameter_of_a_method():
    names = [hyper.name for one in MODIFIERS.values() for hyper in one.hyperparameters]
    assert len(names) == len(set(names))
    own = {hyper.name for one in METHODS.values() for hyper in one.hyperparameters if one.name != "anchored_ridge"}
    assert not set(names) & own


# every modifier ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modifier", MODIFIERS)
@pytest.mark.parametrize("name", ["ta", "iso_c", "ties", "dare"])
def test_a_modified_merge_is_whole_finite_and_leaves_what_no_task_moved(name, modifier):
    base, finetuned = random_states(3)
    merged = merge(METHODS[f"{modifier}:{name}"], base, finetuned)
    assert list(merged) == list(base) and torch.equal(merged[STILL], base[STILL])
    for key, tensor in merged.items():
        assert tensor.dtype == base[key].dtype and tensor.isfinite().all(), key
        if not tensor.is_floating_point():
            assert torch.equal(tensor, base[key])


@pytest.mark.parametrize("modifier", NEUTRAL)
@pytest.mark.parametrize("name", MERGERS)
def test_a_modifier_that_is_set_to_change_nothing_changes_nothing(name, modifier):
    base, finetuned = random_states(2 if name == "slerp" else 3)
    assert_close(run(f"{modifier}:{name}", base, finetuned, **NEUTRAL[modifier]), run(name, base, finetuned), base)


def test_hyperparameters_reach_both_the_method_and_the_modifier():
    base, finetuned = layered_states(2)
    half, whole = (run("larv:ta", base, finetuned, scale=scale, spread=0.9) for scale in (0.5, 1.0))
    assert_close({k: base[k] + 2 * (half[k] - base[k]) for k in base}, whole, base)
    with pytest.raises(UserError, match="larv:ta: spread must be between 0 and 1, not 2"):
        merge(METHODS["larv:ta"], base, finetuned, spread=2.0)


# LARV ----------------------------------------------------------------------------------------------------------------


def effective_rank(matrix):
    shares = np.linalg.svd(matrix, compute_uv=False) ** 2
    shares = shares / shares.sum()
    return np.exp(-(shares * np.log(shares)).sum())


def test_larv_scales_each_tasks_blocks_by_the_papers_formula():
    base, finetuned = layered_states(3)
    merged = run("larv:ta", base, finetuned, scale=1.0, rank_power=1.5, depth_power=0.7, spread=0.4)
    expected = {name: tensor.double().numpy().copy() for name, tensor in base.items()}
    for state in finetuned:
        taus = {name: (state[name] - base[name]).double().numpy() for name in base}
        traits = []
        for layer in range(4):
            ratios, conflicts = [], []
            for name in (f"m.blocks.{layer}.up.weight", f"m.blocks.{layer}.down.weight"):
                w, t = base[name].double().numpy(), taus[name]
                ratios.append(effective_rank(w) / effective_rank(t))
                outer, inner = np.linalg.norm(w @ t.T - t @ w.T), np.linalg.norm(w.T @ t - t.T @ w)
                conflicts.append((outer + inner) / 2 / np.linalg.norm(w) / np.linalg.norm(t))
            traits.append((np.mean(ratios), np.mean(conflicts)))
        spread = np.array([c for _, c in traits])
        for layer, (ratio, conflict) in enumerate(traits):
            z = (conflict - spread.mean()) / spread.std()
            score = ratio**1.5 * ((layer + 1) / 4) ** 0.7 / (1 + np.log(1 + np.exp(z)))
            for name in base:
                if name.startswith(f"m.blocks.{layer}."):
                    expected[name] += (1 + 0.4 * np.tanh(3 * (score - 1))) * taus[name]
        expected["m.embed.weight"] += taus["m.embed.weight"]
    assert_close(merged, {name: torch.from_numpy(array) for name, array in expected.items()}, base)


# polarised scaling ---------------------------------------------------------------------------------------------------


def test_polarised_scaling_multiplies_by_relative_norms():
    base, finetuned = layered_states(3)
    taus = [{name: (state[name] - base[name]).double().numpy() for name in base} for state in finetuned]
    expected = {name: tensor.double().numpy().copy() for name, tensor in base.items()}
    for own in taus:
        for name, tau in own.items():
            if tau.ndim == 2:
                kind = [
                    other for other in base if other.rpartition(".blocks.")[2][1:] == name.rpartition(".blocks.")[2][1:]
                ]
                kind = [name] if "embed" in name else kind
                tau = tau * (np.linalg.norm(tau) / np.mean([np.linalg.norm(one[name]) for one in taus])) ** 2
                tau = tau * (np.linalg.norm(own[name]) / np.mean([np.linalg.norm(own[other]) for other in kind])) ** 2
                columns = np.linalg.norm(own[name], axis=0)
                tau = tau * (columns / columns.mean()) ** 2
            expected[name] += 0.3 * tau
    wanted = {name: torch.from_numpy(array) for name, array in expected.items()}
    assert_close(run("polarised:ta", base, finetuned), wanted, base)


def test_polarised_scaling_changes_nothing_where_all_norms_are_equal():
    base = {"0.w.weight": torch.zeros(4, 4), "1.w.weight": torch.zeros(4, 4)}
    random = torch.Generator().manual_seed(0)
    tasks = [{name: torch.linalg.qr(torch.randn(4, 4, generator=random))[0] for name in base} for _ in range(2)]
    for name, merged in run("polarised:average", base, tasks).items():
        assert distance(merged, sum(task[name] for task in tasks) / 2) < 1e-6


# SVC -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("name", ["ta", "tsv"])
def test_svc_divides_each_singular_value_by_how_often_the_tasks_count_it(name, floor):
    base, finetuned = random_states(3, 5, partly_still=False)
    plain = run(name, base, finetuned)
    expected = dict(plain)
    for key, theta0 in floats(base).items():
        if not is_matrix(key, base[key]) or "embedding" in key or key == STILL:
            continue
        update = (plain[key] - theta0).double().numpy()
        left, values, right = np.linalg.svd(update, full_matrices=False)
        calibrated = np.zeros_like(update)
        for u, value, v in zip(left.T, values, right, strict=True):
            counted = 0.0
            for state in finetuned:
                response = u @ (state[key].float() - theta0).double().numpy()
                counted += max(floor or 1 / 3, (u @ update) @ response / (response @ response))
            calibrated += 3 / counted * value * np.outer(u, v)
        expected[key] = theta0.double() + torch.from_numpy(calibrated)
    assert_close(run(f"svc:{name}", base, finetuned, floor=floor), expected, base, tolerance=5e-5)


def test_svc_takes_a_sum_of_equal_experts_back_to_the_expert():
    base, (expert,) = random_states(1)
    merged = run("svc:ta", base, [expert] * 3, scale=1.0)
    keys = [key for key in merged if is_matrix(key, base[key]) and "embedding" not in key]
    assert_close({k: merged[k] for k in keys}, floats({k: expert[k] for k in keys}), {k: base[k] for k in keys})
