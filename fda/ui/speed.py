"""What the page Speed shows of a benchmark's result: figures and tables, by kind. `fda.store.bench_results` reads it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fda.figures.speed import limit_bars, loss_against_seconds, seconds_bars
from fda.figures.theme import Theme
from fda.report.format import size
from fda.store.bench_results import Result

TITLES = {
    "construct": "Anchors: the paper's loop and ours",
    "merge": "Merging by singular vectors",
    "evaluate": "Scoring several models",
    "page": "Waiting for pages",
}
SIZES = {
    "demo": "demo block",
    "vit-b-32": "ViT-B/32 block",
    "roberta-base": "RoBERTa-base block",
    "llama-mlp": "Llama-style MLP",
}


@dataclass(frozen=True)
class View:
    """One measurement of a result: what it is called, what draws it, what it shows to who cannot see it, and its numbers."""

    name: str
    draw: Callable[[], go.Figure]
    alt: str
    note: str
    table: pd.DataFrame


def views(result: Result, theme: Theme) -> list[View]:
    """A view a measurement. KeyError, TypeError or ValueError if the file does not hold what its kind says."""
    return [MADE[result.kind](one, theme) for one in result.results]


def title(result: Result) -> str:
    """In a list: when, what, and of which sizes."""
    moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(result.date))
    sizes = [SIZES.get(one.get("size"), "") for one in result.results]
    told = f": {', '.join(sizes)}" if any(sizes) else ""
    return f"{moment} UTC · {TITLES[result.kind]}{told}"


def machine_words(result: Result) -> str:
    """The machine in one line."""
    found = result.machine
    parts = [found.get("device"), found.get("processor"), f"{found.get('cores')} cores"]
    parts.append(f"{size(found.get('memory_bytes'))} of memory")
    parts.append(f"torch {found.get('torch')}")
    return ", ".join(str(part) for part in parts if part)


def _construct(found: dict[str, Any], theme: Theme) -> View:
    paths = found["paths"]
    curves = {path["path"]: (path["seconds"], path["losses"]) for path in paths}
    name = SIZES.get(found["size"], found["size"])
    first = paths[0]["seconds_to_target"]
    rows = []
    for path in paths:
        typical, low, high = path["step_ms"]
        reached = path["seconds_to_target"]
        rows.append(
            {
                "path": path["path"],
                "ms a step": round(typical, 2),
                "10 to 90 %": f"{low:.1f} to {high:.1f}",
                "compile s": round(path["compile_seconds"], 1),
                "steps to target": path["steps_to_target"],
                "seconds to target": None if reached is None else round(reached, 1),
                "times faster": None if reached is None else round(first / reached, 1),
                "of a zoo of 96": None if (ratio := path.get("times_faster_of_zoo")) is None else round(ratio, 1),
                "how": "extrapolated" if path["extrapolated"] else "measured",
                "share of ceiling": round(path["share_of_ceiling"], 3),
                "peak MiB": round(path["peak_bytes"] / 2**20),
            }
        )
    how = "measured"
    if not found["target_measured"]:
        how = "from compiled steps of the same optimiser"
        if "target_deviation" in found:
            how += (
                f", whose losses differ from the loop's by at most {found['target_deviation']:.1%} where both were run"
            )
    note = (
        f"Target: the angle loss {found['target']:.4f} of the paper's loop after {found['reference_steps']} steps, {how}. "
        f"{found['device']}, {found['threads']} threads, {found['operations_per_step'] / 1e9:.3g} G operations a step."
    )
    draw = partial(
        loss_against_seconds,
        curves,
        theme,
        target=found["target"],
        title=f"{name}: loss against seconds",
        uirevision=name,
    )
    return View(name, draw, f"Angle loss against seconds for the paths of {name}", note, pd.DataFrame(rows))


def _merge(found: dict[str, Any], theme: Theme) -> View:
    rows, names = [], []
    plain = {row["method"]: row for row in found["rows"] if row["path"] == "plain"}
    for row in found["rows"]:
        other = plain.get(row["method"])
        ours = row["path"] == "ours" and other is not None
        names.append(f"{row['method']}, {row['path']}")
        rows.append(
            {
                "method": row["method"],
                "path": row["path"],
                "seconds": round(row["seconds"][0], 2),
                "least to most": f"{row['seconds'][1]:.2f} to {row['seconds'][2]:.2f}",
                "times faster": round(other["seconds"][0] / row["seconds"][0], 2) if ours else None,
                "peak MiB": round(row["peak_bytes"] / 2**20),
                "memory": round(row["peak_bytes"] / other["peak_bytes"], 2) if ours else None,
                "difference": found["difference"].get(row["method"]) if ours else None,
            }
        )
    note = (
        f"{found['tasks']} checkpoints of {found['blocks']} blocks of ViT-B/32's size, {found['threads']} threads, "
        f"{found['repeats']} times each, in turn. Memory: our peak over the plain port's."
    )
    name = "Merging"
    draw = partial(
        seconds_bars,
        names,
        [tuple(row["seconds"]) for row in found["rows"]],
        theme,
        title="Seconds of a merge",
        plain=[row["path"] == "plain" for row in found["rows"]],
        uirevision=name,
    )
    return View(name, draw, "Seconds of merging by the plain ports and by ours", note, pd.DataFrame(rows))


def _evaluate(found: dict[str, Any], theme: Theme) -> View:
    first = found["rows"][0]["seconds"][0]
    rows = [
        {
            "path": row["path"],
            "seconds": round(row["seconds"][0], 2),
            "least to most": f"{row['seconds'][1]:.2f} to {row['seconds'][2]:.2f}",
            "times faster": round(first / row["seconds"][0], 2),
        }
        for row in found["rows"]
    ]
    answers = "All answers are equal." if found["equal"] else "The answers differ."
    note = (
        f"{found['models']} merged models of {found['zoo']} on {found['samples']} samples, {found['device']}, "
        f"{found['threads']} threads, {found['repeats']} times each, in turn. {answers}"
    )
    name = f"Scoring {found['zoo']}"
    draw = partial(
        seconds_bars,
        [row["path"] for row in found["rows"]],
        [tuple(row["seconds"]) for row in found["rows"]],
        theme,
        title=f"Seconds of scoring {found['models']} models",
        plain=[index == 0 for index in range(len(found["rows"]))],
        uirevision=name,
    )
    return View(name, draw, "Seconds of scoring one by one and in one pass", note, pd.DataFrame(rows))


def _page(found: dict[str, Any], theme: Theme) -> View:
    rows = found["rows"]
    told = [f"{row['typical']:.3g} of {row['limit']:g} {row['unit']}" for row in rows]
    table = pd.DataFrame(
        [
            {
                "what": row["name"],
                "median": round(row["typical"], 3),
                "least to most": f"{row['least']:.3g} to {row['most']:.3g}",
                "limit": row["limit"],
                "unit": row["unit"],
                "kept": "yes" if row["kept"] else "no",
            }
            for row in rows
        ]
    )
    note = f"A run of {found['points']:,} points is watched in a real browser; each median stands beside its limit."
    name = "Pages"
    draw = partial(
        limit_bars,
        [row["name"] for row in rows],
        [row["typical"] / row["limit"] for row in rows],
        told,
        theme,
        title="Waiting, as a share of the limit",
        uirevision=name,
    )
    return View(name, draw, "Times and bytes of pages as shares of their limits", note, table)


MADE: dict[str, Callable[[dict[str, Any], Theme], View]] = {
    "construct": _construct,
    "merge": _merge,
    "evaluate": _evaluate,
    "page": _page,
}
