"""What the Watch page draws each second: read from the store only when the run has changed, drawn in place."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fda.figures.curves import Series, cosine_bars, loss_curves, share_curves, similarity_curves
from fda.figures.look import Theme, to_json
from fda.figures.machine import memory_curves
from fda.figures.progress import progress_map
from fda.figures.spectrum import spectrum_curves
from fda.merging.registry import METHODS
from fda.store.records import UNCHANGED, Run, Unit, UnitKey
from fda.store.store import Store

POINTS = 300  # a curve at most: more than its pixels on a phone
TOTAL_POINTS = 2_400  # of all curves of a figure: an update stays under 100 KB, which 12,000 points would be
FEWEST = 40  # of a curve, however many there are
MEMORY_EVERY = 10.0  # seconds
LOG_BYTES = 12_000
TOP_FRACTION = 0.2  # k of the subspace similarity is 20 % of d (paper, figure 4)
SHARES = 50  # of d, at which `similarity_by_share` is recorded: 2 %, 4 %, …
COSINE = "cosine/"  # begins the scalars of the tensors


Drawing = tuple[bytes, Callable[[], go.Figure]]  # (digest of the numbers, what draws them)


@dataclass(frozen=True)
class View:
    """What the reader chose to see of a run. Empty tuples: everything."""

    tasks: tuple[str, ...]
    blocks: tuple[int, ...]
    smoothing: float
    unit: UnitKey | None  # whose spectrum; None follows the unit at work
    theme: Theme
    share: float = TOP_FRACTION  # k of the similarity, as a share of d
    merged: bool = False  # projection energy at the merged model, not at θ0


@dataclass(frozen=True)
class Picture:
    """The figures of one moment as JSON, by name; those with nothing to show yet are missing.

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
        """The figures that were others in `past`, or not there."""
        return {name: figure for name, figure in self.figures.items() if past.figures.get(name) != figure}


def picture(store: Store, run: Run, view: View, last: Picture | None) -> Picture:
    """The run as it is now; `last` itself if neither the run nor the view has changed since.

    A figure whose numbers are those of `last` is not drawn again: of nine, a second of construction changes three.
    """
    moment = (run.run_id, store.version(run.run_id), view)
    if last is not None and last.moment == moment:
        return last
    known = last.drawn if last is not None and (last.moment[0], last.moment[2]) == (run.run_id, view) else {}
    units = store.units(run.run_id)
    unit = view.unit or at_work(units)
    drawn = {}
    for name, (source, draw) in drawings(store, run, view, units, unit).items():
        kept = known.get(name)
        drawn[name] = kept if kept is not None and kept[0] == source else (source, to_json(draw()))
    return Picture(moment, units, unit, drawn)


def figures(store: Store, run: Run, view: View, units: Sequence[Unit], unit: UnitKey | None) -> dict[str, go.Figure]:
    """Every figure that has something to show: how far the run is, its curves, and the unit `unit` looked at closely."""
    return {name: draw() for name, (_, draw) in drawings(store, run, view, units, unit).items()}


def drawings(store: Store, run: Run, view: View, units: Sequence[Unit], unit: UnitKey | None) -> dict[str, Drawing]:
    """`figures`, each undrawn and with a digest of the numbers in it."""
    shared = {"theme": view.theme, "uirevision": run.run_id}
    close = {"theme": view.theme, "uirevision": f"{run.run_id} {unit.name} {unit.block}"} if unit else {}
    titled = f"{unit.name}, block {unit.block}" if unit else ""
    curves = shared | {"tasks": run.spec.tasks}
    chosen = {"names": view.tasks or None, "blocks": view.blocks or None}
    construct = [one for one in units if one.key.stage == "construct"]
    methods = [one for one in units if one.key.stage in ("adapt", "evaluate")]
    points = points_of_a_curve(construct, view)
    found: dict[str, Drawing] = {}

    def add(name: str, function: Callable[..., go.Figure], *numbers: Any, **words: Any) -> None:
        found[name] = (_digest(numbers, words), partial(function, *numbers, **words))

    def series(name: str) -> Series:
        return store.scalars(run.run_id, name, points=points, **chosen)

    if construct:
        add("progress", progress_map, construct, title="Construction: tasks × blocks", **shared)
    if methods:
        titles = {name: method.title for name, method in METHODS.items()}
        title, loss_name = "Methods: adaptation by block, then the score", "last adaptation loss"
        add("methods", progress_map, methods, title=title, titles=titles, loss=loss_name, **shared)
    if loss := series("angle_loss"):
        add("loss", loss_curves, loss, smoothing=view.smoothing, **curves)
    spectra = store.snapshots(run.run_id, "spectrum", names=[unit.name], blocks=[unit.block]) if unit else {}
    if similarity := _similarity(store, run.run_id, view.share, chosen):
        add("similarity", similarity_curves, similarity, chance=_chance(spectra, view.share), **curves)
    if tail := series("tail_energy"):
        title, y_title = "Tail energy of the spectrum", "energy beyond the top 20 % of d"
        add("tail", share_curves, tail, title=title, y_title=y_title, **curves)
    name = "projection_energy_merged" if view.merged else "projection_energy"
    if projection := series(name):
        real = [values[-1] for _, values in store.scalars(run.run_id, f"{name}_real", points=1, **chosen).values()]
        title = f"Projection energy at {'the merged model' if view.merged else 'θ₀'}"
        line = (float(np.mean(real)), f"held-out real data: {np.mean(real):.2f}") if real else None
        y_title = "share of the update in the cone of real data"
        add("projection", share_curves, projection, title=title, y_title=y_title, line=line, **curves)
    if unit and (cosines := _cosines(store, run.run_id, unit)):
        first, last = (np.array([values[place] for values in cosines.values()]) for place in (0, -1))
        alone = all(len(values) == 1 for values in cosines.values())  # published anchors, or the first step
        add("cosines", cosine_bars, list(cosines), None if alone else first, last, unit=titled, **close)
    if unit in spectra:
        add("spectrum", spectrum_curves, *spectra[unit], unit=titled, **close)
    if readings := store.system(run.run_id):
        add("memory", memory_curves, _settled(readings) if run.active else readings, **shared)
    return found


def points_of_a_curve(construct: Sequence[Unit], view: View) -> int:
    """How many points each curve may have, so that an update stays small however many curves there are."""
    shown = [
        unit
        for unit in construct
        if (not view.tasks or unit.key.name in view.tasks) and (not view.blocks or unit.key.block in view.blocks)
    ]
    return max(FEWEST, min(POINTS, TOTAL_POINTS // max(1, len(shown))))


def _digest(*numbers: Any) -> bytes:
    return blake2b(pickle.dumps(numbers), digest_size=16).digest()


def at_work(units: Sequence[Unit]) -> UnitKey | None:
    """The construct unit at work; else the last that is finished."""
    construct = [unit for unit in units if unit.key.stage == "construct"]
    running = [unit.key for unit in construct if unit.state == "running" and unit.step > 0]
    done = [unit.key for unit in construct if unit.state == "done" and not unit.unchanged]
    return running[0] if running else done[-1] if done else None


def scalars_table(store: Store, run_id: str, name: str, value: str) -> pd.DataFrame:
    """Every value of a series, unthinned: columns task, block, step and `value`."""
    series: Series = store.scalars(run_id, name, points=None)
    parts = [
        pd.DataFrame({"task": key.name, "block": key.block, "step": steps, value: values})
        for key, (steps, values) in series.items()
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["task", "block", "step", value])


def spectrum_table(store: Store, run_id: str, unit: UnitKey | None) -> pd.DataFrame:
    """The spectra of one unit: a row an index, a column a step."""
    spectra = store.snapshots(run_id, "spectrum", names=[unit.name], blocks=[unit.block]) if unit else {}
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
        }
        for unit in units
    ]
    return pd.DataFrame(rows)


def log_tail(store: Store, run_id: str) -> str:
    """The last lines of the worker's log; empty if there are none."""
    path = store.run_dir(run_id) / "log.txt"
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - LOG_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-60:])


def _settled(readings: Sequence[tuple[float, str, float]]) -> Sequence[tuple[float, str, float]]:
    """Those of whole stretches of MEMORY_EVERY seconds, so that the figure is drawn anew once in a stretch; at first, all."""
    start, last = readings[0][0], readings[-1][0]
    until = last - (last - start) % MEMORY_EVERY
    return [reading for reading in readings if reading[0] <= until] if until > start else readings


def _chance(spectra: dict[UnitKey, tuple[np.ndarray, np.ndarray]], share: float) -> float:
    """k/d. d is the length of a spectrum, where one is known (k is a whole number of directions)."""
    for _, values in spectra.values():
        return max(1, round(share * values.shape[1])) / values.shape[1]
    return share


def _similarity(store: Store, run_id: str, share: float, chosen: dict[str, Sequence | None]) -> Series:
    """At k = `share` of d; runs of older versions know only 20 %."""
    recorded = store.snapshots(run_id, "similarity_by_share", **chosen)
    if not recorded:
        return store.scalars(run_id, "similarity", points=POINTS, **chosen) if share == TOP_FRACTION else {}
    place = round(share * SHARES) - 1
    return {key: (steps, values[:, place]) for key, (steps, values) in recorded.items()}


def _cosines(store: Store, run_id: str, unit: UnitKey) -> dict[str, np.ndarray]:
    """Tensor → its cosines at the recorded steps."""
    found = {}
    for name in store.scalar_names(run_id):
        if name.startswith(COSINE):
            series = store.scalars(run_id, name, names=[unit.name], blocks=[unit.block], points=None)
            if unit in series:
                found[name.removeprefix(COSINE)] = series[unit][1]
    return found
