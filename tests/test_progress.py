"""Progress in words: how many, which method, what failed and why; and what was done before is not told again."""

import pytest

from fda.cli.progress import doing, line, show_progress
from fda.store.store import Store, Unit, UnitKey
from tests.support.runs import spec


def unit(stage: str, name: str, block: int = -1, state: str = "done", **more: object) -> Unit:
    fields = {"step": 0, "steps": 5, "loss": None, "best_step": None, "seconds": None, "message": None} | more
    return Unit(UnitKey(stage, name, block), state, **fields)


def test_a_stage_says_how_many_are_over_and_which_method_is_at_work():
    units = [
        unit("evaluate", "ta"),
        unit("evaluate", "slerp", state="failed"),
        unit("evaluate", "tsv", state="running"),
    ]
    assert doing("merging and scoring", units) == "merging and scoring 2/3, 1 failed: tsv"
    assert doing("merging and scoring", units[:1]) == "merging and scoring 1/1"
    several = [unit("construct", "red", block, state="running") for block in (0, 1)]
    assert doing("constructing anchors", several) == "constructing anchors 0/2", "units of it run side by side"


def test_a_unit_that_ended_is_a_line():
    assert line(unit("construct", "red", 2, loss=0.0612), 3, 8) == "construct red block 2: done (3 of 8) loss 0.0612"
    failed = unit("evaluate", "slerp", state="failed", message="slerp merges exactly two tasks.")
    assert line(failed, 4, 26) == "evaluate slerp: failed (4 of 26): slerp merges exactly two tasks."


@pytest.mark.timeout(30)
def test_lines_tell_what_ends_while_the_run_works_and_nothing_twice(fda_home, capsys):
    store = Store(fda_home)
    run_id = store.create_run(spec())
    keys = [UnitKey("evaluate", name) for name in ("ta", "ties", "tsv")]
    store.add_units(run_id, [(key, 5) for key in keys])
    store.update_unit(run_id, keys[0], state="done", step=5)
    with show_progress(store, run_id):
        store.update_unit(run_id, keys[1], state="failed", message="no memory.")
        store.update_unit(run_id, keys[2], state="done", step=5)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate ties: failed (2 of 3): no memory.",
        "evaluate tsv: done (3 of 3)",
    ]


@pytest.mark.timeout(30)
def test_lines_tell_how_far_a_method_is_that_takes_long(fda_home, capsys, monkeypatch):
    monkeypatch.setattr("fda.cli.progress.SCORING_SECONDS", 0.0)
    store = Store(fda_home)
    run_id = store.create_run(spec())
    key = UnitKey("evaluate", "ta")
    store.add_units(run_id, [(key, 40_000)])
    with show_progress(store, run_id):
        store.update_unit(run_id, key, state="running", step=512)
    assert "evaluate ta: 512 of 40000 samples" in capsys.readouterr().err.splitlines()
