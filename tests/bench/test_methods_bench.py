"""The table of methods over seeds: numbers that follow from the stored answers, and runs that are not made twice."""

import numpy as np
import pytest

from fda.bench.methods import bench_methods, has_seed, summary
from fda.errors import UserError
from fda.requests.runs import construct_settings
from fda.stages.worker import run_here
from fda.store.predictions import save_predictions
from fda.store.records import MethodResult
from fda.store.store import Score, Store
from fda.tasks.answers import Answers
from tests.support.runs import spec

RIGHTS = {  # of 100 answers, in the run of each seed
    "pretrained": (40, None),
    "individual": (95, None),
    "ta": (60, None),
    "tsv": (70, None),
    "distill": (80, None),
    "fda:tsv": (72, 76),
}


def answers(rights: int, n: int = 100) -> Answers:
    return Answers(np.array([1] * rights + [0] * (n - rights)), np.ones(n, dtype=int))


@pytest.fixture
def runs(fda_home):
    store, made = Store(), []
    for seed in (0, 1):
        names = tuple(name for name, rights in RIGHTS.items() if rights[seed] is not None)
        run = store.create_run(spec(seed=seed).model_copy(update={"methods": names}))
        for name in names:
            right = answers(RIGHTS[name][seed])
            save_predictions(store.run_dir(run), name, {"red": right})
            settings = {"anchors_seconds": 20.0 + 10 * seed} if name == "fda:tsv" else {}
            result = MethodResult(name, "done", settings, 1.0 + seed, 2**20 * (1 + seed), None)
            store.add_result(run, result, [Score(name, "red", "accuracy", "test", right.value, right.count)])
        made.append(run)
    return store, made


def test_rows_are_means_over_the_runs_that_have_the_method(runs):
    result = summary(*runs)
    rows = {row["method"]: row for row in result["rows"]}
    assert [row["method"] for row in result["rows"]] == ["individual", "distill", "fda:tsv", "tsv", "ta", "pretrained"]
    fda = rows["fda:tsv"]
    assert fda["average"] == pytest.approx(0.74) and fda["averages"] == [0.72, 0.76]
    assert (fda["seconds"], fda["anchors_seconds"], fda["peak_bytes"]) == (1.5, 25, 2**21)
    assert fda["over_baseline"][0] == pytest.approx(0.14) and fda["over_start"][0] == pytest.approx(0.04)
    assert fda["over_start"][1] < 0.04 < fda["over_start"][2]
    assert fda["closed_gap"] == pytest.approx(0.14 / 0.20)
    assert rows["tsv"]["averages"] == [0.7] and rows["tsv"]["over_start"] is None
    assert rows["ta"]["over_baseline"] == [0, 0, 0] and rows["tsv"]["anchors_seconds"] is None


def test_a_method_that_failed_is_named(runs):
    store, made = runs
    store.add_result(made[1], MethodResult("fda:tsv", "failed", {}, None, None, "no anchors."))
    with pytest.raises(UserError, match=f"run {made[1]} lacks a method .fda:tsv: no anchors"):
        summary(store, made)


def test_only_what_a_seed_changes_is_done_again_and_finished_runs_are_kept(tiny_zoo):
    store, carried_out = Store(), []

    def carry_out(asked) -> str:
        run = store.create_run(asked)
        assert run_here(store, run) == "done"
        carried_out.append(run)
        return run

    assert not has_seed("ta") and has_seed("dare") and has_seed("fda:ta") and has_seed("regmean")
    construct = construct_settings("fast", steps=2, anchors=2)
    asked = {"methods": ["ta", "fda:ta"], "construct": construct, "carry_out": carry_out, "adaptation": {"epochs": 1}}
    result = bench_methods(str(tiny_zoo), seeds=(0, 1), **asked)
    assert result["runs"] == carried_out and len(carried_out) == 2
    assert [set(store.run(run).spec.methods) for run in carried_out] == [
        {"pretrained", "individual", "ta", "fda:ta"}, {"pretrained", "individual", "fda:ta"},
    ]  # fmt: skip
    rows = {row["method"]: row for row in result["rows"]}
    assert len(rows["fda:ta"]["averages"]) == 2 and rows["fda:ta"]["closed_gap"] is None
    assert bench_methods(str(tiny_zoo), seeds=(0, 1), **asked) == result and len(carried_out) == 2
    bench_methods(str(tiny_zoo), seeds=(0, 1), **asked | {"methods": ["ta"]})
    assert len(carried_out) == 3 and store.run(carried_out[2]).spec.construction is None
