"""The plane of a landscape by hand: directions, coordinates and distances in two and three dimensions; and the grid's order."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from fda.analysis.grid import TILE, extent, levels, refined, tiles
from fda.analysis.landscape import combined, gram_of_differences, plane
from fda.errors import UserError
from fda.settings import LandscapeSettings


def model(*values: float) -> dict[str, torch.Tensor]:
    """Three weights in two tensors."""
    return {"w": torch.tensor(values[:2]), "v": torch.tensor(values[2:])}


BASE = model(1.0, 1.0, 5.0)
FIRST, SECOND = model(2.0, 1.0, 5.0), model(2.0, 3.0, 5.0)  # τ = (1, 0, 0) and (1, 2, 0): Σ τ = (2, 2, 0)
END = model(1.0, 4.0, 5.0)  # FDA's end: (0, 3, 0)
ASIDE = model(1.0, 1.0, 10.0)  # (0, 0, 5), orthogonal to all others
MODELS = [FIRST, SECOND, END, ASIDE]


@pytest.fixture
def gram() -> torch.Tensor:
    return gram_of_differences(BASE, BASE, MODELS)


def test_the_gram_matrix_is_that_of_the_differences(gram):
    differences = torch.tensor([[1, 0, 0], [1, 2, 0], [0, 3, 0], [0, 0, 5]], dtype=torch.float64)
    assert torch.equal(gram, differences @ differences.T)


def test_the_gram_matrix_of_long_tensors_is_summed_in_chunks(monkeypatch):
    monkeypatch.setattr("fda.analysis.landscape.CHUNK", 3)
    generator = torch.Generator().manual_seed(0)
    base, *models = [{"w": torch.randn(2, 5, generator=generator)} for _ in range(4)]
    rows = torch.stack([one["w"].flatten() - base["w"].flatten() for one in models]).double()
    assert torch.allclose(gram_of_differences(["w"], base, models), rows @ rows.T, atol=1e-12)


def test_coordinates_in_the_plane_of_task_arithmetic_and_fda(gram):
    """u = (2, 2, 0); (0, 3, 0) less its part along u, made as long: v = (−2, 2, 0)."""
    found = plane(gram, 2, 2, "ta_fda")
    assert found.unit == pytest.approx(8**0.5)
    a, b, distance = found.coordinates(torch.eye(4, dtype=torch.float64))
    assert a.tolist() == pytest.approx([0.25, 0.75, 0.75, 0])
    assert b.tolist() == pytest.approx([-0.25, 0.25, 0.75, 0])
    assert distance[:3].tolist() == pytest.approx([0, 0, 0], abs=1e-7)
    assert distance[3].item() == pytest.approx(5 / 8**0.5)


def test_directions_are_orthogonal_and_of_one_length_and_task_arithmetic_lies_at_its_lambda(gram):
    found = plane(gram, 2, 2, "ta_fda")
    u, v = (
        torch.cat([combined(one, name, BASE, MODELS) for name in ("w", "v")]) for one in (found.along, found.across)
    )
    assert u.tolist() == pytest.approx([2, 2, 0]) and v.tolist() == pytest.approx([-2, 2, 0])
    lambdas = torch.tensor([[0.0], [0.3], [1.0]], dtype=torch.float64) * torch.tensor([1.0, 1, 0, 0])
    a, b, distance = found.coordinates(lambdas)
    assert a.tolist() == pytest.approx([0, 0.3, 1]) and b.tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert distance.tolist() == pytest.approx([0, 0, 0], abs=1e-7)


def test_the_directions_of_the_paths_are_the_principal_ones():
    """Differences along the axes: of lengths 1, 3 and 2. The two longest span the plane, in units of the task vector's 1."""
    models = [model(2.0, 1.0, 5.0), model(1.0, 4.0, 5.0), model(1.0, 1.0, 7.0)]
    found = plane(gram_of_differences(BASE, BASE, models), 1, 2, "paths")
    a, b, distance = found.coordinates(torch.eye(3, dtype=torch.float64))
    assert found.unit == pytest.approx(1)
    assert a.abs().tolist() == pytest.approx([0, 3, 0], abs=1e-7)
    assert b.tolist() == pytest.approx([0, 0, 2], abs=1e-7), "towards FDA's end"
    assert distance.tolist() == pytest.approx([1, 0, 0], abs=1e-7)


def test_models_on_one_line_span_no_plane():
    models = [model(2.0, 1.0, 5.0), model(4.0, 1.0, 5.0)]
    with pytest.raises(UserError, match="span no plane"):
        plane(gram_of_differences(BASE, BASE, models), 1, 1, "ta_fda")


def test_task_vectors_that_cancel_give_no_direction():
    models = [model(2.0, 1.0, 5.0), model(0.0, 1.0, 5.0), model(1.0, 4.0, 5.0)]
    with pytest.raises(UserError, match="add up to zero"):
        plane(gram_of_differences(BASE, BASE, models), 2, 2, "ta_fda")


# the grid ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [5, 7, 9, 23, 25, 101])
def test_tiles_hold_every_point_once_and_the_coarsest_grid_comes_first(points):
    found = tiles(points)
    flat = [point for tile in found for point in tile]
    assert sorted(flat) == list(range(points * points))
    assert max(map(len, found)) <= TILE
    coarsest = {int(row * points + column) for row in levels(points)[0] for column in levels(points)[0]}
    assert set(flat[:25]) == coarsest and {0, points * points - 1} <= coarsest


@pytest.mark.parametrize("points", range(5, 103, 2))
def test_each_level_contains_the_one_before_and_no_tile_spans_two(points):
    found = levels(points)
    assert all(set(coarse) < set(fine) for coarse, fine in pairwise(found))
    of = [
        min(k for k, level in enumerate(found) if p // points in level and p % points in level)
        for p in range(points**2)
    ]
    assert all(len({of[point] for point in tile}) == 1 for tile in tiles(points))


def test_missing_points_are_put_in_linearly_between_known_ones():
    """A plane is what linear interpolation reproduces exactly; a point that is known stays, however odd."""
    row, column = np.mgrid[0:9, 0:9].astype(float)
    whole = 2 * row - 3 * column + 1
    known = np.full((9, 9), np.nan)
    known[np.ix_([0, 2, 4, 6, 8], [0, 2, 4, 6, 8])] = whole[::2, ::2]
    assert refined(known) == pytest.approx(whole)
    known[3, 3] = 100.0
    assert refined(known)[3, 3] == 100 and refined(known)[3, 4] == pytest.approx(whole[3, 4])


def test_a_gap_in_the_coarsest_grid_stays_a_gap():
    known = np.full((9, 9), np.nan)
    known[np.ix_([0, 2, 4, 6, 8], [0, 2, 4, 6, 8])] = 1.0
    known[8, 8] = np.nan
    found = refined(known)
    assert np.isnan(found[8, 8]) and np.isnan(found[7, 7]) and found[6, 6] == 1 and found[0, 1] == 1


def test_the_extent_holds_all_points_with_a_margin_and_is_no_sliver():
    (left, right), (low, high) = extent(np.array([0.0, 1.0]), np.array([0.0, 0.5]))
    assert (left, right) == pytest.approx((-0.15, 1.15)) and (low, high) == pytest.approx((-0.075, 0.575))
    (left, right), (low, high) = extent(np.array([0.0, 1.0]), np.array([0.1, 0.1]))
    assert low < 0.1 < high and high - low == pytest.approx(0.4 * 1.3)


def test_an_even_grid_is_refused():
    with pytest.raises(ValueError, match="24 is even"):
        LandscapeSettings(source="x", points=24)
