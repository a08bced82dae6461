"""A comparison as tables: one to read (percent, words), one raw (0..1, one number per cell) for CSV."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from fda.report.comparison import Results, needs_text, settings_text, titles

CITED = "cited %"


def reading_table(results: Results, methods: Sequence[str], cited: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row per method, scores in percent; a column of cited averages if `cited` has any."""
    names = titles(methods)
    rows = []
    for method in methods:
        settings, cost = results.settings[method], results.costs[method]
        row = {
            "method": names[method],
            "average %": 100 * results.scores.of(method),
            "95 % interval": _interval(*results.scores.interval_of(method)),
            "normalised %": 100 * results.normalised.of(method) if results.normalised else math.nan,
            **({CITED: 100 * cited.get(method, math.nan)} if cited else {}),
            **{f"{task} %": 100 * results.scores.of(method, task) for task in results.scores.tasks},
            "reads": needs_text(method, settings),
            "settings": settings_text(settings),
            "chosen": settings.get("selection", "fixed"),
            "seconds": cost.seconds,
            "anchors s": cost.anchors_seconds,
            "peak MiB": None if cost.peak_bytes is None else cost.peak_bytes / 2**20,
        }
        rows.append(row)
    return pd.DataFrame(rows).astype({"seconds": float, "anchors s": float, "peak MiB": float})


def raw_table(results: Results, methods: Sequence[str], cited: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row per method, scores in 0..1 as in `compare --json`, with both ends of every interval."""
    rows = []
    for method in methods:
        settings, cost = results.settings[method], results.costs[method]
        low, high = results.scores.interval_of(method)
        row = {"method": method, "average": results.scores.of(method), "average_low": low, "average_high": high}
        if results.normalised is not None:
            low, high = results.normalised.interval_of(method)
            row |= {"normalized": results.normalised.of(method), "normalized_low": low, "normalized_high": high}
        if cited:
            row["cited_average"] = cited.get(method, math.nan)
        for task in results.scores.tasks:
            low, high = results.scores.interval_of(method, task)
            row |= {task: results.scores.of(method, task), f"{task}_low": low, f"{task}_high": high}
        row |= {
            "reads": needs_text(method, settings),
            "settings": settings_text(settings),
            "selection": settings.get("selection", "fixed"),
            "seconds": cost.seconds,
            "anchors_seconds": cost.anchors_seconds,
            "peak_bytes": cost.peak_bytes,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}" if math.isfinite(low) else ""
