"""How far a run is: its phases with their shares and seconds, and the time left in all. Pure functions of the store's rows.

The estimate of a phase is what was expected when the run began. It is multiplied by how much longer than estimated the work so
far has taken: of phases of its kind, and then of the phase itself. The more work has been seen, the more its pace counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fda.measures import PHASES, PhaseName, Stage
from fda.report.format import duration
from fda.store.records import PhaseRow, StoredRun, Unit
from fda.store.store import Store

UNITS_OF: dict[PhaseName, Stage] = {  # phases whose progress units tell
    "construct": "construct",
    "adapt": "adapt",
    "score": "evaluate",
    "landscape": "landscape",
}
DOUBT = 30.0  # seconds of work that tell of its pace as much as the estimate does
DOUBT_ELSEWHERE = 5.0  # the same for an estimate that was measured on another machine
LEAST = 0.1  # seconds that a phase is estimated to take
NO_ESTIMATE = "no estimate yet"
ELSEWHERE = " (measured elsewhere)"
OVERDUE = 0.1  # of its seconds so far: what is left of a phase that takes longer than estimated and tells no share


@dataclass(frozen=True)
class Phase:
    """One phase of a run. `word` is its short name, `doing` what the run does meanwhile.

    `share`: the part done, 0..1; None where nothing tells. `seconds`: at work so far; `left`: still to work, None if unknown.
    `estimate`: seconds that the whole phase was expected to take, by what was measured `here` or on another machine.
    """

    name: PhaseName
    word: str
    doing: str
    state: Literal["waiting", "running", "done"]
    share: float | None
    seconds: float
    left: float | None
    estimate: float | None
    here: bool


def run_phases(store: Store, run: StoredRun, units: Sequence[Unit], now: float) -> list[Phase]:
    """The phases of a run of this store; none of a run that has not begun, and of runs of earlier versions."""
    return phases(run, store.phases(run.run_id), units, now)


def phases(run: StoredRun, rows: Sequence[PhaseRow], units: Sequence[Unit], now: float) -> list[Phase]:
    """The phases of a run at the time `now`."""
    shares: dict[PhaseName, float | None] = {row.phase: _share(row, units) for row in rows}
    moment = now if run.active else run.finished or run.heartbeat or 0.0
    spent: dict[PhaseName, float] = {
        row.phase: row.seconds + (max(0.0, moment - row.began) if row.began else 0.0) for row in rows
    }
    listed = []
    for row in rows:
        over = row.ended is not None or run.state == "done"
        word, doing = PHASES[row.phase]
        listed.append(
            Phase(
                row.phase,
                word,
                doing,
                "done" if over else "running" if row.began and run.active else "waiting",
                1.0 if over else shares[row.phase],
                spent[row.phase],
                0.0 if over else _left(row, shares, spent, rows),
                row.estimate,
                row.here,
            )
        )
    return listed


def current(phases: Sequence[Phase]) -> Phase | None:
    """The phase at work."""
    return next((phase for phase in phases if phase.state == "running"), None)


def total_left(phases: Sequence[Phase]) -> float | None:
    """Seconds until the run is done; None if nothing is known of a part of it."""
    parts = [phase.left for phase in phases]
    return sum(part for part in parts if part is not None) if parts and None not in parts else None


def share_done(phases: Sequence[Phase]) -> float | None:
    """The part of the run's time that is over, 0..1; None without a time left."""
    left, spent = total_left(phases), sum(phase.seconds for phase in phases)
    return None if left is None else spent / (spent + left) if spent + left else 0.0


def in_words(phases: Sequence[Phase]) -> str:
    """What a run at work is doing, and its time left."""
    return f"{_doing(phases)} · {_time_left(phases)}"


def about(seconds: float) -> str:
    """A time left, rounded up to five seconds."""
    return f"about {duration(max(5, math.ceil(seconds / 5) * 5))}"


def _doing(phases: Sequence[Phase]) -> str:
    """The phase at work in words, with the part of it that is done."""
    phase = current(phases)
    if phase is None:
        return "starting"
    if phase.name == "compile":
        takes = "" if phase.estimate is None else f", about {duration(round(phase.estimate))}"
        return f"{phase.doing}, once per machine{takes}"
    return f"{phase.doing} {phase.share:.0%}".replace("%", " %") if phase.share else phase.doing


def _time_left(phases: Sequence[Phase]) -> str:
    """The time left in all; of the phase at work if no more is known."""
    phase, left = current(phases), total_left(phases)
    if left is not None:
        elsewhere = any(not one.here and one.state == "waiting" for one in phases)
        return f"{about(left)} left in all{ELSEWHERE if elsewhere else ''}"
    if phase is not None and phase.left is not None:
        return f"{about(phase.left)} left for this, {NO_ESTIMATE} of the whole"
    return NO_ESTIMATE


def _share(row: PhaseRow, units: Sequence[Unit]) -> float | None:
    """The part of a phase that is done; None where nothing tells."""
    if (stage := UNITS_OF.get(row.phase)) is None:
        return row.done / row.total if row.total else None
    of_stage = [unit for unit in units if unit.key.stage == stage]
    done = sum(unit.steps if unit.state in ("done", "failed") else min(unit.step, unit.steps) for unit in of_stage)
    return done / max(1, sum(unit.steps for unit in of_stage))


def _left(
    row: PhaseRow,
    shares: dict[PhaseName, float | None],
    spent: dict[PhaseName, float],
    rows: Sequence[PhaseRow],
) -> float | None:
    """Seconds left of a phase that is not over."""
    share, seconds, slower = shares[row.phase], spent[row.phase], _slower(row, shares, spent, rows)
    if row.estimate is None:
        return seconds * (1 - share) / share if share and seconds else None
    if share is None:
        return max(slower * row.estimate - seconds, OVERDUE * seconds)
    estimate = max(row.estimate, LEAST)
    doubt = min(_doubt(row), estimate) * (1 - share)
    return estimate * (1 - share) * (seconds + slower * doubt) / (estimate * share + doubt)


def _slower(
    row: PhaseRow,
    shares: dict[PhaseName, float | None],
    spent: dict[PhaseName, float],
    rows: Sequence[PhaseRow],
) -> float:
    """How much longer than estimated the other phases took whose work is of the same kind: side by side, told by units. On a
    machine that was not measured every phase tells how fast it is.
    """
    if row.phase not in UNITS_OF and row.here:
        return 1.0
    taken = planned = _doubt(row)
    for other in rows:
        share = 1.0 if other.ended is not None else shares[other.phase]
        if (
            (other.phase in UNITS_OF or not row.here)
            and other.phase != row.phase
            and other.estimate is not None
            and share
        ):
            taken += spent[other.phase]
            planned += other.estimate * share
    return taken / planned


def _doubt(row: PhaseRow) -> float:
    return DOUBT if row.here else DOUBT_ELSEWHERE
