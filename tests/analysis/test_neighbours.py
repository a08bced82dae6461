"""Anchors among real inputs: hand-made cases whose nearest and whose map are known."""

import numpy as np
import pytest
import torch

from fda.analysis.neighbours import centre_of, directions, nearest, nearest_others, plane_map


def test_directions_are_of_the_mean_token_and_forget_length_and_the_common_part():
    real = torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]])  # token means (2, 0) and (0, 2)
    centre = centre_of(real)
    assert centre.tolist() == [1, 1]
    expected = np.array([[1, -1], [-1, 1]]) / np.sqrt(2)
    assert directions(real, centre).numpy() == pytest.approx(expected)
    assert directions(7 * (real - centre) + centre, centre).numpy() == pytest.approx(expected)
    assert directions(centre.expand(1, 2, 2), centre).tolist() == [[0, 0]], "no direction is no number either"


def test_the_nearest_are_those_of_the_largest_cosine_nearest_first():
    real = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]]).double()
    places, cosines = nearest(torch.tensor([[1.0, 0.0], [0.6, 0.8]]).double(), real, 3)
    assert places.tolist() == [[0, 3, 1], [3, 1, 0]] and cosines[1].tolist() == pytest.approx([1, 0.8, 0.6], abs=1e-6)
    with pytest.raises(ValueError, match="5 neighbours of 4"):
        nearest(real, real, 5)
    assert nearest_others(real).tolist() == pytest.approx([0.6, 0.8, 0.0, 0.8]), "none is its own neighbour"


def test_the_map_is_that_of_numpys_svd_whatever_the_order_of_the_points():
    random = torch.Generator().manual_seed(0)
    anchors, real = (torch.randn(n, 7, generator=random).double() for n in (5, 9))
    both = torch.cat([anchors, real]).numpy()
    centred = both - both.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    found = plane_map(anchors, real).numpy()
    assert np.abs(found) == pytest.approx(np.abs(centred @ axes[:2].T)) and found.shape == (14, 2)
    assert plane_map(real, anchors).numpy() == pytest.approx(np.concatenate([found[5:], found[:5]])), "signs are fixed"
