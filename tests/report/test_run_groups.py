"""Several runs side by side: seeds of the same settings are one group, named by what differs; means and ranges by hand."""

import numpy as np
import pytest

from fda.figures.run_groups import group_curves, group_scores
from fda.report.run_groups import run_groups, scores_table, settings_table
from fda.requests.runs import construct_settings, make_spec
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.store import Store
from tests.support.made_anchors import made_zoo


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))
    return Store()


def run(store: Store, zoo, *, steps: int, seed: int, losses, average: float) -> str:
    """A finished run of two units with these losses at step 0, 1, 2, and task arithmetic with this average."""
    settings = construct_settings("fast", steps=steps, seed=seed)
    spec = make_spec(zoo, construct=settings, methods=("ta",), device="cpu", seed=seed)
    run_id = store.create_run(spec)
    for block, curve in enumerate(losses):
        key = UnitKey("construct", "digits", block)
        store.add_units(run_id, [(key, 3)])
        store.add_scalars(run_id, key, [("angle_loss", step, value) for step, value in enumerate(curve)])
        store.add_snapshot(run_id, key, 2, "spectrum", np.array([2.0, 1.0 + block]))
    scores = [Score("ta", task, "test", "accuracy", average, 50) for task in ("digits", "faces")]
    store.add_result(run_id, MethodResult("ta", "done", {}, 1.0, 2**20, None), scores)
    store.add_result(
        run_id,
        MethodResult("individual", "done", {}, 1.0, 2**20, None),
        [Score("individual", task, "test", "accuracy", 0.99, 50) for task in ("digits", "faces")],
    )
    store.set_state(run_id, "done")
    return run_id


def test_runs_of_one_seed_are_not_called_seeds(store, tmp_path):
    zoo = made_zoo(tmp_path, ("digits", "faces"))
    ids = [run(store, zoo, steps=steps, seed=0, losses=([0.8], [0.6]), average=0.5) for steps in (5, 5, 9)]
    assert [group.name for group in run_groups(store, [store.run(one) for one in ids])] == [
        "steps 5 (2 runs)",
        "steps 9",
    ]


def test_seeds_are_one_group_with_mean_and_range(store, tmp_path):
    zoo = made_zoo(tmp_path, ("digits", "faces"))
    ids = [
        run(store, zoo, steps=5, seed=0, losses=([0.8, 0.4, 0.2], [0.6, 0.2]), average=0.5),
        run(store, zoo, steps=5, seed=1, losses=([0.4, 0.2, 0.1], [0.4, 0.2, 0.1]), average=0.7),
        run(store, zoo, steps=9, seed=0, losses=([0.2, 0.1, 0.1], [0.2, 0.1, 0.1]), average=0.6),
    ]
    groups = run_groups(store, [store.run(one) for one in ids])
    assert [group.name for group in groups] == ["steps 5 (2 seeds)", "steps 9"]
    x, losses = groups[0].losses
    assert x.tolist() == [0, 1, 2]
    assert losses == pytest.approx(np.array([[0.7, 0.3, 0.2], [0.4, 0.2, 0.1]])), (
        "a unit that stopped early leaves the mean"
    )
    assert groups[0].spectrum[1][0] == pytest.approx([1.0, 0.75])
    assert groups[0].averages["ta"] == pytest.approx((0.5, 0.7))

    table = settings_table(groups)
    assert list(table.columns) == ["runs", "steps", "seeds", "loss", "best merge %"], "only what differs"
    assert list(table["steps"]) == ["5", "9"] and list(table["seeds"]) == ["0, 1", "0"]
    assert list(table["loss"]) == ["0.150 (0.100 to 0.200)", "0.100"]
    assert list(table["best merge %"]) == ["60.0 (50.0 to 70.0)", "60.0"], "the individual models are no merge"
    assert len(scores_table(groups)) == 6

    scores = group_scores({group.name: group.averages for group in groups}, "light", titles={"ta": "TA"})
    means = dict(zip(scores.layout.yaxis.ticktext, scores.data[0].x, strict=True))
    assert means["TA"] == pytest.approx(60) and max(scores.data[0].error_x.array) == pytest.approx(10)
    curves = group_curves(
        {group.name: group.losses for group in groups}, "dark", title="", x_title="step", y_title="loss"
    )
    assert [trace.uid for trace in curves.data] == ["range steps 5 (2 seeds)", "mean steps 5 (2 seeds)", "mean steps 9"]
    assert curves.data[1].y == pytest.approx([0.55, 0.25, 0.15])
