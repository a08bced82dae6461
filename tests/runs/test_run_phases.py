"""The phases that a run at work writes: in turn, within each other, over a resume; and the log that tells them."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fda.cancel import Cancel, Cancelled
from fda.report.phases import DOUBT_ELSEWHERE, in_words, run_phases, total_left
from fda.requests import cost
from fda.requests.compiled import compiling_seconds, is_compiled, remember
from fda.requests.cost import Calibration, ScoreCost, StepCost
from fda.requests.expected import expected
from fda.requests.landscape import landscape_spec
from fda.requests.runs import construct_settings, make_spec
from fda.requests.shipped import shipped_costs
from fda.stages import phases as stage
from fda.stages.compiling import LOOK_SECONDS, noticed
from fda.stages.execute import execute
from fda.stages.phases import PhaseTracker, begin_phases
from fda.stages.worker import run_here
from fda.store.store import Store, UnitKey
from tests.support.runs import spec, wait_for

KNOWN = Calibration(
    lanes=2, blocks=2, start=3.0, inputs=0.5, recording=1.0, operations=1e9, long_arithmetic="compiled", parameter_bytes=1,
    anchor_bytes=1, peak_bytes=1, shapes=2, steps={"plain": StepCost(0.1, 0.0), "compiled": StepCost(0.02, 7.0)},
    epochs={"weights": 0.2, "task coefficients": 0.3}, merges={"ta": 1.0, "pretrained": 0.5},
    scoring=ScoreCost(100, 50, 0.01, 0.001),
)  # fmt: skip


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets; begins now, as the store tells the real time."""
    shown = SimpleNamespace(now=time.time())
    monkeypatch.setattr(stage, "time", SimpleNamespace(time=lambda: shown.now, strftime=lambda _: "12:00"))
    return shown


@pytest.fixture
def run_id(store) -> str:
    run_id = store.create_run(spec())
    store.set_state(run_id, "running")
    return run_id


def request(zoo, methods=(), **changes):
    return make_spec(zoo, construct=construct_settings("fast", **changes), methods=methods, device="cpu")


def seconds(store: Store, run_id: str) -> dict[str, float]:
    return {row.phase: row.seconds for row in store.phases(run_id)}


def log(store: Store, run_id: str) -> list[str]:
    return (store.run_dir(run_id) / "log.txt").read_text().splitlines()


def test_a_phase_within_another_takes_its_time_from_it(store, run_id, clock):
    began = clock.now
    begin_phases(store, run_id)
    clock.now += 2
    tracker = PhaseTracker(store, run_id)  # as the work does, which goes on in the phase that is open
    with tracker.during("construct"):
        clock.now += 3
        with tracker.during("compile"):
            clock.now += 40
        clock.now += 5
    clock.now += 1
    tracker.finish("start", "compile", "construct")
    assert seconds(store, run_id) == pytest.approx({"start": 3.0, "inputs": 0.0, "compile": 40.0, "construct": 8.0})
    rows = {row.phase: row for row in store.phases(run_id)}
    assert not any(row.began for row in rows.values()) and rows["inputs"].ended is None
    assert rows["construct"].ended == began + 51
    assert log(store, run_id) == [
        f"12:00 run {run_id} begins",
        "12:00 constructing anchors",
        "12:00 compiling the step",
        "12:00 starting: done in 3.0 s",
        "12:00 compiling the step: done in 40 s",
        "12:00 constructing anchors: done in 8.0 s",
    ]


def test_a_resumed_run_goes_on_and_its_times_add_up(store, run_id, clock):
    begin_phases(store, run_id)
    tracker = PhaseTracker(store, run_id)
    clock.now += 4
    with pytest.raises(Cancelled), tracker.during("construct"):
        clock.now += 6
        raise Cancelled
    store.set_state(run_id, "cancelled")
    store.requeue(run_id)
    clock.now += 100
    begin_phases(store, run_id)
    clock.now += 1
    tracker = PhaseTracker(store, run_id)
    with tracker.during("construct"):
        clock.now += 2
    tracker.finish("start", "construct")
    told = seconds(store, run_id)
    assert told["construct"] == pytest.approx(8.0) and told["start"] == pytest.approx(5.0)


def test_a_worker_that_was_killed_counts_until_its_last_beat(store, run_id, clock):
    store.claim_process(store.create_run(spec(seed=1)), 7, 1.0)
    begin_phases(store, run_id)
    store.set_state(run_id, "crashed")
    assert store.phases(run_id)[0].began == clock.now, "it may turn out to be alive"
    store.requeue(run_id)
    assert store.phases(run_id)[0].began is None and seconds(store, run_id)["start"] >= 0.0


def test_every_phase_of_a_real_run_is_over_and_told(store, tiny_zoo):
    spec = request(tiny_zoo, ("ta", "fda:ta"), steps=6, anchors=4)
    run_id = store.create_run(spec)
    assert run_here(store, run_id) == "done"
    rows = {row.phase: row for row in store.phases(run_id)}
    assert list(rows) == ["start", "inputs", "compile", "construct", "adapt", "merge", "score"]
    assert all(row.ended and row.began is None for row in rows.values())
    assert rows["compile"].seconds == 0.0, "so few plain steps are not compiled"
    assert min(row.seconds for name, row in rows.items() if name != "compile") > 0.0
    assert (rows["inputs"].done, rows["inputs"].total) == (2, 2) and rows["merge"].done == rows["merge"].total == 4
    run = store.run(run_id)
    assert sum(row.seconds for row in rows.values()) == pytest.approx(run.finished - run.started, rel=0.1, abs=0.5)
    told = "\n".join(log(store, run_id))
    assert "computing real inputs: done in" in told and "scoring: done in" in told and "compiling" not in told


def test_a_landscape_has_phases_of_its_own(store, tiny_zoo):
    source = store.create_run(request(tiny_zoo, steps=2, anchors=2))
    assert run_here(store, source) == "done"
    run_id = store.create_run(landscape_spec(store, source, points=5, samples=8, snapshots=2))
    assert run_here(store, run_id) == "done"
    rows = store.phases(run_id)
    assert [row.phase for row in rows] == ["start", "adapt", "landscape"] and all(row.ended for row in rows)


def test_expected_seconds_are_those_of_the_prediction(store, tiny_zoo):
    spec = request(tiny_zoo, ("ta", "fda:ta"), steps=100, arithmetic="plain")
    assert set(expected(store, spec).phases.values()) == {None} and expected(store, spec).seconds is None
    cost.keep_calibration(spec, KNOWN)
    predicted = cost.predict(spec, KNOWN)
    found = expected(store, spec).phases
    assert "compile" not in found and found == {name: predicted.stages[name] for name in found}
    assert expected(store, spec).seconds == pytest.approx(predicted.seconds)
    auto = spec.model_copy(update={"device": "auto"})
    assert (expected(store, auto).phases == found) == (cost.queue_device("auto") == "cpu")


def test_compiling_is_expected_until_this_machine_has_compiled_the_step(store, tiny_zoo):
    spec = request(tiny_zoo, steps=100, arithmetic="compiled")
    cost.keep_calibration(spec, KNOWN)
    assert "compile" not in expected(store, spec).phases, "measured before compiling was remembered"
    other = request(tiny_zoo, steps=100, arithmetic="compiled", anchors=3)
    remember(other, "compiled", 47.0, compiled=True)
    assert compiling_seconds() == 47.0 and not is_compiled(spec, "compiled")
    found = expected(store, spec).phases
    assert found["compile"] == 2 * (47.0 - 7.0) and found["start"] == 3.0 + 2 * 7.0, "two shapes of blocks"
    remember(spec, "compiled", 8.0, compiled=False)
    found = expected(store, spec).phases
    assert "compile" not in found and found["start"] == 3.0 + 2 * 7.0 and compiling_seconds() == 47.0


def test_a_landscape_is_expected_from_what_its_anchors_run_was_measured_for(store, tiny_zoo):
    source = request(tiny_zoo, steps=2, anchors=2)
    run_id = store.create_run(source)
    keys = [UnitKey("construct", name, block) for name in source.tasks for block in range(2)]
    store.add_units(run_id, [(key, 2) for key in keys])
    for key in keys:
        store.update_unit(run_id, key, state="done")
    spec = landscape_spec(store, run_id, points=5, samples=10, snapshots=3)
    assert set(expected(store, spec).phases.values()) == {None}
    cost.keep_calibration(source, KNOWN)
    points = 25 + 2 * 3 + cost.LAMBDAS + 2
    assert expected(store, spec).phases["landscape"] == pytest.approx(20 * (0.01 + 0.001 * points))


def test_a_method_that_is_not_counted_leaves_its_phase_unknown(store, tiny_zoo):
    spec = request(tiny_zoo, ("ta", "fisher"), steps=10, arithmetic="plain")
    cost.keep_calibration(spec, KNOWN)
    found = expected(store, spec).phases
    assert found["merge"] is None and found["construct"] is not None


def test_a_run_stopped_in_its_work_closes_its_phases(store, tiny_zoo):
    run_id = store.create_run(request(tiny_zoo, steps=50, anchors=4))
    begun = iter(range(10**6))
    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(lambda: next(begun) > 20))
    assert not any(row.began for row in store.phases(run_id))


def test_the_demo_is_expected_to_take_what_it_took_elsewhere_until_it_is_measured_here(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "nothing is compiled"))
    demo = make_spec("demo", construct=construct_settings("fast", family="vision-small"), methods=("ta",), device="cpu")
    monkeypatch.setattr("fda.requests.expected.slowness", lambda: 3.0)
    told, known = expected(store, demo), shipped_costs(demo)
    assert not told.here and told.seconds is not None
    assert told.phases["compile"] == pytest.approx(3 * (20.9 - known.steps[cost.arithmetic(demo, known)].compile))
    assert expected(store, demo.model_copy(update={"device": "cuda:0"})).seconds is None
    others = demo.construction.model_copy(update={"anchors": 5})
    assert expected(store, demo.model_copy(update={"construction": others})).seconds is None
    cost.keep_calibration(demo, KNOWN)
    assert expected(store, demo).here


def test_a_machine_that_is_slower_than_where_the_demo_was_measured_shows_from_the_first_phase(store, run_id):
    store.plan_phases(run_id, {"start": 10.0, "construct": 100.0}, 1000.0, here=False)
    store.update_phase(run_id, "start", seconds=20.0, ended=1020.0)
    found = run_phases(store, store.run(run_id), [], 1020.0)
    assert total_left(found) == pytest.approx(100 * (20 + DOUBT_ELSEWHERE) / (10 + DOUBT_ELSEWHERE))
    assert in_words([*found[:1], replace(found[1], state="running")]).endswith("left in all")
    assert in_words(found).endswith("left in all (measured elsewhere)")


def test_only_a_miss_in_the_compilers_cache_is_called_compiling(store, tiny_zoo):
    from torch._dynamo.utils import counters

    spec = request(tiny_zoo, arithmetic="compiled")
    run_id = store.create_run(spec)
    tracker = PhaseTracker(store, run_id)
    with noticed(tracker, spec, "compiled"):
        counters["aot_autograd"]["autograd_cache_hit"] += 1
        time.sleep(3 * LOOK_SECONDS)
    assert "compile" not in seconds(store, run_id) and is_compiled(spec, "compiled") and compiling_seconds() is None
    with noticed(tracker, spec, "compiled"):
        counters["aot_autograd"]["autograd_cache_miss"] += 1
        wait_for(lambda: any(row.phase == "compile" and row.began for row in store.phases(run_id)), 20)
    assert seconds(store, run_id)["compile"] > 0.0 and compiling_seconds() is not None
    assert not any(row.began for row in store.phases(run_id))
