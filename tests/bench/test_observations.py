"""The paper's observations, summed up from numbers that are known."""

import pytest

from fda.bench.observations import observed
from fda.store.records import UnitKey
from fda.store.store import Store
from tests.support.runs import spec


def test_ends_are_means_over_units_one_a_seed_and_rises_are_counted(fda_home):
    store = Store()
    runs = [store.create_run(spec(seed=seed)) for seed in (0, 1)]
    for seed, run in enumerate(runs):
        for block, last in ((0, 0.5), (1, 0.1)):
            key = UnitKey("construct", "red", block)
            store.add_units(run, [(key, 4)])
            rows = [("similarity", 0, 0.2), ("similarity", 2, 0.9), ("similarity", 4, last + 0.1 * seed)]
            rows += [("projection_energy", 0, 0.1), ("projection_energy", 4, 0.3), ("projection_energy_real", 0, 0.8)]
            store.add_scalars(run, key, rows)
    found = {row.measure: row for row in observed(store, runs, "fast", "weight")}
    assert list(found) == ["similarity", "projection_energy"], "what was not recorded is left out"
    similarity = found["similarity"]
    assert similarity.first == pytest.approx([0.2, 0.2]) and similarity.last == pytest.approx([0.3, 0.4])
    assert similarity.rose == 0.5 and similarity.real is None, "0.2 → 0.2 is no rise"
    assert found["projection_energy"].rose == 1 and found["projection_energy"].real == pytest.approx(0.8)
