"""The benchmark measures what it says: the reference is the paper's loop, the paths are the product's."""

import dataclasses
import json

import pytest
import torch

from fda.anchors.construct import Step, construct
from fda.anchors.init import initial_anchors
from fda.anchors.loss import live_tensors
from fda.anchors.reference import reference_loop
from fda.anchors.step import plain_step
from fda.bench.construct import _spread, bench_construct
from fda.bench.units import UNITS, demo_unit
from fda.settings import FAST_CONSTRUCT, PAPER_CONSTRUCT


def test_the_reference_loop_and_the_paper_preset_take_the_same_steps():
    unit = UNITS["demo"]("cpu")
    settings = PAPER_CONSTRUCT.model_copy(update={"anchors": 4, "steps": 8})
    start = initial_anchors(unit.block, unit.finetuned, settings, 0)
    live = live_tensors(unit.block, unit.base, unit.finetuned)
    theirs = list(reference_loop(unit.block, unit.base, unit.finetuned, live, start, 8))
    events = construct(unit.block, unit.base, unit.finetuned, settings, seed=0, initial=start)
    ours = [event.angle_loss for event in events if isinstance(event, Step)]
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.fixture
def few_anchors(monkeypatch):
    """The demo's unit with 8 anchors in place of 64."""
    monkeypatch.setitem(UNITS, "demo", lambda device: dataclasses.replace(demo_unit(device), anchors=8))


@pytest.mark.parametrize("size", UNITS)
def test_every_unit_is_a_block_whose_task_vector_can_be_reached(size, monkeypatch):
    monkeypatch.setattr("fda.bench.units.TRAINING_STEPS", 2)
    unit = UNITS[size]("cpu")
    assert unit.block(unit.base, torch.randn(2, unit.tokens, unit.block.width)).shape == (
        2,
        unit.tokens,
        unit.block.width,
    )
    assert all(tensor.isfinite().all() for tensor in unit.finetuned.values())
    live = live_tensors(unit.block, unit.base, unit.finetuned)
    assert len(live) >= len(unit.base) - 1  # a key bias at most is dead


def test_it_reports_steps_seconds_and_how_they_were_found(few_anchors):
    result = bench_construct("demo", threads=1, steps=20, paths=("plain",))
    reference, fast = result["paths"]
    assert reference["path"] == "reference" and reference["steps_to_target"] == reference["steps"] == 20
    assert reference["seconds_to_target"] == reference["seconds"][-1] and not reference["extrapolated"]
    assert fast["path"] == "fast, plain" and fast["steps"] == 2
    unit = UNITS["demo"]("cpu")
    live = live_tensors(unit.block, unit.base, unit.finetuned)
    paper = PAPER_CONSTRUCT.model_copy(update={"anchors": unit.anchors})
    start = FAST_CONSTRUCT.weight_scale * initial_anchors(unit.block, unit.finetuned, paper, 0)
    expected = next(reference_loop(unit.block, unit.base, unit.finetuned, live, start, 1))
    assert fast["losses"][0] == pytest.approx(expected, rel=1e-4)
    assert result["target"] == reference["losses"][-1] and result["target_measured"]
    # the linear layers alone: forward of both models, and backward
    assert result["operations_per_step"] > 8 * 2 * 8 * 17 * sum(
        torch.Size(shape).numel() for shape in UNITS["demo"]("cpu").block.shapes.values() if len(shape) == 2
    )
    for path in result["paths"]:
        assert 0 < path["share_of_ceiling"] < 1 and path["peak_bytes"] > 0
        assert path["step_ms"][1] <= path["step_ms"][0] <= path["step_ms"][2]


def test_units_in_one_batch_and_a_gradient_differentiated_forwards_take_the_same_course(
    few_anchors, fda_home, monkeypatch
):
    """Measured beside the plain steps of one unit. Here uncompiled: what compiling keeps is tested with the steps."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    measured = {"threads": 1, "steps": 10, "paths": ("plain", "compiled", "forward"), "together": 2}
    reference, plain, compiled, batch, forward = bench_construct("demo", **measured)["paths"]
    assert [path["path"] for path in (compiled, batch, forward)] == [
        "fast, compiled",
        "fast, compiled, 2 together",
        "fast, forward",
    ]
    for path in (compiled, batch, forward):
        assert path["losses"] == pytest.approx(plain["losses"], rel=1e-3) and path["compile_seconds"] > 0
        if path["seconds_to_target"] is not None:
            zoo = path["compile_seconds"] + 96 * (path["seconds_to_target"] - path["compile_seconds"])
            assert path["times_faster_of_zoo"] == pytest.approx(96 * reference["seconds_to_target"] / zoo)


def test_a_target_beyond_the_budget_is_kept_and_our_paths_end_when_they_reach_it(few_anchors, fda_home, monkeypatch):
    measured = {"threads": 1, "steps": 30, "budget": 1e-9, "paths": ("plain",)}
    monkeypatch.setattr("fda.bench.construct.CompiledSteps.step", lambda self, *arguments: plain_step(*arguments))
    first = bench_construct("demo", **measured)
    assert not first["target_measured"] and first["paths"][0]["extrapolated"] and first["paths"][0]["steps"] == 1
    (kept,) = (fda_home / "bench" / "targets").iterdir()
    told = json.loads(kept.read_text())
    assert told["target"] == first["target"]
    kept.write_text(json.dumps(told | {"target": first["paths"][1]["losses"][0]}))
    again = bench_construct("demo", **measured)
    assert again["target"] == again["paths"][1]["losses"][0] and again["paths"][1]["steps_to_target"] == 1


def test_steps_of_a_batch_share_its_time():
    assert list(_spread([2.0, 2.0, 3.0])) == [1.0, 2.0, 3.0]
    assert list(_spread([])) == []
