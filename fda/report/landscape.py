"""Figures, sentence and tables of a landscape; reads the store only if the run has changed. Imports no streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fda.figures.landscape import TITLES, Metric, landscape_map, mark, path_curves
from fda.figures.theme import Theme, to_json
from fda.requests.landscape import anchors_run
from fda.store.landscape_record import (
    FDA_PATHS,
    FINETUNED,
    TA,
    LandscapeMap,
    LandscapeNumbers,
    load_map,
    read_numbers,
)
from fda.store.records import Run
from fda.store.store import Store

MAP, CURVES = "Landscape", "Paths"


@dataclass(frozen=True)
class LandscapeView:
    """The reader's choices. `of`: all tasks or one; `follow`: (path, index) of the ring."""

    metric: Metric
    of: str
    log: bool
    follow: tuple[str, int]
    theme: Theme


@dataclass(frozen=True, eq=False)
class Picture:
    """The plane, numbers and figures (name → JSON) of a run at one moment; figures without data are missing."""

    moment: tuple
    plane: LandscapeMap
    numbers: LandscapeNumbers
    figures: dict[str, str]


def picture(store: Store, run: Run, plane: LandscapeMap, view: LandscapeView, last: Picture | None) -> Picture:
    """The run as it is now; `last` itself if neither the run nor the view has changed since."""
    moment = (run.run_id, store.version(run.run_id), view)
    if last is not None and last.moment == moment:
        return last
    numbers = read_numbers(store, run.run_id, plane, view.of)
    drawn = figures(run, plane, numbers, view)
    return Picture(moment, plane, numbers, {name: to_json(figure) for name, figure in drawn.items()})


def figures(run: Run, plane: LandscapeMap, numbers: LandscapeNumbers, view: LandscapeView) -> dict[str, go.Figure]:
    shared = {"metric": view.metric, "follow": view.follow, "uirevision": run.run_id}
    drawn = {MAP: landscape_map(plane, numbers, view.theme, tasks=run.spec.tasks, log=view.log, **shared)}
    if any(np.isfinite(numbers.tracks[view.metric][name]).any() for name in (TA, *FDA_PATHS)):
        drawn[CURVES] = path_curves(plane, numbers, view.theme, **shared)
    return drawn


def plane_of(store: Store, run: Run) -> LandscapeMap | None:
    """The plane of weights; None until the run has computed it."""
    return load_map(store.run_dir(run.run_id))


def sources(runs: Sequence[Run]) -> list[Run]:
    """The finished runs with anchors, whose landscape can be computed."""
    return [run for run in runs if run.state == "done" and anchors_run(run) is not None]


def finding(plane: LandscapeMap, numbers: LandscapeNumbers, metric: Metric) -> str | None:
    """A sentence that compares the ends of FDA with the best of task arithmetic; None until both are scored."""
    scores = numbers.tracks[metric]
    ends = {name: float(scores[name][-1]) for name in FDA_PATHS}
    if not np.isfinite([*scores[TA], *ends.values()]).all():
        return None
    best = int(np.argmin(scores[TA]) if metric == "loss" else np.argmax(scores[TA]))
    best_score, at = float(scores[TA][best]), mark(plane.track(TA), best)
    if metric == "loss":
        lead = f"The lowest loss of task arithmetic is {best_score:.3f}, at {at}"
        parts = [_beside(name, f"{end:.3f}", 100 * (end / best_score - 1), "%") for name, end in ends.items()]
    else:
        lead = f"The best of task arithmetic is {100 * best_score:.1f} %, at {at}"
        parts = [_beside(name, f"{100 * end:.1f} %", 100 * (end - best_score), "points") for name, end in ends.items()]
    return f"{lead}; {' and '.join(parts)}. All scores are of the true weights, on {numbers.of}."


def _beside(name: str, end: str, change: float, unit: str) -> str:
    return f"{TITLES[name]} ends at {end}, {abs(change):.1f} {unit} {'lower' if change < 0 else 'higher'}"


def grid_table(plane: LandscapeMap, numbers: LandscapeNumbers) -> pd.DataFrame:
    """A row per point of the plane, row by row; empty cells are not scored yet."""
    points = len(plane.a)
    return pd.DataFrame(
        {
            "a": np.tile(plane.a, points),
            "b": np.repeat(plane.b, points),
            "loss": numbers.grid["loss"].ravel(),
            "accuracy": numbers.grid["accuracy"].ravel(),
        }
    )


def paths_table(plane: LandscapeMap, numbers: LandscapeNumbers, tasks: Sequence[str]) -> pd.DataFrame:
    """A row per recorded model: its coordinates and the scores of its true weights."""
    parts = []
    for track in plane.tracks:
        parts.append(
            pd.DataFrame(
                {
                    "path": track.name,
                    "point": list(tasks)
                    if track.name == FINETUNED
                    else [mark(track, index) for index in range(len(track.at))],
                    "a": track.a,
                    "b": track.b,
                    "off_plane": track.distance,
                    "from_pretrained": track.travelled,
                    "loss": numbers.tracks["loss"][track.name],
                    "accuracy": numbers.tracks["accuracy"][track.name],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
