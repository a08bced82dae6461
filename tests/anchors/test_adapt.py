"""Adaptation: exact ends, and that it does what it says."""

import pytest
import torch

from fda.anchors.adapt import Adapted, adapt_coefficients, adapt_weights, distances, pool
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


def test_coefficients_at_their_start_are_the_merged_model(parts):
    """With a learning rate too small to move float32, the result is θ0 + λ Σ τ."""
    block, base, finetuned, x, y = parts
    settings = AdaptSettings(coefficients_lr=1e-30, coefficients_epochs=1)
    taus = [{name: one[name] - base[name] for name in base} for one in finetuned]
    *_, adapted = adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=0)
    for name, tensor in adapted.parameters.items():
        assert torch.allclose(tensor, base[name] + 0.3 * (taus[0][name] + taus[1][name]), atol=1e-6)


def test_coefficients_go_where_they_go_tensor_by_tensor(parts):
    block, base, finetuned, x, y = parts
    settings = AdaptSettings(coefficients_lr=0.1, coefficients_epochs=3, batch=len(x))
    taus = [{name: one[name] - base[name] for name in base} for one in finetuned]
    *_, adapted = adapt_coefficients(block, base, taus, 0.3, x, y, settings, seed=0)

    alphas = [{name: torch.full_like(tau[name], 0.3).requires_grad_() for name in base} for tau in taus]
    optimizer = torch.optim.Adam([alpha for one in alphas for alpha in one.values()], lr=0.1, fused=False)

    def merged() -> dict[str, torch.Tensor]:
        return {
            name: base[name] + sum(alpha[name] * tau[name] for alpha, tau in zip(alphas, taus, strict=True))
            for name in base
        }

    first = merged()
    for _ in range(3):
        optimizer.zero_grad()
        distances(block(merged(), x), y, settings).backward()
        optimizer.step()
    ours, expected, start = block(adapted.parameters, x), block(merged(), x), block(first, x)
    assert (ours - expected).abs().max() < 1e-3 * (start - expected).abs().max()


def test_a_model_that_is_right_already_has_no_distance(parts):
    block, _, finetuned, x, _ = parts
    settings = AdaptSettings(distance="mse", weights_lr=1e-30, weights_epochs=1)
    first, *_ = adapt_weights(block, finetuned[0], x, block(finetuned[0], x).detach(), settings, seed=0)
    assert first.loss == pytest.approx(0, abs=1e-9)
