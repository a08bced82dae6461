"""Phases of a run and the time left: hand-computed cases of the arithmetic, and the words for them."""

import pytest

from fda.measures import PhaseName
from fda.report.phases import DOUBT, current, in_words, phases, share_done, total_left
from fda.store.records import PhaseRow, Unit, UnitKey
from fda.store.store import Store
from tests.support.runs import spec

NOW = 1000.0


@pytest.fixture
def run(fda_home):
    store = Store(fda_home)
    run_id = store.create_run(spec())
    store.set_state(run_id, "running")
    return store.run(run_id)


def row(
    phase: PhaseName, estimate: float | None, seconds: float = 0.0, *, began: float | None = None, over: bool = False
) -> PhaseRow:
    return PhaseRow(phase, estimate, 0, 0, seconds, began, NOW if over else None)


def unit(step: int, steps: int = 100, *, stage: str = "construct", block: int = 0) -> Unit:
    return Unit(UnitKey(stage, "red", block), "running", step, steps, None, None, None, None)  # pyright: ignore[reportArgumentType]


def test_before_the_first_step_the_estimate_alone_tells(run):
    rows = [row("start", 10.0, began=NOW - 4), row("construct", 60.0), row("score", 20.0)]
    found = phases(run, rows, [], NOW)
    assert [phase.left for phase in found] == [6.0, 60.0, 20.0] and total_left(found) == 86.0
    assert [phase.state for phase in found] == ["running", "waiting", "waiting"]
    assert share_done(found) == pytest.approx(4 / 90)


def test_a_phase_without_a_share_that_is_overdue_still_takes_some_time(run):
    (phase,) = phases(run, [row("start", 10.0, 30.0, began=NOW - 20)], [], NOW)
    assert phase.seconds == 50.0 and phase.left == pytest.approx(5.0)


def test_a_phase_gives_its_estimate_up_for_its_own_pace(run):
    """At half of 200 s of work the estimate of 100 s counts as 15 s more of it: 215 s of work where 65 s were expected."""
    (phase,) = phases(run, [row("construct", 100.0, 200.0)], [unit(50)], NOW)
    assert DOUBT == 30 and phase.share == 0.5 and phase.left == pytest.approx(50 * 215 / 65)
    (phase,) = phases(run, [row("construct", 100.0, 380.0)], [unit(95)], NOW)
    assert phase.left == pytest.approx(20, rel=0.05), "nearly its pace of 4 s each step"


def test_what_took_longer_than_estimated_makes_later_work_of_its_kind_longer(run):
    rows = [row("construct", 90.0, 190.0, over=True), row("score", 30.0), row("merge", 30.0)]
    found = {phase.name: phase.left for phase in phases(run, rows, [], NOW)}
    assert found == {"construct": 0.0, "score": pytest.approx(30 * (190 + DOUBT) / (90 + DOUBT)), "merge": 30.0}


def test_without_an_estimate_of_all_there_is_no_total(run):
    rows = [row("construct", None, began=NOW - 10), row("score", None)]
    found = phases(run, rows, [unit(0)], NOW)
    assert total_left(found) is None and share_done(found) is None
    assert in_words(found) == "constructing anchors · no estimate yet"
    found = phases(run, rows, [unit(50)], NOW)
    assert found[0].left == pytest.approx(10.0)
    assert in_words(found) == "constructing anchors 50 % · about 10 s left for this, no estimate yet of the whole"
    assert total_left([]) is None


def test_compiling_is_told_with_what_it_is_expected_to_take(run):
    rows = [row("start", 5.0, 5.0), row("compile", 41.3, began=NOW - 1), row("construct", 24.9)]
    words = in_words(phases(run, rows, [], NOW))
    assert words == "compiling the step, once per machine, about 41 s · about 1 min 10 s left in all"
    assert in_words(phases(run, [row("compile", None, began=NOW)], [], NOW)).startswith(
        "compiling the step, once per machine · "
    )


def test_a_run_that_is_done_has_nothing_left(run, fda_home):
    store = Store(fda_home)
    store.set_state(run.run_id, "done")
    found = phases(store.run(run.run_id), [row("start", 5.0, 7.0), row("score", 10.0, 2.0)], [], NOW)
    assert total_left(found) == 0.0 and current(found) is None and [phase.state for phase in found] == ["done", "done"]


def test_a_run_that_ended_in_a_phase_does_not_go_on_counting(run, fda_home):
    store = Store(fda_home)
    store.set_state(run.run_id, "crashed")
    crashed = store.run(run.run_id)
    (phase,) = phases(crashed, [row("start", 5.0, 1.0, began=crashed.finished - 2)], [], crashed.finished + 500)
    assert phase.seconds == pytest.approx(3.0) and phase.state == "waiting"
