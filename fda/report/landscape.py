"""What the Landscape page draws and tells of a run, read from the store only when the run has changed. Imports no streamlit."""

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
class View:
    """What the reader chose to see: `of` all tasks or one; `follow`: (path, place) of the ring."""

    metric: Metric
    of: str
    log: bool
    follow: tuple[str, int]
    theme: Theme


@dataclass(frozen=True, eq=False)
class Picture:
    """One moment of a run: its plane, its numbers, its figures as JSON; one with nothing to show yet is missing."""

    moment: tuple
    found: LandscapeMap
    numbers: LandscapeNumbers
    figures: dict[str, str]


def picture(store: Store, run: Run, found: LandscapeMap, view: View, last: Picture | None) -> Picture:
    """The run as it is now; `last` itself if neither the run nor the view has changed since."""
    moment = (run.run_id, store.version(run.run_id), view)
    if last is not None and last.moment == moment:
        return last
    numbers = read_numbers(store, run.run_id, found, view.of)
    drawn = figures(run, found, numbers, view)
    return Picture(moment, found, numbers, {name: to_json(figure) for name, figure in drawn.items()})


def figures(run: Run, found: LandscapeMap, numbers: LandscapeNumbers, view: View) -> dict[str, go.Figure]:
    shared = {"metric": view.metric, "follow": view.follow, "uirevision": run.run_id}
    drawn = {MAP: landscape_map(found, numbers, view.theme, tasks=run.spec.tasks, log=view.log, **shared)}
    if any(np.isfinite(numbers.tracks[view.metric][name]).any() for name in (TA, *FDA_PATHS)):
        drawn[CURVES] = path_curves(found, numbers, view.theme, **shared)
    return drawn


def plane_of(store: Store, run: Run) -> LandscapeMap | None:
    """None until the run has found its plane."""
    return load_map(store.run_dir(run.run_id))


def sources(runs: Sequence[Run]) -> list[Run]:
    """The finished runs whose landscape can be computed."""
    return [run for run in runs if run.state == "done" and anchors_run(run) is not None]


def finding(found: LandscapeMap, numbers: LandscapeNumbers, metric: Metric) -> str | None:
    """In a sentence: where does FDA end, beside the best that task arithmetic comes to? None until both are scored."""
    scores = numbers.tracks[metric]
    ends = {name: float(scores[name][-1]) for name in FDA_PATHS}
    if not np.isfinite([*scores[TA], *ends.values()]).all():
        return None
    best = int(np.argmin(scores[TA]) if metric == "loss" else np.argmax(scores[TA]))
    usual, at = float(scores[TA][best]), mark(found.track(TA), best)
    if metric == "loss":
        lead = f"The loss of task arithmetic falls to {usual:.3f} and no lower, at {at}"
        parts = [_beside(name, f"{end:.3f}", 100 * (end / usual - 1), "%") for name, end in ends.items()]
    else:
        lead = f"Task arithmetic reaches {100 * usual:.1f} % and no more, at {at}"
        parts = [_beside(name, f"{100 * end:.1f} %", 100 * (end - usual), "points") for name, end in ends.items()]
    return f"{lead}; {' and '.join(parts)}. All with their true weights, on {numbers.of}."


def _beside(name: str, end: str, change: float, unit: str) -> str:
    return f"{TITLES[name]} ends at {end}, {abs(change):.1f} {unit} {'lower' if change < 0 else 'higher'}"


def grid_table(found: LandscapeMap, numbers: LandscapeNumbers) -> pd.DataFrame:
    """A row a point of the plane, row by row; empty cells are not scored yet."""
    points = len(found.a)
    return pd.DataFrame(
        {
            "a": np.tile(found.a, points),
            "b": np.repeat(found.b, points),
            "loss": numbers.grid["loss"].ravel(),
            "accuracy": numbers.grid["accuracy"].ravel(),
        }
    )


def paths_table(found: LandscapeMap, numbers: LandscapeNumbers, tasks: Sequence[str]) -> pd.DataFrame:
    """A row a recorded model: where it lies, and what its true weights score."""
    parts = []
    for track in found.tracks:
        own = track.name == FINETUNED
        parts.append(
            pd.DataFrame(
                {
                    "path": track.name,
                    "point": list(tasks) if own else [mark(track, place) for place in range(len(track.at))],
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
