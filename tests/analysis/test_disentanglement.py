"""The disentanglement error, and the models that it compares, on cases worked out by hand."""

import numpy as np
import torch

from fda.analysis.disentanglement import Moved, disentanglement_error


def test_it_is_the_mean_share_of_changed_answers():
    alone = [np.array([0, 1, 2, 3]), np.array([1, 1])]
    together = [np.array([0, 1, 0, 0]), np.array([1, 1])]
    assert disentanglement_error(alone, together) == (2 / 4 + 0) / 2
    assert disentanglement_error(alone, alone) == 0
    assert np.isnan(disentanglement_error(alone, [np.array([np.nan] * 4), np.array([1, 1])]))


def test_a_model_moves_along_each_task_by_its_own_coefficient():
    base = {"w": torch.tensor([1.0, 2.0]), "count": torch.tensor([7])}
    first = {"w": torch.tensor([2.0, 2.0]), "count": torch.tensor([8])}
    second = {"w": torch.tensor([1.0, 6.0]), "count": torch.tensor([9])}
    moved = Moved(base, [first, second], [0.5, -1.0])
    assert {name: moved[name].tolist() for name in moved} == {"w": [1.5, -2.0], "count": [7]}
