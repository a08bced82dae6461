"""Preset fast against preset paper: averages as the store has them, and an interval that is zero where nothing differs."""

import numpy as np
import pytest

from fda.bench.presets import summary
from fda.errors import UserError
from fda.merging.methods.fda import STARTS
from fda.store.predictions import save_predictions
from fda.store.store import Store
from fda.tasks.answers import Answers
from tests.support.runs import spec


def answers(rights: int, n: int = 100) -> Answers:
    return Answers(np.array([1] * rights + [0] * (n - rights)), np.ones(n, dtype=int))


@pytest.fixture
def runs(fda_home):
    store = Store()
    runs = {preset: [store.create_run(spec(seed=seed)) for seed in (0, 1)] for preset in ("paper", "fast")}
    for preset, gain in (("paper", 0), ("fast", 20)):
        for run in runs[preset]:
            for start in STARTS:
                rights = 50 + (gain if start != "ta" else 0)
                save_predictions(store.run_dir(run), f"fda:{start}", {"red": answers(rights)})
    return store, runs


def test_the_difference_is_fast_less_paper_with_a_paired_interval(runs):
    rows = {row["start"]: row for row in summary(*runs)["rows"]}
    assert list(rows) == list(STARTS)
    assert rows["tsv"]["paper"] == [0.5, 0.5] and rows["tsv"]["fast"] == [0.7, 0.7]
    assert rows["tsv"]["difference"] == pytest.approx(0.2)
    low, high = rows["tsv"]["interval"]
    assert 0.1 < low < 0.2 < high < 0.3
    assert rows["ta"]["difference"] == 0 and rows["ta"]["interval"] == [0, 0]


def test_a_run_without_answers_is_named(runs):
    store, known = runs
    other = store.create_run(spec(seed=2))
    with pytest.raises(UserError, match=f"run {other} has no answers of fda:pretrained"):
        summary(store, {"paper": known["paper"], "fast": [known["fast"][0], other]})
