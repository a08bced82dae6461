"""Which figures the Anchors page shows in each of its views, and the numbers beside them. Imports no streamlit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fda.figures.anchors import SHARE, STEP, Record, Scene, measure_over_steps, spectrum_at
from fda.figures.anchors_alignment import angles_at, cosines_at, similarity_by_share, similarity_over_steps
from fda.figures.ridge import Shape, spectra
from fda.figures.scrub import Scrubbed
from fda.figures.spectrum import spectrum_curves
from fda.figures.theme import Theme
from fda.measures import (
    ANGLE_LOSS,
    ANGLES,
    COSINES,
    EFFECTIVE_RANK,
    PROJECTION_ENERGY,
    PROJECTION_ENERGY_MERGED,
    SHARES,
    SIMILARITY,
    SIMILARITY_BY_SHARE,
    SPECTRUM,
    SUMMARY,
    TAIL_ENERGY,
    TOP_SHARE,
    Measure,
)
from fda.report.anchors import UnitRecord
from fda.store.records import UnitKey
from fda.store.store import Store
from fda.ui.scrubber import Dial, Readings

Drawn = dict[str, tuple[Scrubbed, str]]  # name → (figure, alternative text)
OVERS = ("steps", "tasks", "blocks")
SPECTRUM_SUMS = (EFFECTIVE_RANK, TAIL_ENERGY, ANGLE_LOSS)
PROJECTIONS = (PROJECTION_ENERGY, PROJECTION_ENERGY_MERGED)


@dataclass(frozen=True)
class View:
    """What the reader chose to see. `runs` by their short names, `pinned` one of them."""

    runs: tuple[str, ...]
    pinned: str
    task: str
    block: int
    log: bool
    theme: Theme

    @property
    def unit(self) -> str:
        return f"{self.task}, block {self.block}"


def steps_of(records: Sequence[UnitRecord]) -> tuple[int, ...]:
    """The positions of the step's dial: every step at which one of the runs recorded something."""
    return tuple(sorted({step for record in records for step in record.steps}))


def step_dial(steps: Sequence[int]) -> Dial:
    hint = "drag, or use the arrow keys" if len(steps) > 1 else "the only one that is recorded"
    return Dial("Step", tuple(map(str, steps)), hint, plays=True)


def share_dial(width: int) -> Dial:
    """The choices say k too: a share of d is a whole number of directions."""
    names = tuple(f"{share:.0%}, k = {_count(share, width)}" for share in SHARES)
    return Dial("k, share of d", names, "the top directions that are compared; the paper has 20 %")


def scene(records: Sequence[UnitRecord], view: View, identity: str) -> Scene:
    return Scene(view.runs, view.pinned, steps_of(records), view.theme, identity)


def spectrum_view(records: Sequence[UnitRecord], view: View, identity: str) -> Drawn:
    """The spectrum at the step, and what sums it up over all steps."""
    shared = scene(records, view, identity)
    drawn: Drawn = {}
    if found := _snapshots(records, SPECTRUM.key):
        alt = "Singular values of the anchors at the chosen step, a curve for each run"
        drawn[SPECTRUM.title] = spectrum_at(found, shared, log=view.log), alt
    for measure in SPECTRUM_SUMS:
        if found := _measures(records, measure):
            figure = measure_over_steps(
                found,
                shared,
                title=measure.heading,
                y_title=measure.unit,
                number=measure.number,
                log=view.log and measure is ANGLE_LOSS,
            )
            drawn[measure.title] = figure, f"{measure.heading}, a curve for each run, the chosen step marked"
    return drawn


def alignment_view(records: Sequence[UnitRecord], view: View, identity: str) -> Drawn:
    """How the anchors lie to real data, at the step and at the share of d."""
    shared = scene(records, view, identity)
    drawn: Drawn = {}
    width = width_of(records)
    if (found := _snapshots(records, SIMILARITY_BY_SHARE.key)) and width:
        levels = np.array([_count(share, width) / width for share in SHARES])
        both = {"shares": np.array(SHARES), "chance": levels}
        alt = "Subspace similarity of anchors and real inputs over steps at the chosen share of d, with the chance line"
        drawn[SIMILARITY.title] = similarity_over_steps(found, shared, **both), alt
        alt = "Subspace similarity over the share of d at the chosen step, with chance as the diagonal"
        drawn[SIMILARITY_BY_SHARE.title] = similarity_by_share(found, shared, **both), alt
    elif found := _measures(records, SIMILARITY):
        alt = "Subspace similarity of anchors and real inputs over steps at 20 % of d, with the chance line"
        level = chance_of(records) or TOP_SHARE
        drawn[SIMILARITY.title] = (
            measure_over_steps(
                found, shared, title=f"{SIMILARITY.heading}, top 20 % of d", y_title=SIMILARITY.unit, limit=1.02,
                levels=[(f"chance k/d = {level:.2f}", level)], number=SIMILARITY.number,
            ),
            alt,
        )  # fmt: skip
    if found := _snapshots(records, ANGLES.key):
        alt = "Principal angles between the subspaces of anchors and real inputs at the chosen step"
        drawn[ANGLES.title] = angles_at(found, shared), alt
    if (found := [one.cosines for one in records if one.cosines is not None]) and (tensors := _tensors(records)):
        aligned = [_in_order(one, tensors) for one in records if one.cosines is not None]
        alt = "Cosine of each tensor's induced gradient with its task vector at the chosen step"
        drawn[COSINES.title] = cosines_at(aligned, shared, tensors=tensors), alt
    for measure in PROJECTIONS:
        if found := _measures(records, measure):
            lines = (one.last(measure.real_key) for one in records)
            figure = measure_over_steps(
                found,
                shared,
                title=measure.heading,
                y_title=measure.unit,
                number=measure.number,
                levels=[("real data", level) for level in lines if level is not None][:1],
                limit=1.02,
            )
            alt = f"{measure.heading} over steps, a curve for each run, with the line that real data reach"
            drawn[measure.heading] = figure, alt
    return drawn


def across_view(
    store: Store, run_id: str, view: View, *, over: str, shape: Shape, identity: str
) -> tuple[Drawn, tuple[int, ...]]:
    """The spectra of one run over steps, tasks or blocks; and the steps that the figure follows, if it does."""
    chosen = {
        "steps": {"names": [view.task], "blocks": [view.block]},
        "tasks": {"blocks": [view.block]},
        "blocks": {"names": [view.task]},
    }[over]
    found = store.snapshots(run_id, SPECTRUM.key, **chosen)
    if not found:
        return {}, ()
    shared = {"shape": shape, "log": view.log, "uirevision": f"{identity} {over} {shape}"}
    if over == "steps":
        steps, values = found[UnitKey("construct", view.task, view.block)]
        if shape == "curves":
            curves = spectrum_curves(steps, values, view.theme, unit=view.unit, uirevision=shared["uirevision"])
            if not view.log:
                curves.update_yaxes(type="linear", tickvals=None, ticktext=None)
            return {
                "Spectra": (
                    Scrubbed(curves),
                    "Spectra of the anchors at several steps, the first dotted, the last thick",
                )
            }, ()
        rows, title = [f"step {step}" for step in steps], [f"Spectra over steps: {view.unit}"]
        figure = spectra(rows, values[None], view.theme, title=title, row_title="", ordered=True, **shared)
        return {"Spectra": (figure, "Spectra of the anchors at every recorded step")}, ()
    keys = sorted(found, key=lambda key: key.block) if over == "blocks" else list(found)
    steps = tuple(sorted({int(step) for own, _ in found.values() for step in own}))
    longest = max(values.shape[1] for _, values in found.values())
    stacked = np.full((len(steps), len(keys), longest), np.nan, np.float32)
    for place, key in enumerate(keys):
        record = Record("", *found[key])
        for position, step in enumerate(steps):
            stacked[position, place, : record.values.shape[1]] = record.values[record.index_at(step)]
    rows = [key.name if over == "tasks" else f"block {key.block}" for key in keys]
    where = f"block {view.block}" if over == "tasks" else view.task
    title = [f"Spectra over {over}: {where}, step {step}" for step in steps]
    figure = spectra(rows, stacked, view.theme, title=title, row_title="", ordered=over == "blocks", **shared)
    return {"Spectra": (figure, f"Spectra of the anchors of all {over} at the chosen step")}, steps


def readings(records: Sequence[UnitRecord], view: View) -> Readings | None:
    """Each run's numbers at the step, and in brackets how far they are from the reference's."""
    columns = [measure for measure in SUMMARY if any(measure.key in one.measures for one in records)]
    if not columns:
        return None
    own = next(one for one in records if one.run == view.pinned)
    cells = [[[_cell(one, own, measure, step) for measure in columns] for one in records] for step in steps_of(records)]
    names = tuple(f"{one.run} (reference)" if one is own and len(records) > 1 else one.run for one in records)
    return Readings(STEP, tuple(measure.label for measure in columns), names, cells)


def dials(drawn: Mapping[str, tuple[Scrubbed, str]], steps: Sequence[int], width: int | None) -> dict[str, Dial]:
    """Those that a figure follows; the step's in any case."""
    followed = {move.dial for scrubbed, _ in drawn.values() for move in scrubbed.moves}
    found = {STEP: step_dial(steps)}
    if SHARE in followed and width:
        found[SHARE] = share_dial(width)
    return found


def width_of(records: Sequence[UnitRecord]) -> int | None:
    """d, as far as the spectra tell it."""
    return max((one.width for one in records if one.width), default=None)


def chance_of(records: Sequence[UnitRecord]) -> float | None:
    """k/d at the paper's share; None while d is not known."""
    width = width_of(records)
    return None if width is None else _count(TOP_SHARE, width) / width


def _cell(one: UnitRecord, own: UnitRecord, measure: Measure, step: int) -> str:
    value, usual = (_value_at(record, measure.key, step) for record in (one, own))
    if value is None:
        return "–"
    beside = f" ({value - usual:+{measure.number}})".replace("-", "−") if one is not own and usual is not None else ""
    return f"{value:{measure.number}}{beside}"


def _value_at(record: UnitRecord, key: str, step: int) -> float | None:
    found = record.measures.get(key)
    if found is None or step < found.steps[0]:
        return None
    value = float(found.values[found.index_at(step)])
    return value if np.isfinite(value) else None


def _snapshots(records: Sequence[UnitRecord], kind: str) -> list[Record]:
    return [one.snapshots[kind] for one in records if kind in one.snapshots]


def _measures(records: Sequence[UnitRecord], measure: Measure) -> list[Record]:
    return [one.measures[measure.key] for one in records if measure.key in one.measures]


def _tensors(records: Sequence[UnitRecord]) -> tuple[str, ...]:
    """Every tensor that a run has a cosine of, in the first run's order."""
    return tuple(dict.fromkeys(tensor for one in records for tensor in one.tensors))


def _in_order(one: UnitRecord, tensors: Sequence[str]) -> Record:
    columns = np.full((len(one.cosines.steps), len(tensors)), np.nan)
    for place, tensor in enumerate(one.tensors):
        columns[:, tensors.index(tensor)] = one.cosines.values[:, place]
    return Record(one.run, one.cosines.steps, columns)


def _count(share: float, width: int) -> int:
    return max(1, round(share * width))
