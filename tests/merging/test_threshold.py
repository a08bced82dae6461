"""The exact k-th magnitude from histograms of float bits, against sorting."""

import pytest
import torch

from fda.merging.math.threshold import CHUNK, count_coarse, keep_thresholds, kth_smallest

VECTORS = {
    "gaussian": torch.randn(1000, generator=torch.Generator().manual_seed(0)),
    "many sizes": torch.logspace(-44, 38, 500),  # subnormals included
    "ties": torch.arange(300).remainder(7) / 8 - 0.375,
    "zeros": torch.zeros(50),
    "mostly zero": torch.cat([torch.zeros(90), torch.ones(10)]),
    "close": torch.nextafter(torch.ones(400), torch.tensor(2.0)) + torch.arange(400) * 2.0**-23,
    "one": torch.tensor([-3.0]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_every_rank_is_the_sorted_magnitude(name):
    vector = VECTORS[name]
    parts = [[part] for part in vector.split(37)]
    coarse = count_coarse(lambda: parts, 1)
    magnitudes = vector.abs().sort().values
    for rank in {1, 2, len(vector) // 3 + 1, len(vector) - 1, len(vector)} - {0}:
        assert kth_smallest(lambda: parts, coarse, min(rank, len(vector))) == [
            float(magnitudes[min(rank, len(vector)) - 1])
        ]


@pytest.mark.parametrize("density", [0.0, 0.01, 0.2, 0.5, 0.999, 1.0])
def test_the_threshold_is_global_and_each_tasks_own(density):
    taus = torch.randn(3, 900, generator=torch.Generator().manual_seed(1)) * torch.tensor([[1.0], [1e-3], [50.0]])
    parts = [list(part) for part in taus.split([1, 99, 500, 300], dim=1)]
    thresholds = keep_thresholds(lambda: parts, 3, density)
    for tau, threshold in zip(taus, thresholds, strict=True):
        if density == 1.0:
            assert threshold == 0.0
        else:
            assert threshold == float(tau.abs().kthvalue(900 - int(900 * density)).values)
            assert int((tau.abs() >= threshold).sum()) == int(900 * density) + 1


def test_tensors_longer_than_a_chunk_and_without_entries():
    long = torch.randn(CHUNK + 5, generator=torch.Generator().manual_seed(2))
    parts = [[long], [torch.zeros(0)], [torch.tensor(1.0)]]
    everything = torch.cat([long, torch.ones(1)]).abs().sort().values
    assert keep_thresholds(lambda: parts, 1, 0.2) == [
        float(everything[len(everything) - int(len(everything) * 0.2) - 1])
    ]
    assert keep_thresholds(lambda: iter(()), 2, 0.2) == [0.0, 0.0]
