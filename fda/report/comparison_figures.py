"""The figures of a comparison as the reader asked for them, each with the sentence that stands beneath it.

One list for the page, the exports and the report. Imports no streamlit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from fda.analysis.intervals import LEVEL
from fda.analysis.scores import AVERAGE, Scores
from fda.figures.cost import CostAxis, cost_figure
from fda.figures.methods import difference_map, floor, method_bars, score_map
from fda.figures.radar import LEAST_TASKS, radar
from fda.figures.sweep import sweep_curves
from fda.figures.theme import Theme
from fda.report.cited import Cited
from fda.report.comparison import MARK, Results, for_radar, marked_titles, titles

PERCENT = f"{100 * LEVEL:g} %"


@dataclass(frozen=True)
class View:
    """What the reader chose. `methods`: the rows shown; `picked`: whether they were picked by hand."""

    methods: tuple[str, ...]
    picked: bool
    baseline: str
    score: str = AVERAGE
    normalised: bool = False
    cost: CostAxis = "seconds"


@dataclass(frozen=True)
class Drawing:
    """`make` is None where there is nothing to draw; `sentence` then says why."""

    make: Callable[[], go.Figure] | None
    sentence: str
    alt: str


def names_of(found: Results, view: View) -> list[str]:
    """The names of the drawings, in the order of the tabs."""
    swept = set(found.sweeps) & set(view.methods)
    return ["Bars", "Differences", "Radar", "By task", "Cost", *(["Sweep"] if swept else [])]


def drawings(
    found: Results,
    view: View,
    theme: Theme,
    *,
    cited: tuple[Cited, Mapping[str, float]] | None = None,
    uirevision: str | None = None,
) -> dict[str, Drawing]:
    """Name → drawing, in the order of `names_of`."""
    normalised = view.normalised and found.normalised is not None
    whole = found.normalised if normalised else found.scores
    of = f"normalised {found.metric}" if normalised else found.metric
    scores = whole.only(view.methods)
    plain, marked = titles(found.methods), marked_titles(found.kinds)
    same = {"of": of, "uirevision": uirevision}
    headed = same | {"titles": plain, "kinds": found.kinds}
    averages = dict(cited[1]) if cited and not normalised else {}
    base = plain[view.baseline]
    found_drawings = {
        "Bars": Drawing(
            lambda: method_bars(
                scores, theme, score=view.score, baseline=view.baseline, cited=averages, **headed
            ),
            _bars_sentence(found, scores, view, cited, normalised=normalised),
            f"{of.capitalize()} of each method, with intervals",
        ),
        "Differences": Drawing(
            lambda: difference_map(
                whole.only(list(dict.fromkeys((*view.methods, view.baseline)))), theme, baseline=view.baseline, **headed
            ),
            f"Percentage points above (blue) or below (orange) {base}. {_sure(found)}",
            f"Differences in {of} to {base}",
        ) if set(view.methods) - {view.baseline} else Drawing(
            None, f"Only {base}, the baseline, is shown: choose another method.", ""
        ),
        "Radar": _radar(found, scores, view, theme, marked, same),
        "By task": Drawing(
            lambda: score_map(scores, theme, **headed),
            f"The last column is the average over the tasks{_normalised_sentence(normalised)}.",
            f"{of.capitalize()} of every method on every task",
        ),
        "Cost": Drawing(
            lambda: cost_figure(
                scores, found.costs, theme, axis=view.cost, score=view.score, titles=marked, kinds=found.kinds, **same
            ),
            _cost_sentence(found, view),
            f"{of.capitalize()} of each method against its {view.cost}",
        ),
    }  # fmt: skip
    sweeps = {method: sweep for method, sweep in found.sweeps.items() if method in view.methods}
    if sweeps:
        bare = {method: title.removesuffix(", swept") for method, title in plain.items()}
        found_drawings["Sweep"] = Drawing(
            lambda: sweep_curves(
                sweeps, theme, titles=bare, score=view.score, uirevision=uirevision
            ),
            f"λ was chosen by the average on the validation split (★); these methods' rows in the table and their other "
            f"figures are scores on the {found.split} split, which had no part in the choice.",
            "Validation accuracy of swept methods against their coefficient",
        )  # fmt: skip
    return found_drawings


def cited_sentence(source: Cited) -> str:
    return (
        f"Cited, not measured here: {source.what}, as reported by {source.source} ({source.link}). Checkpoints there: "
        f"{source.checkpoints}."
    )


def _radar(found: Results, scores: Scores, view: View, theme: Theme, marked: dict[str, str], same: dict) -> Drawing:
    if len(scores.tasks) < LEAST_TASKS:
        return Drawing(None, f"A radar needs at least {LEAST_TASKS} tasks: the bars show these.", "")
    chosen = for_radar(scores, view.baseline, picked=view.picked)
    some = scores.only(chosen)
    left_out = len(view.methods) - len(chosen)
    words = f"The centre is {floor(some):.0f} %, not 0."
    if left_out:
        words += " Drawn: the references, the baseline and the best by average; choose methods to draw others."
    return Drawing(
        lambda: radar(some, theme, titles=marked, **same), words + _mark(found, chosen), "Methods as lines over the tasks"
    )  # fmt: skip


def _bars_sentence(
    found: Results, scores: Scores, view: View, cited: tuple[Cited, Mapping[str, float]] | None, *, normalised: bool
) -> str:
    parts = [_whiskers(found), "Best first within each group."]
    if view.baseline in view.methods:
        parts.append(f"The dotted line is {titles([view.baseline])[view.baseline]}.")
    if normalised:
        parts.append("Normalised: divided by the individual model's on each task, then averaged.")
    if cited and view.score == AVERAGE and set(cited[1]) & set(scores.methods):
        hollow = "Hollow diamonds are cited"
        parts.append(
            f"{hollow}: see beneath the table." if not normalised else f"{hollow} averages: on the accuracy scale only."
        )
    return " ".join(parts)


def _whiskers(found: Results) -> str:
    if not found.known_intervals:
        return "No intervals: this run kept no predictions to draw them from (it is of an older version)."
    return f"Whiskers: {PERCENT} bootstrap intervals over {found.count:,} {found.split} samples."


def _sure(found: Results) -> str:
    if not found.known_intervals:
        return _whiskers(found)
    return (
        f"Bold with *: the {PERCENT} interval of the difference, both methods on the same resampled samples, leaves out 0. "
        "Each cell is judged alone: of twenty that are truly 0, one is marked by chance."
    )


def _cost_sentence(found: Results, view: View) -> str:
    if view.cost == "seconds":
        words = (
            "Seconds to merge, including the sweep where λ was swept and the construction of anchors where a method needs "
            "them (summed over units, as if one after the other)."
        )
    else:
        words = (
            "Peak memory while merging: on a CPU that of the whole process with all its libraries, on a GPU that allocated "
            "on the device; constructing anchors is not in it."
        )
    words += " The dotted line joins the methods that, without real inputs, none beats at lower cost."
    return words + " Where labels would overlap, the hover names the point." + _mark(found, view.methods)


def _normalised_sentence(normalised: bool) -> str:
    return "; each score is divided by the individual model's on that task" if normalised else ""


def _mark(found: Results, methods: tuple[str, ...] | list[str]) -> str:
    return f" {MARK} reads real inputs." if any(found.kinds[method] == "inputs" for method in methods) else ""
