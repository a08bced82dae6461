"""The parts of feature drift, on states that can be added up by hand."""

import math

import pytest
import torch

from fda.analysis.drift import Drift


def states(*values: float) -> torch.Tensor:
    """One sample of tokens of width 1."""
    return torch.tensor(values)[None, :, None]


def test_drift_is_relative_to_the_expert_and_its_parts_have_a_cross_term():
    found = Drift()
    found.add(states(5.0, 2.0), states(4.0, 2.0), states(3.0, 1.0))
    found.add(states(0.0, 0.0), states(0.0, 0.0), states(0.0, 0.0))
    # merged − expert = (2, 1), inherited (1, 0), own (1, 1); 5 = 1 + 2 + 2 · ⟨inherited, own⟩
    assert found.relative() == pytest.approx((5 / 10, 1 / 10, 2 / 10))


def test_padding_has_no_part_and_no_state_no_drift():
    found = Drift()
    found.add(states(5.0, 9.0), states(4.0, 9.0), states(3.0, 1.0), weight=torch.tensor([[1.0, 0.0]]))
    assert found.relative() == pytest.approx((4 / 9, 1 / 9, 1 / 9))
    assert all(map(math.isnan, Drift().relative()))
