"""FDA against its starts: averages as the store has them, and an interval that is zero where nothing differs."""

import numpy as np
import pytest

from fda.bench.starts import summary
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
    runs = [store.create_run(spec(seed=seed)) for seed in (0, 1)]
    for run, gain in zip(runs, (10, 20), strict=True):
        for start in STARTS:
            save_predictions(store.run_dir(run), start, {"red": answers(50)})
            save_predictions(store.run_dir(run), f"fda:{start}", {"red": answers(50 + (gain if start != "ta" else 0))})
    return store, runs


def test_the_difference_is_the_mean_over_runs_with_an_interval_around_it(runs):
    rows = {row["start"]: row for row in summary(*runs)["rows"]}
    assert list(rows) == list(STARTS)
    assert rows["tsv"]["averages"] == [0.5, 0.5] and rows["tsv"]["fda"] == [0.6, 0.7]
    assert rows["tsv"]["difference"] == pytest.approx(0.15)
    low, high = rows["tsv"]["interval"]
    assert 0.05 < low < 0.15 < high < 0.25
    assert rows["ta"]["difference"] == 0 and rows["ta"]["interval"] == [0, 0]


def test_a_run_without_answers_is_named(runs):
    store, known = runs
    other = store.create_run(spec(seed=2))
    with pytest.raises(UserError, match=f"run {other} has no answers of pretrained:"):
        summary(store, [*known, other])
