"""What a run is doing and how long it still needs, in the words of its page and of Home. Imports no streamlit."""

from collections.abc import Sequence

from fda.report.format import duration
from fda.report.phases import ELSEWHERE, about, current, in_words, run_phases, share_done
from fda.report.runs_table import elapsed
from fda.requests.expected import expected
from fda.store.records import Run, Unit
from fda.store.spec import RunSpec
from fda.store.store import Store


def status(known: Store, run: Run, units: Sequence[Unit], now: float) -> str:
    """What the run is doing, its time left and its time so far; its place in the queue if it waits."""
    parts = []
    if run.state == "queued":
        position = known.queue_position(run.run_id)
        return f"number {position} in the queue of {run.device}" if position else f"in the queue of {run.device}"
    if run.state == "stopping" and run.stop_requested:
        parts.append(f"stopping for {duration(now - run.stop_requested)}")
    if run.state == "running":
        parts.append(in_words(run_phases(known, run, units, now)))
    if units and not run.active:
        parts.append(f"{sum(unit.state == 'done' for unit in units)} of {len(units)} units")
    if (took := elapsed(run, now)) is not None:
        parts.append(f"{duration(took)} {'so far' if run.active else 'in all'}")
    return " · ".join([*parts, f"on {run.device}"])


def progress(known: Store, run: Run, units: Sequence[Unit], now: float) -> float:
    """The part of the run's time that is over, 0..1; of its units, where nothing tells the time."""
    over = share_done(run_phases(known, run, units, now))
    return over if over is not None else sum(unit.state == "done" for unit in units) / max(1, len(units))


def tab_title(known: Store, run: Run, units: Sequence[Unit], now: float) -> str | None:
    """What the browser's tab is called while the run works, such as `62 % · anchors · FDA`; None if it does not."""
    if run.state != "running":
        return None
    phase = current(run_phases(known, run, units, now))
    return f"{progress(known, run, units, now):.0%}".replace("%", " %") + f" · {phase.word if phase else 'start'} · FDA"


def told_before(known: Store, spec: RunSpec) -> str | None:
    """What the run of `spec` is expected to take; None if a part of it was not measured."""
    told = expected(known, spec)
    if told.seconds is None:
        return None
    return about(told.seconds) + (" on this machine" if told.here else ELSEWHERE)
