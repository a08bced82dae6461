"""What a run is doing and how long it still needs, in the words of its page and of Home. Imports no streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fda.report.format import duration
from fda.report.phases import ELSEWHERE, Phase, about, current, in_words, run_phases, share_done
from fda.report.runs_table import elapsed
from fda.requests.expected import expected
from fda.store.records import Run, Unit
from fda.store.spec import RunSpec
from fda.store.store import Store


@dataclass(frozen=True)
class Clock:
    """How far a run is at the time `now`, in the words of the bar, of a line on Home and of the browser's tab."""

    known: Store
    run: Run
    units: Sequence[Unit]
    now: float

    @cached_property
    def phases(self) -> list[Phase]:
        return run_phases(self.known, self.run, self.units, self.now)

    @property
    def status(self) -> str:
        """What the run is doing, its time left and its time so far; its place in the queue if it waits."""
        run, parts = self.run, []
        if run.state == "queued":
            position = self.known.queue_position(run.run_id)
            return f"number {position} in the queue of {run.device}" if position else f"in the queue of {run.device}"
        if run.state == "stopping" and run.stop_requested:
            parts.append(f"stopping for {duration(self.now - run.stop_requested)}")
        if run.state == "running":
            parts.append(in_words(self.phases))
        if self.units and not run.active:
            parts.append(f"{self._units_done} of {len(self.units)} units")
        if (took := elapsed(run, self.now)) is not None:
            parts.append(f"{duration(took)} {'so far' if run.active else 'in all'}")
        return " · ".join([*parts, f"on {run.device}"])

    @property
    def progress(self) -> float:
        """The part of the run's time that is over, 0..1; of its units, where nothing tells the time."""
        over = share_done(self.phases)
        return over if over is not None else self._units_done / max(1, len(self.units))

    @property
    def tab_title(self) -> str | None:
        """What the browser's tab is called while the run works, such as `62 % · anchors · FDA`; None if it does not."""
        if self.run.state != "running":
            return None
        phase = current(self.phases)
        return f"{self.progress:.0%}".replace("%", " %") + f" · {phase.word if phase else 'start'} · FDA"

    @property
    def _units_done(self) -> int:
        return sum(unit.state == "done" for unit in self.units)


def told_before(known: Store, spec: RunSpec) -> str | None:
    """What the run of `spec` is expected to take; None if a part of it was not measured."""
    estimate = expected(known, spec)
    if estimate.seconds is None:
        return None
    return about(estimate.seconds) + (" on this machine" if estimate.here else ELSEWHERE)
