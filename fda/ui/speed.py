"""Figures and tables of a benchmark's result for the Speed page, by kind. `fda.store.bench_results` reads the files."""

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
    "page": "Page speed",
}
SIZES = {
    "demo": "demo block",
    "dinov2-small": "DINOv2-small block",
    "vit-b-32": "ViT-B/32 block",
    "roberta-base": "RoBERTa-base block",
    "llama-mlp": "Llama-style MLP",
}


@dataclass(frozen=True)
class Measurement:
    """One measurement of a result: its figure with alternative text and note, and its numbers."""

    name: str
    draw: Callable[[], go.Figure]
    alt: str
    note: str
    table: pd.DataFrame


def measurements(result: Result, theme: Theme) -> list[Measurement]:
    """The measurements of `result`. KeyError, TypeError or ValueError if its content does not fit its kind."""
    return [READERS[result.kind](content, theme) for content in result.results]


def title(result: Result) -> str:
    """A line for the list of results: date, kind and sizes."""
    moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(result.date))
    sizes = [SIZES.get(content.get("size", ""), "") for content in result.results]
    listed = f": {', '.join(sizes)}" if any(sizes) else ""
    return f"{moment} UTC · {TITLES[result.kind]}{listed}"


def machine_words(result: Result) -> str:
    """The machine that a result was measured on, in one line."""
    machine = result.machine
    parts = [machine.get("device"), machine.get("processor"), f"{machine.get('cores')} cores"]
    parts.append(f"{size(machine.get('memory_bytes'))} of memory")
    parts.append(f"torch {machine.get('torch')}")
    return ", ".join(str(part) for part in parts if part)


def _construct(content: dict[str, Any], theme: Theme) -> Measurement:
    paths = content["paths"]
    curves = {path["path"]: (path["seconds"], path["losses"]) for path in paths}
    size_key: str = content["size"]
    name = SIZES.get(size_key, size_key)
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
    if not content["target_measured"]:
        how = "from compiled steps of the same optimiser"
        if "target_deviation" in content:
            how += f", whose losses differ from the loop's by at most {content['target_deviation']:.1%} where both were run"
    note = (
        f"Target: the angle loss {content['target']:.4f} of the paper's loop after {content['reference_steps']} steps, {how}. "
        f"{content['device']}, {content['threads']} threads, {content['operations_per_step'] / 1e9:.3g} G operations a step."
    )
    draw = partial(
        loss_against_seconds,
        curves,
        theme,
        target=content["target"],
        title=f"{name}: loss against seconds",
        uirevision=name,
    )
    return Measurement(name, draw, f"Angle loss against seconds for the paths of {name}", note, pd.DataFrame(rows))


def _merge(content: dict[str, Any], theme: Theme) -> Measurement:
    rows, names = [], []
    plain = {row["method"]: row for row in content["rows"] if row["path"] == "plain"}
    for row in content["rows"]:
        port = plain.get(row["method"]) if row["path"] == "ours" else None
        names.append(f"{row['method']}, {row['path']}")
        rows.append(
            {
                "method": row["method"],
                "path": row["path"],
                "seconds": round(row["seconds"][0], 2),
                "least to most": f"{row['seconds'][1]:.2f} to {row['seconds'][2]:.2f}",
                "times faster": round(port["seconds"][0] / row["seconds"][0], 2) if port else None,
                "peak MiB": round(row["peak_bytes"] / 2**20),
                "memory": round(row["peak_bytes"] / port["peak_bytes"], 2) if port else None,
                "difference": content["difference"].get(row["method"]) if port else None,
            }
        )
    note = (
        f"{content['tasks']} checkpoints of {content['blocks']} blocks of ViT-B/32's size, {content['threads']} threads, "
        f"{content['repeats']} times each, in turn. Memory: our peak over that of the plain port."
    )
    name = "Merging"
    draw = partial(
        seconds_bars,
        names,
        [tuple(row["seconds"]) for row in content["rows"]],
        theme,
        title="Seconds of a merge",
        plain=[row["path"] == "plain" for row in content["rows"]],
        uirevision=name,
    )
    return Measurement(name, draw, "Seconds of merging by the plain ports and by ours", note, pd.DataFrame(rows))


def _evaluate(content: dict[str, Any], theme: Theme) -> Measurement:
    first = content["rows"][0]["seconds"][0]
    rows = [
        {
            "path": row["path"],
            "seconds": round(row["seconds"][0], 2),
            "least to most": f"{row['seconds'][1]:.2f} to {row['seconds'][2]:.2f}",
            "times faster": round(first / row["seconds"][0], 2),
        }
        for row in content["rows"]
    ]
    answers = "All answers are equal." if content["equal"] else "The answers differ."
    note = (
        f"{content['models']} merged models of {content['zoo']} on {content['samples']} samples, {content['device']}, "
        f"{content['threads']} threads, {content['repeats']} times each, in turn. {answers}"
    )
    name = f"Scoring {content['zoo']}"
    draw = partial(
        seconds_bars,
        [row["path"] for row in content["rows"]],
        [tuple(row["seconds"]) for row in content["rows"]],
        theme,
        title=f"Seconds of scoring {content['models']} models",
        plain=[index == 0 for index in range(len(content["rows"]))],
        uirevision=name,
    )
    return Measurement(name, draw, "Seconds of scoring one by one and in one pass", note, pd.DataFrame(rows))


def _page(content: dict[str, Any], theme: Theme) -> Measurement:
    rows = content["rows"]
    labels = [f"{row['typical']:.3g} of {row['limit']:g} {row['unit']}" for row in rows]
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
    note = f"A real browser watches a run of {content['points']:,} points. Bars are medians over their limits."
    name = "Pages"
    draw = partial(
        limit_bars,
        [row["name"] for row in rows],
        [row["typical"] / row["limit"] for row in rows],
        labels,
        theme,
        title="Waiting, as a share of the limit",
        uirevision=name,
    )
    return Measurement(name, draw, "Times and bytes of pages as shares of their limits", note, table)


READERS: dict[str, Callable[[dict[str, Any], Theme], Measurement]] = {
    "construct": _construct,
    "merge": _merge,
    "evaluate": _evaluate,
    "page": _page,
}
