"""Runs that pages start to answer a question: shared, queued beside the device's runs, out of the lists, and cleaned up."""

import json
import threading

import pytest

from fda.cancel import Cancel, Cancelled
from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.requests import helper_runs
from fda.requests.helper_runs import estimate_spec, newest_of, result, result_file, start_helper
from fda.settings import FAST_CONSTRUCT
from fda.stages import helpers as stage
from fda.stages import worker
from fda.stages.worker import run_here
from fda.store.records import ANALYSES, HELPERS
from fda.store.spec import RunSpec, SurveySettings
from fda.store.store import Store, queue_of
from tests.support.runs import spec

PATIENCE = 60


def survey_of(files: str = "a") -> RunSpec:
    return helper_runs.helper_spec("/zoo.yaml", spec().zoo, SurveySettings(files=files))


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def no_worker(monkeypatch):
    monkeypatch.setattr(jobs, "_spawn", lambda *_: None)


def test_a_spec_of_before_is_read_and_a_helper_s_survives_its_file(store):
    before = spec().model_dump(mode="json")
    del before["helper"]
    assert RunSpec.model_validate(before) == spec()
    run_id = store.create_run(survey_of())
    text = (store.run_dir(run_id) / "spec.json").read_text()
    assert RunSpec.model_validate_json(text) == survey_of() == store.run(run_id).spec


def test_who_asks_the_same_finds_the_same_run(store, no_worker):
    first = start_helper(store, survey_of())
    assert start_helper(store, survey_of()) == first and start_helper(store, survey_of("b")) != first
    assert newest_of(store, survey_of()).run_id == first and newest_of(store, survey_of("c")) is None


def test_helper_runs_are_in_no_list_unless_asked_for(store):
    helper, analysis = store.create_run(survey_of()), store.create_run(spec())
    assert [run.run_id for run in store.runs()] == [analysis]
    assert [run.run_id for run in store.runs(kinds=HELPERS)] == [helper]
    assert [run.run_id for run in LiveStore(store.home).all_stored()] == [analysis, helper]
    assert [run.run_id for run in LiveStore(store.home).all_stored(kinds=ANALYSES)] == [analysis]


def test_files_are_read_beside_the_run_that_has_the_device_and_an_estimate_waits_for_it(store):
    estimate = estimate_spec(spec())
    assert (queue_of(survey_of()), queue_of(spec()), queue_of(estimate)) == ("io", "cpu", "cpu")
    assert estimate.construction == FAST_CONSTRUCT and estimate.kind == "estimate"


def test_as_many_as_there_are_places_work_side_by_side(store, monkeypatch):
    monkeypatch.setattr(worker, "IO_RUNS", 2)
    free, running, most = threading.Event(), set(), []

    def execute(_: Store, run_id: str, cancel: object) -> None:
        running.add(run_id)
        most.append(len(running))
        if len(most) == 2:
            free.set()
        assert free.wait(PATIENCE)
        running.discard(run_id)

    made = [store.create_run(survey_of(name)) for name in "abc"]
    threads = [threading.Thread(target=run_here, args=(store, run_id), kwargs={"execute": execute}) for run_id in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [store.run(run_id).state for run_id in made] == ["done"] * 3 and max(most) == 2


def test_old_helper_runs_go_and_nothing_else_does(store, no_worker, monkeypatch):
    monkeypatch.setattr(helper_runs, "KEPT", 2)
    analysis = store.create_run(spec())
    made = [store.create_run(survey_of(name)) for name in "abcd"]
    for run_id in (analysis, *made[1:]):
        store.set_state(run_id, "done")
    start_helper(store, survey_of("e"))
    kept = [run.run_id for run in store.runs(kinds=HELPERS)]
    assert kept[1:] == [made[3], made[2], made[0]], "the two newest that ended, and the one at work"
    assert [run.run_id for run in store.runs()] == [analysis]


@pytest.mark.parametrize(
    ("code", "state", "says"),
    [
        ("print('a warning'); print('{\"result\": {\"n\": 1}}')", "done", None),
        ('print(\'{"problem": "no tensor x: give one."}\')', "failed", "no tensor x: give one."),
        (
            "import sys; print('why', file=sys.stderr); sys.exit(3)",
            "failed",
            "could not be read (exit code 3): run `python",
        ),
    ],
)
def test_what_the_child_answers_becomes_the_result_or_the_message(store, monkeypatch, capfd, code, state, says):
    real = stage.run_child
    monkeypatch.setattr(stage, "run_child", lambda _, *rest, **named: real(("-c", code), *rest, **named))
    run_id = store.create_run(survey_of())
    assert run_here(store, run_id) == state
    if says is None:
        assert result(store, run_id) == {"n": 1}
        result_file(store.run_dir(run_id)).write_text("{")
        with pytest.raises(UserError, match="is made again"):
            result(store, run_id)
    else:
        assert says in store.run(run_id).message and not result_file(store.run_dir(run_id)).exists()
    assert ("why" in capfd.readouterr().err) == (state == "failed" and "exit code" in says)


def test_a_child_is_ended_when_its_run_is_stopped(store, monkeypatch):
    real = stage.run_child
    code = "import time; time.sleep(60)"
    monkeypatch.setattr(stage, "run_child", lambda _, *rest, **named: real(("-c", code), *rest, **named))
    with pytest.raises(Cancelled):
        stage.execute(store, store.create_run(survey_of()), Cancel(lambda: True))


def test_a_survey_is_what_the_command_line_finds(store, tiny_zoo):
    from fda.zoos.survey import survey
    from fda.zoos.zoo import load_zoo

    zoo = load_zoo(tiny_zoo)
    run_id = store.create_run(helper_runs.survey_spec(tiny_zoo, zoo))
    assert run_here(store, run_id) == "done", store.run(run_id).message
    assert result(store, run_id) == json.loads(json.dumps(survey(zoo, str(tiny_zoo))))
