"""The figures, tables and log of a run's units; reads the store, each second, only if the run has changed.

`fda.measures` declares the figures, `run_numbers.py` reads their numbers.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pkgutil import resolve_name
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fda.figures.curves import Series, mark_step
from fda.figures.theme import Theme, to_json
from fda.measures import FIGURES, SPECTRUM, Reads
from fda.report.run_numbers import Arguments, RunNumbers, UnitsView
from fda.store.records import UNCHANGED, Run, Unit, UnitKey
from fda.store.store import Store

LOG_BYTES = 12_000
OVER_STEPS: tuple[Reads, ...] = ("series", "similarity")  # what figures over steps read

Drawing = tuple[bytes, Callable[[], go.Figure]]  # (digest of the numbers, function that draws them)


@dataclass(frozen=True)
class Picture:
    """The figures of a run at one moment; those without data are missing.

    `drawn`: name → (digest of the numbers in the figure, the figure as JSON).
    """

    moment: tuple
    units: list[Unit]
    unit: UnitKey | None
    drawn: dict[str, tuple[bytes, str]]

    @property
    def figures(self) -> dict[str, str]:
        return {name: figure for name, (_, figure) in self.drawn.items()}

    def changed(self, past: "Picture") -> dict[str, str]:
        """The figures that are new or differ from those of `past`."""
        return {name: figure for name, figure in self.figures.items() if past.figures.get(name) != figure}


def picture(store: Store, run: Run, view: UnitsView, last: Picture | None) -> Picture:
    """The run as it is now; `last` itself if neither the run nor the view has changed since.

    Reuses the figures of `last` whose numbers are unchanged: a second of construction changes three of nine.
    """
    moment = (run.run_id, store.version(run.run_id), view)
    if last is not None and last.moment == moment:
        return last
    known = last.drawn if last is not None and (last.moment[0], last.moment[2]) == (run.run_id, view) else {}
    units = store.units(run.run_id)
    unit = view.unit or default_unit(run, units)
    drawn = {}
    for name, (digest, draw) in drawings(store, run, view, units, unit).items():
        kept = known.get(name)
        drawn[name] = kept if kept is not None and kept[0] == digest else (digest, to_json(draw()))
    return Picture(moment, units, unit, drawn)


def figures(
    store: Store, run: Run, view: UnitsView, units: Sequence[Unit], unit: UnitKey | None
) -> dict[str, go.Figure]:
    """Name → figure, for every figure with data: progress, curves, and the details of `unit`."""
    return {name: draw() for name, (_, draw) in drawings(store, run, view, units, unit).items()}


def drawings(
    store: Store, run: Run, view: UnitsView, units: Sequence[Unit], unit: UnitKey | None
) -> dict[str, Drawing]:
    """Name → (digest of the numbers, function that draws the figure), in the order of the page."""
    numbers = RunNumbers(store, run, view, units, unit)
    undrawn: dict[str, Drawing] = {}
    for name, (measure, figure) in FIGURES.items():
        if view.figures is not None and name not in view.figures:
            continue
        if (arguments := numbers.arguments(measure, figure)) is not None:
            step = view.step if figure.reads in OVER_STEPS else None
            undrawn[name] = (_digest(arguments), partial(_draw, figure.draw, arguments, step, view.theme))
    return undrawn


def _draw(function: str, arguments: Arguments, step: int | None, theme: Theme) -> go.Figure:
    """The figure that `function` of `fda.figures` draws, with a line at `step`."""
    figure = resolve_name(f"fda.figures.{function}")(*arguments[0], **arguments[1])
    if step is not None:
        mark_step(figure, step, theme)
    return figure


def _digest(*numbers: Any) -> bytes:
    return blake2b(pickle.dumps(numbers), digest_size=16).digest()


def at_work(units: Sequence[Unit]) -> UnitKey | None:
    """The construct unit at work; else the last finished one with anchors."""
    construct = [unit for unit in units if unit.key.stage == "construct"]
    running = [unit.key for unit in construct if unit.state == "running" and unit.step > 0]
    done = [unit.key for unit in construct if unit.state == "done" and not unit.unchanged]
    return running[0] if running else done[-1] if done else None


def default_unit(run: Run, units: Sequence[Unit]) -> UnitKey | None:
    """The construct unit at work; of a run that has ended, the one with the highest loss."""
    done = [unit for unit in units if unit.key.stage == "construct" and unit.state == "done" and unit.loss is not None]
    if run.active or not done:
        return at_work(units)
    return max(done, key=lambda unit: unit.loss or 0.0).key


def scalars_table(store: Store, run_id: str, name: str, value: str) -> pd.DataFrame:
    """Every value of the series `name`: columns task, block, step and `value`."""
    series: Series = store.scalars(run_id, name, points=None)
    parts = [
        pd.DataFrame({"task": key.name, "block": key.block, "step": steps, value: values})
        for key, (steps, values) in series.items()
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["task", "block", "step", value])


def spectrum_table(store: Store, run_id: str, unit: UnitKey | None) -> pd.DataFrame:
    """The spectra of one unit: a row per index, a column per step."""
    spectra = store.snapshots(run_id, SPECTRUM.key, names=[unit.name], blocks=[unit.block]) if unit else {}
    if unit not in spectra:
        return pd.DataFrame(columns=["index"])
    steps, values = spectra[unit]
    return pd.DataFrame(values.T, columns=[f"step {step}" for step in steps]).rename_axis("index").reset_index()


def units_table(units: Sequence[Unit]) -> pd.DataFrame:
    rows = [
        {
            "stage": unit.key.stage,
            "name": unit.key.name,
            "block": unit.key.block if unit.key.block >= 0 else None,
            "state": UNCHANGED if unit.unchanged else unit.state,
            "step": unit.step,
            "steps": unit.steps,
            "loss": unit.loss,
            "best_step": unit.best_step,
            "seconds": unit.seconds,
            "node": unit.node,
        }
        for unit in units
    ]
    return pd.DataFrame(rows)


def log_tail(store: Store, run_id: str) -> str:
    """The last lines of the worker's log; empty without a log."""
    path = store.run_dir(run_id) / "log.txt"
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - LOG_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-60:])
