"""The numbers of a comparison as tables: to read (percent, words), and raw (0..1, one number a cell) as CSV."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from fda.report.comparison import Results, needs_text, settings_text, titles

CITED = "cited %"


def reading_table(found: Results, methods: Sequence[str], cited: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row a method, scores in percent. The column of cited averages is there only if any are given."""
    names = titles(methods)
    rows = []
    for method in methods:
        settings, cost = found.settings[method], found.costs[method]
        row = {
            "method": names[method],
            "average %": 100 * found.scores.of(method),
            "95 % interval": _interval(*found.scores.interval_of(method)),
            "normalised %": 100 * found.normalised.of(method) if found.normalised else math.nan,
            **({CITED: 100 * cited.get(method, math.nan)} if cited else {}),
            **{f"{task} %": 100 * found.scores.of(method, task) for task in found.scores.tasks},
            "reads": needs_text(method, settings),
            "settings": settings_text(settings),
            "chosen": settings.get("selection", "fixed"),
            "seconds": cost.seconds,
            "anchors s": cost.anchors_seconds,
            "peak MiB": None if cost.peak_bytes is None else cost.peak_bytes / 2**20,
        }
        rows.append(row)
    return pd.DataFrame(rows).astype({"seconds": float, "anchors s": float, "peak MiB": float})


def raw_table(found: Results, methods: Sequence[str], cited: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row a method by its name, scores in 0..1 as the command line writes them, with every interval's ends."""
    rows = []
    for method in methods:
        settings, cost = found.settings[method], found.costs[method]
        low, high = found.scores.interval_of(method)
        row = {"method": method, "average": found.scores.of(method), "average_low": low, "average_high": high}
        if found.normalised is not None:
            low, high = found.normalised.interval_of(method)
            row |= {"normalized": found.normalised.of(method), "normalized_low": low, "normalized_high": high}
        if cited:
            row["cited_average"] = cited.get(method, math.nan)
        for task in found.scores.tasks:
            low, high = found.scores.interval_of(method, task)
            row |= {task: found.scores.of(method, task), f"{task}_low": low, f"{task}_high": high}
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
