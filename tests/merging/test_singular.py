"""Leading triples and polar factors against full decompositions in float64, on well and badly behaved matrices."""

import threading

import pytest
import torch

from fda.merging.math.parallel import side_by_side
from fda.merging.math.singular import full_polar, full_top_triples, polar, top_triples
from fda.merging.methods.iso_c import isotropic

SHAPES = [(200, 96), (96, 200), (128, 128), (5, 7), (1, 90), (90, 1)]


def orthonormal(rows: int, columns: int, random: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(rows, columns, generator=random, dtype=torch.float64))[0]


def matrix_with(values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    left, right = orthonormal(shape[0], len(values), random), orthonormal(shape[1], len(values), random)
    return ((left * values.double()) @ right.T).float()


def product(triples: tuple[torch.Tensor, ...]) -> torch.Tensor:
    u, s, vt = (part.double() for part in triples)
    return (u * s) @ vt


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_leading_triples_are_those_of_the_full_decomposition(shape, condition):
    small = min(shape)
    matrix = matrix_with(1e-3 * torch.logspace(0, -float(torch.tensor(condition).log10()), small), shape)
    count = max(1, small // 8)
    if condition == 1.0 and small > 1:  # every direction is a leading one: the product is not determined, its size is
        assert torch.allclose(top_triples(matrix, count)[1], torch.full((count,), 1e-3), rtol=1e-5)
        return
    found = top_triples(matrix, count)
    assert [tuple(part.shape) for part in found] == [(shape[0], count), (count,), (count, shape[1])]
    assert distance(product(found), product(full_top_triples(matrix.double(), count))) < 1e-5
    assert torch.allclose(found[1].double(), torch.linalg.svdvals(matrix.double())[:count], rtol=1e-5)
    for side in (found[0].T, found[2]):
        assert torch.allclose(side @ side.T, torch.eye(count), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e3])
def test_polar_factor_is_that_of_the_full_decomposition(shape, condition):
    matrix = matrix_with(torch.logspace(0, -float(torch.tensor(condition).log10()), min(shape)), shape)
    assert distance(polar(1e-4 * matrix), full_polar(matrix.double())) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("singular", [False, True])
def test_a_polar_factor_may_take_the_matrix_place(shape, singular):
    values = torch.logspace(0, -1, min(shape))
    values[-1:] *= not singular  # then the full decomposition is taken
    matrix = matrix_with(values, shape)
    apart = polar(matrix.clone())
    assert polar(matrix, out=matrix).data_ptr() == matrix.data_ptr()
    torch.testing.assert_close(matrix, apart, atol=1e-6, rtol=1e-5)


def test_leading_triples_of_nothing_are_orthonormal():
    left, values, right = top_triples(torch.zeros(100, 80), 30)
    assert not values.any()
    assert torch.equal(left.T @ left, torch.eye(30)) and torch.equal(right @ right.T, torch.eye(30))


@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(100, 80),
        matrix_with(torch.linspace(1, 0.5, 9), (100, 80)),  # of rank 9
        matrix_with(torch.logspace(0, -12, 80), (100, 80)),
    ],
    ids=["zero", "deficient", "ill"],
)
def test_where_a_gram_matrix_says_too_little_the_full_decomposition_is_taken(matrix):
    assert all(map(torch.equal, top_triples(matrix, 40), full_top_triples(matrix, 40)))
    assert torch.equal(polar(matrix), full_polar(matrix))


def test_a_tear_between_near_equal_values_is_no_worse_than_float32():
    """Between σ30 and σ31 there is almost nothing: any cut is right that leaves out as little as the best one."""
    values = torch.cat([torch.linspace(2, 1, 30), torch.full((1,), 1 - 1e-6), torch.linspace(0.9, 0.1, 65)])
    matrix = matrix_with(values, (160, 96))
    left_out = (matrix.double() - product(top_triples(matrix, 30))).norm()
    assert float(left_out / values[30:].double().norm()) == pytest.approx(1, rel=1e-5)


def test_isotropic_takes_the_mean_of_all_singular_values():
    matrix = matrix_with(torch.logspace(0, -2, 70), (150, 70))
    values = torch.linalg.svdvals(isotropic(matrix).double())
    wanted = torch.linalg.svdvals(matrix.double()).mean()
    assert torch.allclose(values, wanted.expand(70), rtol=1e-5)


def test_pieces_come_in_order_and_are_asked_for_only_when_a_lane_is_free():
    asked, given, lock = [], [], threading.Lock()

    def pieces():
        for index in range(12):
            with lock:
                asked.append(index)
            yield lambda index=index: index

    for found in side_by_side(pieces()):
        given.append(found)
        assert len(asked) - len(given) <= 4
    assert given == list(range(12))


def test_a_failing_piece_raises():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(side_by_side([lambda: 1, fail, lambda: 2]))
