"""What the store keeps of a run's units and methods: their progress, and series of numbers as arrays."""

import math

import numpy as np
import pytest

from fda.store.numbers import thin
from fda.store.store import MethodResult, Score, Store, UnitKey
from tests.support.runs import spec, sql

KEY = UnitKey("construct", "red", 0)
OTHER = UnitKey("construct", "red", 1)


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def run_id(store) -> str:
    run_id = store.create_run(spec())
    store.add_units(run_id, [(KEY, 100), (OTHER, 100)])
    return run_id


# units


def test_units_keep_their_order_and_what_they_were_told(store, run_id):
    store.update_unit(run_id, OTHER, state="running", step=np.int64(7), loss=np.float32(0.5), best_step=6, message="ok")
    assert [unit.key for unit in store.units(run_id)] == [KEY, OTHER]
    unit = store.units(run_id)[1]
    assert (unit.state, unit.step, unit.steps, unit.loss, unit.best_step, unit.message) == (
        "running",
        7,
        100,
        0.5,
        6,
        "ok",
    )
    store.update_unit(run_id, OTHER, loss=math.nan)
    assert store.units(run_id)[1].loss is None
    store.add_units(run_id, [(OTHER, 50), (UnitKey("evaluate", "ta"), 1)])
    assert [(u.state, u.steps) for u in store.units(run_id, "construct")] == [("pending", 100), ("running", 50)]
    assert [u.key for u in store.units(run_id, "evaluate")] == [UnitKey("evaluate", "ta", -1)]


def test_a_unit_or_a_field_that_is_not_there_is_a_programmers_error(store, run_id):
    with pytest.raises(KeyError, match="nothing"):
        store.update_unit(run_id, UnitKey("construct", "nothing", 0), step=1)
    with pytest.raises(TypeError, match="has no colour"):
        store.update_unit(run_id, KEY, colour="red")


def test_reset_clears_one_unit(store, run_id):
    for key in (KEY, OTHER):
        store.update_unit(run_id, key, state="failed", step=9, loss=1.0, best_step=3, seconds=1.0, message="no")
        store.add_scalars(run_id, key, [("angle_loss", 0, 1.0)])
        store.add_snapshot(run_id, key, 0, "spectrum", np.ones(2))
    store.reset_unit(run_id, KEY)
    cleared, kept = store.units(run_id)
    assert (cleared.state, cleared.step, cleared.loss, cleared.best_step, cleared.seconds, cleared.message) == (
        "pending",
        0,
        *[None] * 4,
    )
    assert (kept.state, kept.step) == ("failed", 9)
    assert list(store.scalars(run_id, "angle_loss")) == list(store.snapshots(run_id, "spectrum")) == [OTHER]


# numbers


def test_scalars_come_back_as_arrays_by_unit(store, run_id):
    store.add_scalars(
        run_id, KEY, [("angle_loss", np.int64(2), np.float32(0.25)), ("angle_loss", 0, 1), ("seconds", 0, 9)]
    )
    store.add_scalars(run_id, KEY, [("angle_loss", 1, math.nan), ("angle_loss", 0, 0.5), ("angle_loss", 3, math.inf)])
    store.add_scalars(run_id, OTHER, [("angle_loss", 0, 7.0)])
    series = store.scalars(run_id, "angle_loss")
    steps, values = series[KEY]
    assert steps.dtype == np.int64 and values.dtype == np.float64
    assert steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(values, [0.5, np.nan, 0.25, np.inf])
    assert series[OTHER][1].tolist() == [7.0]
    assert store.scalar_names(run_id) == ["angle_loss", "seconds"] and store.scalar_names(run_id, stage="adapt") == []
    assert store.scalars(run_id, "unheard_of") == {}


def test_scalars_are_chosen_by_stage_name_block_and_step(store, run_id):
    keys = [UnitKey("construct", "blue", 1), UnitKey("adapt", "fda:ta", 1)]
    store.add_units(run_id, [(key, 5) for key in keys])
    for key in (KEY, OTHER, *keys):
        store.add_scalars(run_id, key, [("loss", step, step) for step in range(5)])
    assert list(store.scalars(run_id, "loss")) == [KEY, OTHER, keys[0]]
    assert list(store.scalars(run_id, "loss", stage="adapt")) == [keys[1]]
    assert list(store.scalars(run_id, "loss", names=["red"])) == [KEY, OTHER]
    assert list(store.scalars(run_id, "loss", blocks=[1])) == [OTHER, keys[0]]
    assert store.scalars(run_id, "loss", after=2)[KEY][0].tolist() == [3, 4]
    assert store.scalars(run_id, "loss", after=4) == {}
    assert {key: value.tolist() for key, (_, value) in store.scalars(run_id, "loss", points=1).items()} == {
        KEY: [4],
        OTHER: [4],
        keys[0]: [4],
    }


@pytest.mark.parametrize(("count", "points"), [(1501, 1500), (10_000, 1500), (10_007, 11), (100, 3), (7, 6)])
def test_thinning_keeps_spikes_order_and_the_last_point(count, points):
    steps = np.arange(count) * 3
    values = np.sin(steps / 50.0)
    spikes = [count // 3, 2 * count // 3]
    values[spikes] = 1e6, -1e6
    thinned_steps, thinned = thin(steps, values, points)
    assert len(thinned_steps) <= points
    assert (np.diff(thinned_steps) > 0).all() and thinned_steps[-1] == steps[-1] and thinned[-1] == values[-1]
    assert 1e6 in thinned and -1e6 in thinned
    assert (values[thinned_steps // 3] == thinned).all()


def test_thinning_leaves_short_series_and_gaps_alone():
    steps, values = np.arange(5), np.array([1.0, np.nan, np.nan, np.nan, 2.0])
    assert thin(steps, values, 5)[0].tolist() == thin(steps, values, None)[0].tolist() == [0, 1, 2, 3, 4]
    long = np.full(1000, np.nan)
    long[:100] = long[-100:] = 1.0
    assert np.isnan(thin(np.arange(1000), long, 20)[1]).any()
    assert thin(steps, values, 1)[1].tolist() == [2.0]


def test_snapshots_come_back_as_float32_rows(store, run_id):
    spectra = np.linspace(1, 0, 12).reshape(3, 4)
    for step in (20, 0, 10):
        store.add_snapshot(run_id, KEY, step, "spectrum", spectra[step // 10])
    store.add_snapshot(run_id, OTHER, 5, "similarity", np.float64(0.3))
    steps, values = store.snapshots(run_id, "spectrum")[KEY]
    assert steps.tolist() == [0, 10, 20] and values.dtype == np.float32
    np.testing.assert_array_equal(values, spectra.astype(np.float32))
    assert store.snapshots(run_id, "similarity")[OTHER][1].shape == (1, 1)
    assert store.snapshots(run_id, "spectrum", names=["blue"]) == store.snapshots(run_id, "spectrum", blocks=[1]) == {}
    ((data,),) = sql(store, "SELECT data FROM snapshots WHERE kind = 'similarity'")
    assert data == np.array([0.3], "<f4").tobytes()


def test_system_returns_the_last_moments(store, run_id):
    for reading in range(5):
        store.add_system(run_id, {"memory_bytes": reading, "cpu_cores": 1})
    rows = store.system(run_id, last=2)
    assert [(key, value) for _, key, value in rows] == [
        ("cpu_cores", 1),
        ("memory_bytes", 3),
        ("cpu_cores", 1),
        ("memory_bytes", 4),
    ]
    assert rows[0][0] < rows[-1][0] and len(store.system(run_id)) == 10


def test_a_methods_result_replaces_its_former_one(store, run_id):
    failed = MethodResult("ta", "failed", {}, None, None, "no head.")
    tsv = MethodResult("tsv", "done", {"rank": 0.5, "chosen": [1, 2]}, 1.5, 10, None)
    score = Score("tsv", "red", "test", "accuracy", 0.75, 40)
    store.add_result(run_id, failed)
    store.add_result(run_id, tsv, [score, Score("tsv", "blue", "test", "accuracy", math.nan, 0)])
    done = MethodResult("ta", "done", {"coefficient": 0.3}, 2.0, np.int64(5), None)
    store.add_result(run_id, done, [Score("ta", "red", "test", "accuracy", np.float32(0.5), 40)])
    store.add_result(run_id, tsv, [score])
    methods, scores = store.results(run_id)
    assert methods == [done, tsv]
    assert sorted(scores, key=lambda s: s.method) == [Score("ta", "red", "test", "accuracy", 0.5, 40), score]
