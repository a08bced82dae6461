"""Spectra and subspace similarity against NumPy and exact cases."""

import numpy as np
import pytest
import torch

from fda.analysis.spectrum import (
    decomposed,
    effective_rank,
    subspace_similarity,
    tail_energy,
    top_count,
    top_directions,
)


def test_spectrum_matches_numpy():
    for shape in ((7, 5, 12), (2, 3, 12)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = np.linalg.svd(x.reshape(-1, 12).double().numpy(), compute_uv=False)
        assert decomposed(x)[0].numpy() == pytest.approx(values / values[0], rel=1e-6)


def test_equal_subspaces_give_one_and_orthogonal_ones_zero():
    eye = torch.eye(10, dtype=torch.float64)
    assert subspace_similarity(eye[:, :3], eye[:, [2, 0, 1]]) == pytest.approx(1)
    assert subspace_similarity(eye[:, :3], eye[:, 3:6]) == pytest.approx(0)
    assert subspace_similarity(eye[:, :2], eye[:, 1:3]) == pytest.approx(0.5)


def test_random_subspaces_meet_by_chance_k_over_d():
    generator = torch.Generator().manual_seed(0)
    values = [
        subspace_similarity(*(top_directions(torch.randn(50, 4, 40, generator=generator)) for _ in range(2)))
        for _ in range(60)
    ]
    assert np.mean(values) == pytest.approx(0.2, abs=4 * np.std(values) / np.sqrt(60))


def test_top_directions_are_the_right_singular_vectors():
    x = torch.randn(9, 4, 10, generator=torch.Generator().manual_seed(1))
    _, _, vt = np.linalg.svd(x.reshape(-1, 10).numpy())
    assert subspace_similarity(top_directions(x, 3), torch.tensor(vt[:3].T).double()) == pytest.approx(1, abs=1e-5)
    assert top_directions(x).shape == (10, 2)


def test_effective_rank_of_flat_and_single_spectra():
    assert effective_rank(torch.ones(8)) == pytest.approx(8)
    assert effective_rank(torch.tensor([1.0, 0, 0])) == pytest.approx(1)


def test_tail_energy_is_what_lies_outside_the_top_directions():
    assert top_count(10) == 2 and top_count(3) == 1 and top_count(10, 0.5) == 5
    assert tail_energy(torch.tensor([3.0, 2, 1, 1, 1]), 5) == pytest.approx(7 / 16)
    assert tail_energy(torch.tensor([3.0, 2, 1, 1, 1]), 5, share=0.4) == pytest.approx(3 / 16)
    assert tail_energy(torch.ones(20), 20) == pytest.approx(0.8)
    assert tail_energy(torch.tensor([1.0, 0.5]), 10) == 0, "fewer vectors than top directions"
    with pytest.raises(ValueError, match="share"):
        top_count(10, 0)


def test_tail_energy_matches_numpy_on_a_matrix():
    x = torch.randn(30, 4, 25, generator=torch.Generator().manual_seed(2)) * torch.linspace(2, 0.1, 25)
    values = np.linalg.svd(x.reshape(-1, 25).double().numpy(), compute_uv=False)
    assert tail_energy(decomposed(x)[0], 25) == pytest.approx((values[5:] ** 2).sum() / (values**2).sum())
