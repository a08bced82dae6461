"""Interference of task vectors and what merged updates keep of them, on cases that can be computed by hand."""

import math

import pytest
import torch

from fda.analysis.interference import sign_conflict, singular_task_interference
from fda.analysis.updates import alignment_ratio, kept_rank, left_vectors, over_accumulation


def triple(row: int, column: int, value: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One singular triple of a 3 × 3 matrix whose only entry is `value`."""
    unit = torch.eye(3)
    return unit[:, row : row + 1], torch.tensor([value]), unit[column : column + 1]


def test_orthogonal_tasks_do_not_interfere_and_equal_ones_do():
    assert singular_task_interference([triple(0, 0, 3.0), triple(1, 1, 5.0)]) == 0
    assert singular_task_interference([triple(0, 0, 3.0), triple(0, 1, 5.0)]) == 0, "one side alone is no interference"
    # UᵀU − I = VᵀV − I = [[0, 1], [1, 0]], so the product is diag(5, 3)
    assert singular_task_interference([triple(0, 0, 3.0), triple(0, 0, 5.0)]) == pytest.approx(8)


def test_entries_that_a_task_left_alone_have_no_sign():
    first, second = torch.tensor([1.0, -2.0, 0.0, 4.0]), torch.tensor([-1.0, -1.0, 5.0, 0.0])
    assert sign_conflict([first, second]) == pytest.approx(1 / 2)
    third = torch.tensor([0.0, 0.0, -1.0, 0.0])  # shares an entry with `second` alone, and conflicts there
    assert sign_conflict([first, second, third]) == pytest.approx((1 / 2 + 1) / 2)
    assert math.isnan(sign_conflict([first, third]))


def test_a_direction_that_two_tasks_share_is_counted_twice():
    shared, own = torch.diag(torch.tensor([4.0, 0.0, 0.0])), torch.diag(torch.tensor([0.0, 2.0, 0.0]))
    first, second = shared + own, shared
    update = first + second  # diag(8, 2, 0)
    left, values = left_vectors(update)
    assert values.tolist() == pytest.approx([8, 2, 0])
    assert over_accumulation(left[:, :2], update, first).tolist() == pytest.approx([2, 1])
    of_second = over_accumulation(left[:, :2], update, second)
    assert of_second[0] == pytest.approx(2) and of_second[1].isnan(), "it has nothing along the second direction"
    assert over_accumulation(left[:, :1], -update, first).item() == pytest.approx(-2)


def test_the_kept_rank_is_the_least_that_passes_95_per_cent_of_the_norm():
    assert kept_rank(torch.tensor([3.0, 1.0, 0.1])) == 2  # 3 / √10.01 = 0.948
    assert kept_rank(torch.tensor([3.1, 1.0, 0.1])) == 1  # 3.1 / √10.62 = 0.951
    assert kept_rank(torch.zeros(3)) == 0


def test_alignment_is_the_share_of_the_norm_inside_the_space():
    tau = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    unit = torch.eye(3, dtype=torch.float64)
    assert alignment_ratio(unit[:, :1], tau) == pytest.approx(3 / 5)
    assert alignment_ratio(unit[:, :2], tau) == pytest.approx(1)
    assert alignment_ratio(unit[:, :0], tau) == 0 and math.isnan(alignment_ratio(unit, torch.zeros(3, 2)))
