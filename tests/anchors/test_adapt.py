"""Adaptation: exact ends, and that it does what it says."""

import pytest
import torch

from fda.anchors.adapt import Adapted, adapt_coefficients, adapt_weights, pool, rate_unit
from fda.anchors.arithmetic import PLAIN, CompiledArithmetic
from fda.anchors.reference import reference_adaptation
from fda.architectures.precision import written_out
from fda.settings import AdaptSettings
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo


@pytest.fixture(scope="module")
def parts(tiny_zoo):
    opened = open_zoo(load_zoo(tiny_zoo))
    block = opened.model.blocks[0]
    finetuned = [block.of(checkpoint) for checkpoint in opened.tasks.values()]
    x = [torch.randn(12, block.tokens, block.width, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    return block, block.of(opened.base), finetuned, *pool(block, finetuned, x)


@pytest.fixture(scope="module")
def compiled():
    return CompiledArithmetic()


def test_targets_are_each_tasks_own_outputs(parts):
    block, _, finetuned, x, y = parts
    assert x.shape == y.shape == (24, block.tokens, block.width)
    assert torch.allclose(block(finetuned[1], x[12:]), y[12:], atol=1e-6)


@pytest.mark.parametrize("distance", ["cos", "mse", "l1"])
def test_the_loss_goes_down_from_every_start(parts, distance):
    block, base, finetuned, x, y = parts
    settings = AdaptSettings(
        distance=distance, weights_lr=1e-3, weights_epochs=20, coefficients_lr=1e-2, coefficients_epochs=20, batch=8
    )
    taus = [{name: one[name] - base[name] for name in base} for one in finetuned]
    for events in (
        adapt_weights(block, base, x, y, settings, seed=0),
        adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=0),
    ):
        *epochs, adapted = list(events)
        assert isinstance(adapted, Adapted)
        assert epochs[-1].loss < epochs[0].loss


def test_a_relative_rate_is_a_multiple_of_how_far_the_tasks_moved(parts):
    block, base, finetuned, x, y = parts
    relative = AdaptSettings(weights_lr=0.25, weights_rate="relative", weights_epochs=2, batch=8)
    moved = torch.cat([(one[name] - base[name]).flatten() for one in finetuned for name in base])
    unit = rate_unit(relative, base, finetuned)
    assert unit == pytest.approx(moved.square().mean().sqrt().item(), rel=1e-5)
    thrice = [{name: base[name] + 3 * (one[name] - base[name]) for name in base} for one in finetuned]
    assert rate_unit(relative, base, thrice) == pytest.approx(3 * unit, rel=1e-4)
    absolute = relative.model_copy(update={"weights_rate": "absolute", "weights_lr": 0.25 * unit})
    assert rate_unit(absolute, base, finetuned) == 1
    *_, one = adapt_weights(block, base, x, y, relative, seed=0, unit=unit)
    *_, other = adapt_weights(block, base, x, y, absolute, seed=0)
    assert all(torch.equal(one.parameters[name], other.parameters[name]) for name in base)


def test_coefficients_at_their_start_are_the_merged_model(parts):
    """With a learning rate too small to move float32, the result is θ0 + λ Σ τ."""
    block, base, finetuned, x, y = parts
    settings = AdaptSettings(coefficients_lr=1e-30, coefficients_epochs=1)
    taus = [{name: one[name] - base[name] for name in base} for one in finetuned]
    *_, adapted = adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=0)
    for name, tensor in adapted.parameters.items():
        assert torch.allclose(tensor, base[name] + 0.3 * (taus[0][name] + taus[1][name]), atol=1e-6)


@pytest.mark.parametrize("trained", ["weights", "one coefficient", "a coefficient a task"])
@pytest.mark.parametrize("path", ["plain", "compiled"])
def test_adaptation_goes_where_the_papers_loop_goes(parts, compiled, trained, path):
    """The same batches in the same order; what all coefficients change is found from the moments of one gradient."""
    block, base, finetuned, x, y = parts
    arithmetic = PLAIN if path == "plain" else compiled
    settings = AdaptSettings(weights_lr=1e-3, weights_epochs=4, coefficients_lr=0.1, coefficients_epochs=4, batch=8)
    taus = [{name: one[name] - base[name] for name in base} for one in finetuned]
    taus = {"weights": None, "one coefficient": taus[:1], "a coefficient a task": taus}[trained]
    if taus is None:
        events = adapt_weights(block, base, x, y, settings, seed=3, arithmetic=arithmetic)
    else:
        events = adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=3, arithmetic=arithmetic)
    *epochs, adapted = events
    expected = list(reference_adaptation(block, base, taus, 0.3, x, y, settings, 3))
    assert [epoch.loss for epoch in epochs] == pytest.approx([loss for loss, _ in expected], rel=1e-4)
    start = {name: tensor + 0.3 * sum(tau[name] for tau in taus or ()) for name, tensor in base.items()}
    ours, theirs, before = (block(theta, x) for theta in (adapted.parameters, expected[-1][1], start))
    assert (ours - theirs).norm() < 1e-3 * (theirs - before).norm()
    assert len(compiled._compiled) <= 1, "all starts share what one shape of a batch was compiled to"


def test_bfloat16_products_give_nearly_the_gradient(parts):
    block, base, _, x, y = parts
    theta = {name: tensor.clone().requires_grad_() for name, tensor in base.items()}
    (loss, found), (expected, right) = (
        PLAIN.gradient(one, "mse")(theta, x, y) for one in (written_out(block, torch.bfloat16), block)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=0.05)
    assert 0 < (found - right).norm() < 0.1 * right.norm()


def test_a_model_that_is_right_already_has_no_distance(parts):
    block, _, finetuned, x, _ = parts
    settings = AdaptSettings(distance="mse", weights_lr=1e-30, weights_epochs=1)
    first, *_ = adapt_weights(block, finetuned[0], x, block(finetuned[0], x).detach(), settings, seed=0)
    assert first.loss == pytest.approx(0, abs=1e-9)
