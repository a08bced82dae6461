"""Projection on a cone: hand-computed cases, SciPy on the full matrix, and the updates of a block."""

import pytest
import scipy.optimize
import torch
from torch import nn

from fda.analysis import projection
from fda.analysis.projection import induced_cone, induced_update, project_on_cone, projection_energy
from fda.anchors.adapt import adapt_weights
from fda.anchors.arithmetic import distances
from fda.architectures.blocks import Block
from fda.settings import AdaptSettings

AXES = torch.eye(4)[:2]  # the cone of the first two axes of ℝ⁴
MSE = AdaptSettings(distance="mse", batch=3)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("update", "ratio", "coefficients"),
    [
        ([3.0, 4, 0, 0], 1.0, [3, 4]),  # inside
        ([2.0, 0, 0, 0], 1.0, [2, 0]),  # on an edge
        ([3.0, -4, 0, 0], 9 / 25, [3, 0]),  # nearest to an edge
        ([3.0, 0, 4, 0], 9 / 25, [3, 0]),  # partly out of the cone's own space
        ([-1.0, -2, 0, 5], 0.0, [0, 0]),  # in the polar cone
        ([0.0, 0, 1, 0], 0.0, [0, 0]),  # orthogonal
    ],
)
def test_exact_cases(update, ratio, coefficients):
    found = project_on_cone(AXES, torch.tensor(update))
    assert found.ratio == pytest.approx(ratio, abs=1e-12)
    assert found.coefficients.tolist() == pytest.approx(coefficients, abs=1e-12)


def test_an_oblique_cone_worked_out_by_hand():
    """Rows (1, 0) and (1, 1); u = (0, 1) is nearest to the second: u·v / ‖v‖² = ½, ratio ½² · 2 / 1."""
    found = project_on_cone(torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([0.0, 1]))
    assert found.ratio == pytest.approx(0.5) and found.coefficients.tolist() == pytest.approx([0, 0.5])


@pytest.mark.parametrize("rows", [1, 5, 20, 60])
def test_it_is_nnls_on_the_full_matrix(rows, monkeypatch):
    monkeypatch.setattr(projection, "CHUNK", 7)  # so that several chunks are needed
    shared = random(50, seed=3)
    cone = random(rows, 50, seed=1) + shared
    update = random(50, seed=2) + shared
    coefficients, distance = scipy.optimize.nnls(cone.double().numpy().T, update.double().numpy())
    found = project_on_cone(cone, update)
    assert found.ratio == pytest.approx(1 - distance**2 / update.double().square().sum().item(), abs=1e-7)
    if rows < 50:  # beyond that the coefficients are not unique
        assert found.coefficients.numpy() == pytest.approx(coefficients, abs=1e-6)


def test_scales_do_not_matter_and_rows_of_zeros_or_twice_the_same_add_nothing():
    cone, update = random(6, 30, seed=4), random(30, seed=5)
    ratio = projection_energy(cone, update)
    assert 0 < ratio < 1
    scales = torch.tensor([1e-6, 1, 1e5, 3, 1e-3, 7])[:, None]
    assert projection_energy(cone * scales, 1e4 * update) == pytest.approx(ratio, rel=1e-6)
    assert projection_energy(torch.cat([cone, torch.zeros(2, 30), 2 * cone[:3]]), update) == pytest.approx(
        ratio, rel=1e-6
    )
    assert projection_energy(torch.zeros(2, 30), update) == 0


def test_a_larger_cone_never_holds_less():
    cone, update = random(12, 40, seed=6), random(40, seed=7)
    ratios = [projection_energy(cone[:rows], update) for rows in (1, 3, 6, 12)]
    assert ratios == sorted(ratios) and ratios[-1] > ratios[0]


def test_what_has_no_ratio_is_refused():
    with pytest.raises(ValueError, match="zero"):
        project_on_cone(AXES, torch.zeros(4))
    with pytest.raises(ValueError, match="cone"):
        project_on_cone(AXES, torch.ones(3))


def test_millions_of_entries_are_affordable():
    cone, update = torch.rand(8, 3_000_000), torch.rand(3_000_000)
    coefficients, distance = scipy.optimize.nnls((cone @ cone.T).double().numpy(), (cone @ update).double().numpy())
    assert distance < 1e-2 * update.norm(), (
        "eight near-parallel rows: the normal equations have a non-negative solution"
    )
    nearest = torch.from_numpy(coefficients).float() @ cone
    assert projection_energy(cone, update) == pytest.approx((nearest.norm() / update.norm()).item() ** 2, rel=1e-3)


# updates of a block ------------------------------------------------------------------------------------------------------


def make_block(module: nn.Module, width: int) -> Block:
    shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    return Block(index=0, prefix="", shapes=shapes, width=width, tokens=2, module=module)


@pytest.fixture
def curved() -> tuple[Block, dict, dict]:
    """A block with a bend, its pretrained and its finetuned tensors, in float64."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5)).double()
    base = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    moved = {
        name: tensor + 0.1 * random(*tensor.shape, seed=i).double() for i, (name, tensor) in enumerate(base.items())
    }
    return make_block(module, 5), base, moved


def test_the_update_of_a_linear_block_is_known():
    """φ = xWᵀ and squared error: −∂/∂W Σ‖xWᵀ − xW_iᵀ‖² = 2 (W_i − W) XᵀX, at any W."""
    block = make_block(nn.Linear(4, 4, bias=False), 4)
    finetuned, merged, x = random(4, 4, seed=1), random(4, 4, seed=2), random(8, 2, 4, seed=3)
    rows = x.reshape(-1, 4)
    update = induced_update(block, {"weight": merged}, {"weight": finetuned}, x, MSE)
    assert update.numpy() == pytest.approx(
        (2 * (finetuned - merged) @ rows.T @ rows).flatten().numpy(), rel=1e-4, abs=1e-4
    )


@pytest.mark.parametrize("distance", ["cos", "mse", "l1"])
def test_the_update_is_the_steepest_descent_of_the_summed_distance(distance, curved):
    block, base, moved = curved
    x, settings = random(7, 2, 5, seed=4).double(), AdaptSettings(distance=distance, batch=3)
    update = induced_update(block, base, moved, x, settings)
    direction = random(*update.shape, seed=5).double()
    parts = dict(zip(base, direction.split([tensor.numel() for tensor in base.values()]), strict=True))

    def total(step: float) -> float:
        theta = {name: tensor + step * parts[name].view_as(tensor) for name, tensor in base.items()}
        return distances(block(theta, x), block(moved, x), settings.distance).item()

    slope = (total(1e-6) - total(-1e-6)) / 2e-6
    assert -torch.dot(update, direction).item() == pytest.approx(slope, rel=1e-5)


def test_the_update_has_the_signs_of_the_first_step_of_adapting(curved):
    """Adam's first step moves every entry by the learning rate along the sign of the update."""
    block, base, moved = curved
    x = random(6, 2, 5, seed=6).double()
    settings = AdaptSettings(weights_lr=1e-3, weights_epochs=1)
    with torch.no_grad():
        y = block(moved, x)
    first = next(adapt_weights(block, base, x, y, settings, seed=0)).parameters()
    step = torch.cat([(first[name] - base[name]).flatten() for name in block.names])
    update = induced_update(block, base, moved, x, settings)
    clear = update.abs() > 1e-4 * update.abs().max()
    assert torch.equal(step.sign()[clear], update.sign()[clear]) and clear.float().mean() > 0.9


def test_updates_of_inputs_that_span_the_cone_lie_in_it(curved):
    block, base, moved = curved
    settings = AdaptSettings(distance="mse", batch=4)
    batches = list(random(12, 2, 5, seed=7).double().split(4))
    cone = induced_cone(block, base, moved, batches, settings)
    assert cone.shape == (3, sum(tensor.numel() for tensor in base.values()))
    assert projection_energy(cone, induced_update(block, base, moved, torch.cat(batches), settings)) == pytest.approx(1)
    other = projection_energy(cone, induced_update(block, base, moved, random(4, 2, 5, seed=8).double(), settings))
    assert 0 < other < 1 and projection_energy(cone, -cone.sum(0)) < other


def test_an_update_leaves_the_tensors_it_was_given_alone(curved):
    block, base, moved = curved
    induced_update(block, base, moved, random(2, 2, 5).double(), MSE)
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in (*base.values(), *moved.values()))
