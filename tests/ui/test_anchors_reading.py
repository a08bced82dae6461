"""What the views of anchors say of runs in words: their short names, and what came of their alignment."""

import numpy as np
import pytest

from fda.figures.anchors import Record
from fda.report.anchors import UnitRecord, finding, lacking, read_unit, run_names
from fda.store.store import Store
from tests.support.made_anchors import made_run, made_zoo


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))
    return Store()


def unit(run: str, *similarity: float) -> UnitRecord:
    course = Record(run, np.arange(len(similarity)), np.array(similarity))
    return UnitRecord(run, {}, {"similarity": course} if similarity else {}, (), None)


def test_runs_are_named_by_their_start_and_by_what_differs(store, tmp_path):
    zoo = made_zoo(tmp_path / "zoo", ("digits",))
    small = {"blocks": 1, "width": 4, "anchors": 2, "real": 5}
    ids = [
        made_run(store, zoo, steps=steps, init=init, **small)
        for steps, init in ((3, "weight"), (4, "weight"), (3, "gauss"))
    ]
    twin = made_run(store, zoo, steps=3, **small)
    first, second, third, fourth = (store.run(one) for one in (*ids, twin))
    assert run_names([first]) == {ids[0]: "weight"}
    assert list(run_names([first, third]).values()) == ["weight", "gauss σ 0.01"]
    assert list(run_names([first, second]).values()) == ["weight, steps 3", "weight, steps 4"]
    assert list(run_names([first, fourth]).values()) == [f"weight · {ids[0][-4:]}", f"weight · {twin[-4:]}"]


@pytest.mark.parametrize(
    ("course", "says"),
    [
        ((0.2, 0.3), "begins at 0.200 and rises to **0.300** (chance 0.25)."),
        ((0.4, 0.3), "begins at 0.400 and falls to **0.300**"),
        ((0.4, 0.402), "stays at **0.402**"),
    ],
)
def test_the_finding_tells_which_way_it_went_even_the_wrong_one(course, says):
    assert says in finding([unit("weight", *course)], "weight", 0.25)


def test_the_finding_names_the_best_of_several_and_is_silent_without_numbers():
    told = finding([unit("weight", 0.2, 0.3), unit("gauss", 0.2, 0.5)], "weight", None)
    assert "highest of the 2 runs is gauss with **0.500**" in told and "chance" not in told
    assert finding([unit("weight"), unit("gauss", 0.2)], "weight", 0.2) is None


def test_cosines_of_all_tensors_stand_side_by_side_and_nothing_is_missing(store, tmp_path):
    run_id = made_run(store, made_zoo(tmp_path / "zoo", ("digits",)), blocks=1, width=4, steps=3, anchors=2, real=5)
    found = read_unit(store, run_id, "weight", "digits", 0)
    assert found.cosines.values.shape == (len(found.cosines.steps), len(found.tensors)) == (4, 12)
    assert found.cosines.values[-1] == pytest.approx(0.9) and lacking([found]) is None
    assert lacking([unit("old", 0.2)]).startswith("This run did not record")
