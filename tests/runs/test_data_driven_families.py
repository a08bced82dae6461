"""Every method that reads data, on every family of models that is shipped: none asks for what a base or a task lacks."""

import math

import pytest

from fda.merging.registry import METHODS
from fda.requests.runs import construct_settings, make_spec
from fda.stages.worker import run_here
from fda.store.store import Store
from tests.support import library_zoos

READS = tuple(
    name for name, one in METHODS.items() if one.needs in ("inputs", "labels") or one.name == "regmean:anchors"
)
QUICK = {
    "fisher": {"examples": 2},
    "regmean": {"examples": 24},
    "regmean_plusplus": {"examples": 24},
    "adamerging": {"steps": 1, "batch": 4},
    "adamerging_layer": {"steps": 1, "batch": 4},
    "distill": {"examples": 4},
}
FAMILIES = ("clip", *library_zoos.PICTURES, *library_zoos.TEXTS)  # open_clip: test_compare.py


def zoo_of(family, tmp_path):
    if family == "clip":
        return library_zoos.clip_zoo(tmp_path)
    make = library_zoos.image_zoo if family in library_zoos.PICTURES else library_zoos.text_zoo
    return make(tmp_path, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_that_reads_data_runs(family, tmp_path, fda_home):
    zoo = zoo_of(family, tmp_path)
    tokens = 5 if family in library_zoos.TEXTS else None
    construct = construct_settings("fast", steps=1, anchors=16, tokens=tokens)
    spec = make_spec(zoo, construct=construct, methods=READS, hyperparameters=QUICK, device="cpu")
    store = Store()
    run_id = store.create_run(spec)
    assert run_here(store, run_id) == "done", store.run(run_id).message
    results, scores = store.results(run_id)
    assert {one.method: one.message for one in results if one.state != "done"} == {}
    assert {one.method for one in results} == {"pretrained", "individual", *READS}
    assert {(one.method, one.task) for one in scores} == {(one.method, task) for one in results for task in spec.tasks}
    assert all(math.isfinite(one.value) for one in scores)
