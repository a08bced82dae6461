"""What the Compare page shows of a run: its rows, its titles, its tables. Imports no streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fda.merging.registry import METHODS
from fda.runs.records import Run
from fda.runs.store import Store
from fda.runs.table import comparison

BASELINES = ("ta", "average", "pretrained")


@dataclass(frozen=True)
class Results:
    """`accuracies`: method → task → 0..1 of the methods that finished, in display order. `failed`: method → sentence."""

    rows: list[dict[str, Any]]
    accuracies: dict[str, dict[str, float]]
    failed: dict[str, str]
    missing: list[str]
    split: str
    count: int

    def only(self, methods: Sequence[str]) -> dict[str, dict[str, float]]:
        return {name: own for name, own in self.accuracies.items() if not methods or name in methods}


def results(store: Store, run: Run) -> Results:
    found, scores = store.results(run.run_id)
    rows = comparison(run.spec.zoo.name, run.spec.tasks, found, scores)["rows"]
    order = list(METHODS)
    rows.sort(key=lambda row: order.index(row["method"]) if row["method"] in order else len(order))
    accuracies = {row["method"]: row["accuracy"] for row in rows if row["accuracy"]}
    failed = {row["method"]: row["error"] or "it gave no reason" for row in rows if "error" in row}
    there = {row["method"] for row in rows}
    return Results(
        rows=rows,
        accuracies=accuracies,
        failed=failed,
        missing=[name for name in run.spec.methods if name not in there],
        split=", ".join(sorted({score.split for score in scores})),
        count=sum(score.count for score in scores if score.method == next(iter(accuracies), None)),
    )


def titles(methods: Sequence[str]) -> dict[str, str]:
    return {name: METHODS[name].title if name in METHODS else name for name in methods}


def default_baseline(methods: Sequence[str]) -> str | None:
    return next((name for name in BASELINES if name in methods), next(iter(methods), None))


def settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items() if name != "selection") or "none"  # fmt: skip


def table(found: Results, tasks: Sequence[str], methods: Sequence[str], *, percent: bool) -> pd.DataFrame:
    """One row a method. `percent`: accuracies times 100 for reading; otherwise 0..1 as the command line writes them."""
    scale = 100 if percent else 1
    names = titles([row["method"] for row in found.rows])
    shown = [row for row in found.rows if row["accuracy"] and (not methods or row["method"] in methods)]
    return pd.DataFrame(
        [
            {
                "method": names[row["method"]] if percent else row["method"],
                "average": row["average"] * scale,
                "normalized": None if row["normalized"] is None else row["normalized"] * scale,
                **{task: row["accuracy"][task] * scale for task in tasks},
                "settings": settings_text(row["settings"]),
                "chosen": row["settings"].get("selection", "fixed"),
                "seconds": row["seconds"],
                "peak MiB": None if row["peak_bytes"] is None else row["peak_bytes"] / 2**20,
            }
            for row in shown
        ]
    )
