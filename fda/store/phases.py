"""The table `phases`: what each run's worker does when, and how long that was expected to take.

`fda.stages.phases` writes it, `fda.report.phases` makes shares and times left from it.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from fda.measures import PHASES, PhaseName
from fda.store.database import Database
from fda.store.records import PhaseRow

_COLUMNS = {"done": int, "total": int, "seconds": float, "began": float, "ended": float}


class Phases(Database):
    """Reads and writes of the phases of runs."""

    def plan_phases(
        self, run_id: str, estimates: Mapping[PhaseName, float | None], now: float, *, here: bool = True
    ) -> None:
        """Set the phases ahead of a run that begins or resumes at `now`, with their expected seconds.

        `here`: they come from what was measured on this machine. A phase that is known already keeps its seconds; one that
        is not planned any more is over.
        """
        with self._writing(run_id) as (connection, run):
            connection.execute("UPDATE phases SET ended = coalesce(ended, ?) WHERE run = ?", (now, run))
            connection.executemany(
                "INSERT INTO phases (run, phase, estimate, here) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "estimate = excluded.estimate, here = excluded.here, done = 0, total = 0, began = NULL, ended = NULL",
                [(run, phase, estimate, here) for phase, estimate in estimates.items()],
            )

    def update_phase(self, run_id: str, phase: PhaseName, **changes: Any) -> None:
        """Set any of done, total, seconds, began, ended; adds the phase if it was not planned."""
        if unknown := changes.keys() - _COLUMNS.keys():
            raise TypeError(f"a phase has no {', '.join(sorted(unknown))}")
        values = [None if value is None else _COLUMNS[name](value) for name, value in changes.items()]
        with self._writing(run_id) as (connection, run):
            connection.execute("INSERT OR IGNORE INTO phases (run, phase) VALUES (?, ?)", (run, phase))
            assignments = ", ".join(f"{name} = ?" for name in changes)
            connection.execute(f"UPDATE phases SET {assignments} WHERE run = ? AND phase = ?", (*values, run, phase))

    def phases(self, run_id: str) -> list[PhaseRow]:
        """The run's phases in the order of the work; those of runs before version 4 of the store are not known."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT phase, estimate, done, total, seconds, began, ended, here FROM phases WHERE run = ?",
                (self._run_row(connection, run_id),),
            ).fetchall()
        by_phase = {phase: PhaseRow(phase, *columns, here=bool(here)) for phase, *columns, here in rows}
        return [by_phase[phase] for phase in PHASES if phase in by_phase]


def close_phases(connection: sqlite3.Connection, run: int, moment: float) -> None:
    """End the present stretch of every phase of a run whose worker ended at `moment`."""
    connection.execute(
        "UPDATE phases SET seconds = seconds + max(0, ? - began), began = NULL WHERE run = ? AND began IS NOT NULL",
        (moment, run),
    )
