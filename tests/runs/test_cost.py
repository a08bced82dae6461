"""What a run will take: exact arithmetic on what was measured, measured once, and measured anew when files change."""

import os
from dataclasses import replace

import pytest

from fda.errors import UserError
from fda.merging.registry import METHODS
from fda.requests import cost
from fda.requests.cost import Calibration, ScoreCost, StepCost, missing, predict
from fda.requests.runs import construct_settings, make_spec
from fda.stages import calibrate

KNOWN = Calibration(
    lanes=2,
    blocks=4,
    start=3.0,
    inputs=0.5,
    recording=1.0,
    operations=1e9,
    long_arithmetic="compiled",
    parameter_bytes=1000,
    anchor_bytes=10,
    peak_bytes=5000,
    steps={"plain": StepCost(0.1, 0.0), "compiled": StepCost(0.02, 7.0)},
    epochs={"weights": 0.2, "task coefficients": 0.3, "coefficients": 0.25},
    merges={name: 1.0 for name in ("pretrained", "average", "ta", "tsv", "ties")},
    scoring=ScoreCost(100, 50, 0.01, 0.001),
)


def request(zoo, methods=(), **changes):
    return make_spec(zoo, construct=construct_settings("fast", **changes), methods=methods, device="cpu")


def test_construction_is_rounds_of_units_of_steps_and_records(tiny_zoo, fda_home):
    spec = request(tiny_zoo, steps=100, arithmetic="plain")
    told = predict(spec, KNOWN)
    assert told.stages == {"start": 3.0, "inputs": 2 * 0.5, "compile": 0.0, "construct": pytest.approx(4 * (10 + 1.0))}
    assert told.disk_bytes == 8 * 10 and told.memory_bytes == 5000 and told.seconds == pytest.approx(48.0)
    chosen = spec.model_copy(update={"tasks": ("red",), "blocks": (0, 1, 2)})
    assert predict(chosen, KNOWN).stages["construct"] == pytest.approx(2 * 11.0), "three units on two lanes"


def test_batches_of_a_gpu_are_rounds_of_lanes_whose_units_are_recorded_one_by_one(tiny_zoo, fda_home):
    known = replace(KNOWN, steps={"compiled": StepCost(0.3, 7.0, together=3, lanes=1)})
    told = predict(request(tiny_zoo, steps=100, arithmetic="compiled"), known)
    assert told.stages["construct"] == pytest.approx(3 * (100 * 0.3 + 3 * 1.0)), "eight units, three at once"


def test_auto_compiles_where_a_run_is_long_enough_as_the_run_itself_decides(tiny_zoo, fda_home):
    units, long = 8, int(cost.PAYS_FROM / 1e9 / 8)
    for steps, name, compiling in ((long - 1, "plain", 0.0), (long, "compiled", 7.0)):
        spec = request(tiny_zoo, steps=steps)
        told = predict(spec, KNOWN)
        assert cost.arithmetic(spec, KNOWN) == name and told.stages["compile"] == compiling
        assert told.stages["construct"] == pytest.approx(units / 2 * (KNOWN.steps[name].step * steps + 1.0))


def test_methods_are_merged_adapted_and_scored(tiny_zoo, fda_home):
    spec = request(tiny_zoo, ("ta", "tsv", "fda:pretrained", "fda:ta", "fda:ties"), steps=10)
    told = predict(spec, KNOWN)
    settings = calibrate.adapt_settings(spec.zoo)
    weights, coefficients = settings.weights_epochs, settings.coefficients_epochs
    assert told.stages["adapt"] == pytest.approx(2 * (weights * 0.2 + coefficients * (0.3 + 0.25)))
    assert told.stages["merge"] == pytest.approx(4.0), "pretrained, ta, tsv, and ties as a start"
    assert told.stages["score"] == pytest.approx(100 * (0.01 + 0.001 * 7))
    swept = predict(spec.model_copy(update={"methods": (*spec.methods, "ta:swept")}), KNOWN)
    more = 100 * 0.001 + 50 * (0.01 + 0.001 * len(METHODS["ta:swept"].coefficient.sweep))
    assert swept.stages["score"] - told.stages["score"] == pytest.approx(more)


def test_what_is_not_counted_is_named(tiny_zoo, fda_home):
    methods = ("ta", "wudi", "fisher", "distill", "fda:wudi", "fda:ta")
    spec = request(tiny_zoo, methods, steps=10)
    assert predict(spec, KNOWN).uncounted == ("wudi", "fisher", "distill", "fda:wudi")
    assert cost.adapted(spec) == ("fda:wudi", "fda:ta")


def test_only_what_a_spec_needs_is_missing(tiny_zoo, fda_home):
    spec = request(tiny_zoo, steps=10)
    bare = replace(KNOWN, steps={"plain": StepCost(0.1, 0.0)}, epochs={}, merges={}, scoring=None)
    assert missing(spec, None) and not missing(spec, bare)
    assert missing(request(tiny_zoo, steps=10, arithmetic="compiled"), bare)
    assert missing(request(tiny_zoo, ("ta",), steps=10), bare)
    assert missing(request(tiny_zoo, ("fda:tsv",), steps=10), replace(KNOWN, epochs={"weights": 0.2}))
    assert not missing(request(tiny_zoo, ("fda:tsv",), steps=10), KNOWN)


def test_it_is_kept_for_other_steps_and_forgotten_when_a_file_changes(tiny_zoo, fda_home):
    spec = request(tiny_zoo, steps=10)
    cost.keep_calibration(spec, KNOWN)
    assert cost.kept_calibration(spec) == KNOWN
    assert cost.kept_calibration(request(tiny_zoo, steps=99, arithmetic="plain", seed=3)) == KNOWN
    assert cost.kept_calibration(request(tiny_zoo, steps=10, anchors=5)) is None
    os.utime(tiny_zoo, (1, 1))
    assert cost.kept_calibration(spec) is None


def test_a_torn_file_is_as_none(tiny_zoo, fda_home):
    spec = request(tiny_zoo)
    cost.keep_calibration(spec, KNOWN)
    cost.calibration_file(spec).write_text('{"lanes": 2}')
    assert cost.kept_calibration(spec) is None


def test_this_device_is_measured_once_and_more_where_more_is_asked(tiny_zoo, fda_home, monkeypatch):
    monkeypatch.setattr(calibrate, "SECONDS", 0.02)
    bare, spec = (request(tiny_zoo, methods, steps=20, anchors=4) for methods in ((), ("ta", "fda:ta")))
    first = calibrate.calibrate(bare)
    assert first.scoring is None and first.epochs == {} and first.steps["plain"].step > 0
    known = calibrate.calibrate(spec)
    assert not missing(spec, known) and known.blocks == 2 and known.scoring.samples == 80
    assert known.steps == first.steps and known.recording == first.recording > 0 and known.peak_bytes > 1e6
    assert set(known.epochs) == {"task coefficients"} and {"pretrained", "ta"} <= set(known.merges)
    assert known.anchor_bytes == 4 * 5 * 16 * 4
    told = predict(spec, known)
    assert all(seconds >= 0 for seconds in told.stages.values()) and told.stages["construct"] > 0
    monkeypatch.setattr(calibrate, "open_zoo", None)  # nothing is opened again
    assert calibrate.calibrate(spec.model_copy(update={"seed": 5})) == known


def test_the_pace_leaves_out_the_first_batch():
    assert calibrate._pace(iter([1.0, 1.0, 1.5, 1.5, 1.5, 2.1])) == pytest.approx(1.1 / 4)
    assert calibrate._pace(iter([3.0, 3.0, 3.0])) == pytest.approx(1.0)


def test_a_block_that_is_not_there_cannot_be_measured(tiny_zoo, fda_home):
    spec = request(tiny_zoo).model_copy(update={"blocks": (9,)})
    with pytest.raises(UserError, match="there is no block 9"):
        calibrate.calibrate(spec)
