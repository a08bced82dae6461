"""Similarity at any k, chance and principal angles: exact cases, sampling, and SciPy's own angles."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from fda.analysis.spectrum import subspace_similarity, top_directions
from fda.analysis.subspace import chance, principal_angles, similarities, similarity, similarity_by_count


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def basis(width: int, k: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(random(width, k, seed=seed).double())[0]


def spread(scales: list[float], seed: int) -> torch.Tensor:
    """Inputs (40, 3, d) with these standard deviations along the axes."""
    return random(40, 3, len(scales), seed=seed) * torch.tensor(scales)


def test_inputs_along_the_same_axes_are_similar_and_along_others_are_not():
    first, again, last = spread([9, 8, 0.01, 0.01], 0), spread([9, 8, 0.01, 0.01], 1), spread([0.01, 0.01, 9, 8], 2)
    assert similarity(first, again, 0.5) == pytest.approx(1, abs=1e-4)
    assert similarity(first, last, 0.5) == pytest.approx(0, abs=1e-4)
    assert similarity(first, last, 1.0) == pytest.approx(1), "all directions are one space"


def test_several_shares_are_the_similarities_one_by_one():
    one, other = spread([5, 4, 3, 2, 1], 3), spread([1, 5, 2, 3, 4], 4)
    shares = (0.2, 0.4, 0.8)
    assert similarities(one, other, shares) == pytest.approx([similarity(one, other, share) for share in shares])


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_random_inputs_meet_by_chance(share):
    values = [similarity(random(50, 40, seed=2 * i), random(50, 40, seed=2 * i + 1), share) for i in range(80)]
    assert chance(40, share) == pytest.approx(share)
    assert np.mean(values) == pytest.approx(chance(40, share), abs=4 * np.std(values) / math.sqrt(80))


def test_chance_counts_whole_directions():
    assert chance(3) == pytest.approx(1 / 3) and chance(1024) == pytest.approx(205 / 1024)


def test_angles_of_a_rotation_made_by_hand():
    """Two axes of ℝ⁵, each turned towards a free axis by its own angle."""
    small, large = 1e-9, 1.1
    eye = torch.eye(5, dtype=torch.float64)
    turned = torch.stack(
        [math.cos(large) * eye[0] + math.sin(large) * eye[2], math.cos(small) * eye[1] + math.sin(small) * eye[3]],
        dim=1,
    )
    angles = principal_angles(eye[:, :2], turned)
    assert angles.tolist() == pytest.approx([small, large], rel=1e-6), "even the one whose cosine rounds to 1"


def test_angles_of_equal_and_of_orthogonal_spaces():
    eye = torch.eye(6, dtype=torch.float64)
    assert principal_angles(eye[:, :3], eye[:, [2, 0, 1]]).abs().max() < 1e-12
    assert principal_angles(eye[:, :3], eye[:, 3:]).tolist() == pytest.approx([math.pi / 2] * 3)


def test_angles_are_scipys_and_explain_the_similarity():
    one, other = basis(30, 6, 1), basis(30, 6, 2)
    angles = principal_angles(one, other)
    assert sorted(angles.tolist()) == angles.tolist()
    assert angles.numpy() == pytest.approx(np.sort(scipy.linalg.subspace_angles(one.numpy(), other.numpy())))
    x, y = spread([6, 5, 4, 3, 2, 1], 5), spread([1, 2, 6, 5, 4, 3], 6)
    tops = [torch.linalg.svd(z.reshape(-1, 6).double())[2][:3].T for z in (x, y)]
    assert principal_angles(*tops).cos().square().mean().item() == pytest.approx(similarity(x, y, 0.5))


def test_every_count_at_once_agrees_with_one_at_a_time():
    x, others = random(30, 4, 12, seed=1), random(50, 4, 12, seed=2)
    by_count = similarity_by_count(top_directions(x, 12), top_directions(others, 12))
    one_by_one = [subspace_similarity(top_directions(x, k), top_directions(others, k)) for k in range(1, 13)]
    assert by_count.tolist() == pytest.approx(one_by_one, abs=1e-12)
    assert by_count[-1] == pytest.approx(1, abs=1e-12), "all directions are one space"
