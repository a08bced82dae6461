"""Prepares a recording for the component that plays it: what is drawn, in which colours, and how long each phase takes.

Imports no streamlit and no torch. Texts are plain: the component writes them as text, never as markup.
"""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from plotly.colors import sample_colorscale

from fda.figures.kinds import kind_colour
from fda.figures.landscape import DASH, HUES, LEVELS, TITLES
from fda.figures.theme import DASHES, PALETTES, Theme, sequential, series_colour
from fda.report.format import plural
from fda.report.recording import Plane, Recording

SECONDS = {"anchors": 9.0, "adapt": 5.0, "score": 6.0}  # of each phase, if there is something to show in it


def replay(recording: Recording, theme: Theme) -> dict[str, Any]:
    """The recording as plain data. Scores in percent; the loss of the plane as a share 0..1 of its range, on a log scale."""
    shown = {"anchors": bool(recording.curves), "adapt": recording.plane is not None, "score": bool(recording.methods)}
    palette = PALETTES[theme]
    return {
        "sentence": sentence(recording),
        "phases": [{"name": name, "seconds": seconds} for name, seconds in SECONDS.items() if shown[name]],
        "steps": recording.steps,
        "tasks": _tasks(recording, theme),
        "methods": [
            {
                "title": one.title,
                "percent": 100 * one.average,
                "colour": kind_colour(one.kind, theme),
                "hatched": one.kind == "anchors",
            }
            for one in recording.methods
        ],
        "metric": recording.metric,
        "plane": recording.plane and _plane(recording, recording.plane),
        "verdict": recording.verdict,
        "colours": {name: getattr(palette, name) for name in ("ink", "muted", "grid", "surface", "page", "accent")},
    }


def sentence(recording: Recording) -> str:
    """What one sees, in one sentence."""
    parts = []
    if recording.curves:
        parts.append("the anchors' loss falls")
    if recording.plane is not None:
        parts.append("FDA moves a model over the loss landscape")
    if recording.methods:
        parts.append("every method is scored")
    *most, last = parts
    listed = f"{', '.join(most)}{',' * (len(most) > 1)} and {last}" if most else last
    return f"{listed[0].upper()}{listed[1:]}."


def when_and_where(recording: Recording) -> str:
    """`29 November 2026, 2 cores of AMD EPYC`, the date in UTC; a GPU by the name of its device."""
    date = datetime.fromtimestamp(recording.date, UTC)
    machine = recording.machine
    where = machine.device
    if machine.device == "cpu" and machine.processor and machine.cores:
        where = f"{plural(machine.cores, 'core')} of {machine.processor}"
    return f"{date.day} {date:%B %Y}, {where}"


def _tasks(recording: Recording, theme: Theme) -> list[dict[str, Any]]:
    """Each task with the mean, the lowest and the highest loss of its blocks at each step."""
    tasks = []
    for index, name in enumerate(recording.tasks):
        blocks = np.array([curve.loss for curve in recording.curves if curve.task == name])
        task: dict[str, Any] = {
            "name": name,
            "colour": series_colour(index, theme),
            "dash": DASHES[index % len(DASHES)],
        }
        if len(blocks):
            for what, values in (("mean", blocks.mean(0)), ("low", blocks.min(0)), ("high", blocks.max(0))):
                task[what] = [float(f"{value:.4g}") for value in values]
        tasks.append(task)
    return tasks


def _plane(recording: Recording, plane: Plane) -> dict[str, Any]:
    loss = np.log(np.maximum(plane.loss, 1e-6))
    low, high = float(loss.min()), float(loss.max())
    return {
        "a": plane.a,
        "b": plane.b,
        "heights": ((loss - low) / max(high - low, 1e-9)).round(3).tolist(),
        "colours": sample_colorscale(sequential(), [level / (LEVELS - 1) for level in range(LEVELS)]),
        "range": [float(np.exp(low)), float(np.exp(high))],
        "paths": [
            {
                "title": TITLES.get(path.name, path.name),
                "colour": series_colour(HUES.get(path.name, index), "dark"),
                "dash": DASH.get(path.name, "solid"),
                "a": path.a,
                "b": path.b,
            }
            for index, path in enumerate(plane.paths)
        ],
        "finetuned": [
            {"name": name, "a": a, "b": b}
            for name, a, b in zip(recording.tasks, plane.finetuned.a, plane.finetuned.b, strict=True)
        ],
    }
