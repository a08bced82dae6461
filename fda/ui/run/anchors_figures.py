"""The figures of each view of a unit's anchors, and the numbers beside them. Imports no streamlit."""

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
class AnchorsView:
    """The reader's choices. `runs`: short names; `pinned`: the reference, one of them."""

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
    """The positions of the step dial: every step at which any run recorded something."""
    return tuple(sorted({step for record in records for step in record.steps}))


def step_dial(steps: Sequence[int]) -> Dial:
    hint = "drag, or use the arrow keys" if len(steps) > 1 else "the only recorded step"
    return Dial("Step", tuple(map(str, steps)), hint, plays=True)


def share_dial(width: int) -> Dial:
    """A dial for the share of d, whose choices also name k, the whole number of directions."""
    names = tuple(f"{share:.0%}, k = {_count(share, width)}" for share in SHARES)
    return Dial("k, share of d", names, "the top directions that are compared; the paper uses 20 %")


def scene(records: Sequence[UnitRecord], view: AnchorsView, identity: str) -> Scene:
    return Scene(view.runs, view.pinned, steps_of(records), view.theme, identity)


def spectrum_view(records: Sequence[UnitRecord], view: AnchorsView, identity: str) -> Drawn:
    """The spectrum at the dial's step, and its summaries over all steps."""
    shared = scene(records, view, identity)
    drawn: Drawn = {}
    if shown := _snapshots(records, SPECTRUM.key):
        alt = "Singular values of the anchors at the chosen step, a curve for each run"
        drawn[SPECTRUM.title] = spectrum_at(shown, shared, log=view.log), alt
    for measure in SPECTRUM_SUMS:
        if shown := _measures(records, measure):
            figure = measure_over_steps(
                shown,
                shared,
                title=measure.heading,
                y_title=measure.unit,
                number=measure.number,
                log=view.log and measure is ANGLE_LOSS,
            )
            drawn[measure.title] = figure, f"{measure.heading}, a curve for each run, the chosen step marked"
    return drawn


def alignment_view(records: Sequence[UnitRecord], view: AnchorsView, identity: str) -> Drawn:
    """Alignment of the anchors with real data, at the dials' step and share of d."""
    shared = scene(records, view, identity)
    drawn: Drawn = {}
    width = width_of(records)
    if (shown := _snapshots(records, SIMILARITY_BY_SHARE.key)) and width:
        levels = np.array([_count(share, width) / width for share in SHARES])
        both = {"shares": np.array(SHARES), "chance": levels}
        alt = "Subspace similarity of anchors and real inputs over steps at the chosen share of d, with the chance line"
        drawn[SIMILARITY.title] = similarity_over_steps(shown, shared, **both), alt
        alt = "Subspace similarity over the share of d at the chosen step, with chance as the diagonal"
        drawn[SIMILARITY_BY_SHARE.title] = similarity_by_share(shown, shared, **both), alt
    elif shown := _measures(records, SIMILARITY):
        alt = "Subspace similarity of anchors and real inputs over steps at 20 % of d, with the chance line"
        level = chance_of(records) or TOP_SHARE
        drawn[SIMILARITY.title] = (
            measure_over_steps(
                shown, shared, title=f"{SIMILARITY.heading}, top 20 % of d", y_title=SIMILARITY.unit, limit=1.02,
                levels=[(f"chance k/d = {level:.2f}", level)], number=SIMILARITY.number,
            ),
            alt,
        )  # fmt: skip
    if shown := _snapshots(records, ANGLES.key):
        alt = "Principal angles between the subspaces of anchors and real inputs at the chosen step"
        drawn[ANGLES.title] = angles_at(shown, shared), alt
    tensors = _tensors(records)
    aligned = [_in_order(record, record.cosines, tensors) for record in records if record.cosines is not None]
    if tensors and aligned:
        alt = "Cosine of each tensor's induced gradient with its task vector at the chosen step"
        drawn[COSINES.title] = cosines_at(aligned, shared, tensors=tensors), alt
    for measure in PROJECTIONS:
        if shown := _measures(records, measure):
            lines = (record.last(measure.real_key) for record in records)
            figure = measure_over_steps(
                shown,
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
    store: Store, run_id: str, view: AnchorsView, *, over: str, shape: Shape, identity: str
) -> tuple[Drawn, tuple[int, ...]]:
    """Spectra of one run over steps, tasks or blocks, and the steps of the dial (none if the figure is still)."""
    chosen = {
        "steps": {"names": [view.task], "blocks": [view.block]},
        "tasks": {"blocks": [view.block]},
        "blocks": {"names": [view.task]},
    }[over]
    recorded = store.snapshots(run_id, SPECTRUM.key, **chosen)
    if not recorded:
        return {}, ()
    shared = {"shape": shape, "log": view.log, "uirevision": f"{identity} {over} {shape}"}
    if over == "steps":
        steps, values = recorded[UnitKey("construct", view.task, view.block)]
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
    keys = sorted(recorded, key=lambda key: key.block) if over == "blocks" else list(recorded)
    steps = tuple(sorted({int(step) for series, _ in recorded.values() for step in series}))
    longest = max(values.shape[1] for _, values in recorded.values())
    stacked = np.full((len(steps), len(keys), longest), np.nan, np.float32)
    for row, key in enumerate(keys):
        record = Record("", *recorded[key])
        for position, step in enumerate(steps):
            stacked[position, row, : record.values.shape[1]] = record.values[record.index_at(step)]
    rows = [key.name if over == "tasks" else f"block {key.block}" for key in keys]
    where = f"block {view.block}" if over == "tasks" else view.task
    title = [f"Spectra over {over}: {where}, step {step}" for step in steps]
    figure = spectra(rows, stacked, view.theme, title=title, row_title="", ordered=over == "blocks", **shared)
    return {"Spectra": (figure, f"Spectra of the anchors of all {over} at the chosen step")}, steps


def readings(records: Sequence[UnitRecord], view: AnchorsView) -> Readings | None:
    """Each run's numbers at every step, with differences from the reference in brackets; None without numbers."""
    columns = [measure for measure in SUMMARY if any(measure.key in record.measures for record in records)]
    if not columns:
        return None
    reference = next(record for record in records if record.run == view.pinned)
    cells = [
        [[_cell(record, reference, measure, step) for measure in columns] for record in records]
        for step in steps_of(records)
    ]
    names = tuple(
        f"{record.run} (reference)" if record is reference and len(records) > 1 else record.run for record in records
    )
    return Readings(STEP, tuple(measure.label for measure in columns), names, cells)


def dials(drawn: Mapping[str, tuple[Scrubbed, str]], steps: Sequence[int], width: int | None) -> dict[str, Dial]:
    """The step dial, and the share dial if a figure follows it."""
    followed = {move.dial for scrubbed, _ in drawn.values() for move in scrubbed.moves}
    dials = {STEP: step_dial(steps)}
    if SHARE in followed and width:
        dials[SHARE] = share_dial(width)
    return dials


def width_of(records: Sequence[UnitRecord]) -> int | None:
    """d as the length of the longest spectrum; None without spectra."""
    return max((record.width for record in records if record.width), default=None)


def chance_of(records: Sequence[UnitRecord]) -> float | None:
    """k/d at the paper's share of 20 %; None while d is unknown."""
    width = width_of(records)
    return None if width is None else _count(TOP_SHARE, width) / width


def _cell(record: UnitRecord, reference: UnitRecord, measure: Measure, step: int) -> str:
    value, baseline = (_value_at(unit, measure.key, step) for unit in (record, reference))
    if value is None:
        return "–"
    if record is reference or baseline is None:
        return f"{value:{measure.number}}"
    difference = f"{value - baseline:+{measure.number}}".replace("-", "−")
    return f"{value:{measure.number}} ({difference})"


def _value_at(record: UnitRecord, key: str, step: int) -> float | None:
    series = record.measures.get(key)
    if series is None or step < series.steps[0]:
        return None
    value = float(series.values[series.index_at(step)])
    return value if np.isfinite(value) else None


def _snapshots(records: Sequence[UnitRecord], kind: str) -> list[Record]:
    return [record.snapshots[kind] for record in records if kind in record.snapshots]


def _measures(records: Sequence[UnitRecord], measure: Measure) -> list[Record]:
    return [record.measures[measure.key] for record in records if measure.key in record.measures]


def _tensors(records: Sequence[UnitRecord]) -> tuple[str, ...]:
    """Every tensor with a cosine in any run, in the first run's order."""
    return tuple(dict.fromkeys(tensor for record in records for tensor in record.tensors))


def _in_order(record: UnitRecord, cosines: Record, tensors: Sequence[str]) -> Record:
    """The unit's `cosines` (S, its tensors) with a column for each of `tensors`; NaN for those it lacks."""
    columns = np.full((len(cosines.steps), len(tensors)), np.nan)
    for index, tensor in enumerate(record.tensors):
        columns[:, tensors.index(tensor)] = cosines.values[:, index]
    return Record(record.run, cosines.steps, columns)


def _count(share: float, width: int) -> int:
    return max(1, round(share * width))
