"""The figures of a comparison for the reader's choices, each with its caption.

The page, its exports and the run report all use this list. Imports no streamlit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from fda.analysis.intervals import LEVEL
from fda.analysis.scores import AVERAGE, Scores
from fda.figures.cost import CostAxis, cost_figure
from fda.figures.gains import gain_dumbbells
from fda.figures.methods import difference_map, floor, method_bars, score_map
from fda.figures.radar import LEAST_TASKS, radar
from fda.figures.sweep import sweep_curves
from fda.figures.theme import Theme
from fda.report.cited import Cited
from fda.report.comparison import ALWAYS, MARK, Results, for_radar, is_fda, marked_titles, titles

PERCENT = f"{100 * LEVEL:g} %"


@dataclass(frozen=True)
class ComparisonView:
    """The reader's choices. `methods`: the rows shown; `picked`: whether the reader picked them by hand."""

    methods: tuple[str, ...]
    picked: bool
    baseline: str
    score: str = AVERAGE
    normalised: bool = False
    cost: CostAxis = "seconds"


@dataclass(frozen=True)
class Drawing:
    """A figure's function, caption and alternative text. `make` is None if there is nothing to draw; `sentence` says why."""

    make: Callable[[], go.Figure] | None
    sentence: str
    alt: str


def names_of(results: Results, view: ComparisonView) -> list[str]:
    """The names of the figures, in the order of the tabs."""
    swept = set(results.sweeps) & set(view.methods)
    return ["Bars", "Gains", "Differences", "Radar", "By task", "Cost", *(["Sweep"] if swept else [])]


def drawings(
    results: Results,
    view: ComparisonView,
    theme: Theme,
    *,
    cited: tuple[Cited, Mapping[str, float]] | None = None,
    uirevision: str | None = None,
) -> dict[str, Drawing]:
    """Name → figure, in the order of `names_of`. `cited`: the published table and its averages by method."""
    shares = results.normalised if view.normalised else None
    normalised = shares is not None
    whole = results.scores if shares is None else shares
    of = f"normalised {results.metric}" if normalised else results.metric
    scores = whole.only(view.methods)
    plain, marked = titles(results.methods), marked_titles(results.kinds)
    same = {"of": of, "uirevision": uirevision}
    headed = same | {"titles": plain, "kinds": results.kinds}
    averages = dict(cited[1]) if cited and not normalised else {}
    base = plain[view.baseline]
    drawn = {
        "Bars": Drawing(
            lambda: method_bars(
                scores, theme, score=view.score, baseline=view.baseline, cited=averages, **headed
            ),
            _bars_sentence(results, scores, view, cited, normalised=normalised),
            f"{of.capitalize()} of each method, with intervals",
        ),
        "Gains": _gains(results, whole, view, theme, headed),
        "Differences": Drawing(
            lambda: difference_map(
                whole.only(list(dict.fromkeys((*view.methods, view.baseline)))), theme, baseline=view.baseline, **headed
            ),
            f"Percentage points above (blue) or below (orange) {base}. {_sure(results)}",
            f"Differences in {of} to {base}",
        ) if set(view.methods) - {view.baseline} else Drawing(
            None, f"Only {base}, the baseline, is shown: choose another method.", ""
        ),
        "Radar": _radar(results, scores, view, theme, marked, same),
        "By task": Drawing(
            lambda: score_map(scores, theme, **headed),
            f"The last column is the average over the tasks{_normalised_sentence(normalised)}.",
            f"{of.capitalize()} of every method on every task",
        ),
        "Cost": Drawing(
            lambda: cost_figure(
                scores, results.costs, theme, axis=view.cost, score=view.score, titles=marked, kinds=results.kinds, **same
            ),
            _cost_sentence(results, view),
            f"{of.capitalize()} of each method against its {view.cost}",
        ),
    }  # fmt: skip
    sweeps = {method: sweep for method, sweep in results.sweeps.items() if method in view.methods}
    if sweeps:
        bare = {method: title.removesuffix(", swept") for method, title in plain.items()}
        drawn["Sweep"] = Drawing(
            lambda: sweep_curves(
                sweeps, theme, titles=bare, score=view.score, uirevision=uirevision
            ),
            f"λ was chosen by the average on the validation split (★). The table and the other figures show scores on the "
            f"{results.split} split, which had no part in the choice.",
            "Validation accuracy of swept methods against their coefficient",
        )  # fmt: skip
    return drawn


def cited_sentence(source: Cited) -> str:
    return (
        f"Cited, not measured here: {source.what}, as reported by {source.source} ({source.link}). Its checkpoints: "
        f"{source.checkpoints}."
    )


def _gains(results: Results, scores: Scores, view: ComparisonView, theme: Theme, headed: dict) -> Drawing:
    """What the best FDA method shown adds to the baseline; of other methods, the best by average."""
    others = [method for method in view.methods if method != view.baseline and method not in ALWAYS]
    among = [method for method in others if is_fda(method)] or others
    if not among:
        return Drawing(None, "No method to set beside the baseline is shown: choose another one under Filter.", "")
    method = max(among, key=lambda one: scores.of(one))
    names = titles([method, view.baseline])
    return Drawing(
        lambda: gain_dumbbells(scores, theme, baseline=view.baseline, method=method, **headed),
        f"Below each task: points that {names[method]} adds to {names[view.baseline]}. {_interval_sentence(results)}",
        f"Scores of {names[view.baseline]} and {names[method]} on each task, joined by a line",
    )


def _interval_sentence(results: Results) -> str:
    if not results.known_intervals:
        return _whiskers(results)
    return f"In brackets the {PERCENT} interval, both methods on the same resampled samples; * if it excludes 0."


def _radar(
    results: Results, scores: Scores, view: ComparisonView, theme: Theme, marked: dict[str, str], same: dict
) -> Drawing:
    if len(scores.tasks) < LEAST_TASKS:
        return Drawing(None, f"A radar needs at least {LEAST_TASKS} tasks: the bars show these.", "")
    chosen = for_radar(scores, view.baseline, picked=view.picked)
    some = scores.only(chosen)
    left_out = len(view.methods) - len(chosen)
    words = f"The centre is {floor(some):.0f} %, not 0."
    if left_out:
        words += " It shows the references, the baseline and the best by average; choose methods to see others."
    return Drawing(
        lambda: radar(some, theme, titles=marked, **same), words + _mark(results, chosen), "Methods as lines over the tasks"
    )  # fmt: skip


def _bars_sentence(
    results: Results,
    scores: Scores,
    view: ComparisonView,
    cited: tuple[Cited, Mapping[str, float]] | None,
    *,
    normalised: bool,
) -> str:
    parts = [_whiskers(results), "Best first within each group."]
    if view.baseline in view.methods:
        parts.append(f"The dotted line is {titles([view.baseline])[view.baseline]}.")
    if normalised:
        parts.append("Normalised: divided by the individual model's score on each task, then averaged.")
    if cited and view.score == AVERAGE and set(cited[1]) & set(scores.methods):
        hollow = "Hollow diamonds are cited"
        parts.append(
            f"{hollow}: see beneath the table." if not normalised else f"{hollow} averages: on the accuracy scale only."
        )
    return " ".join(parts)


def _whiskers(results: Results) -> str:
    if not results.known_intervals:
        return "No intervals: this run is of an older version, which kept no predictions to resample."
    return f"Whiskers: {PERCENT} bootstrap intervals over {results.count:,} {results.split} samples."


def _sure(results: Results) -> str:
    if not results.known_intervals:
        return _whiskers(results)
    return (
        f"Bold with *: the {PERCENT} interval of the difference, both methods on the same resampled samples, excludes 0. "
        "Each cell is tested alone: of twenty true zeros, chance marks one."
    )


def _cost_sentence(results: Results, view: ComparisonView) -> str:
    if view.cost == "seconds":
        words = (
            "Seconds to merge, including the sweep of λ and the construction of anchors for methods that use them (summed over "
            "units, as if one after the other)."
        )
    else:
        words = (
            "Peak memory while merging, without construction of anchors: on a CPU of the whole process with its libraries, on "
            "a GPU what is allocated on the device."
        )
    words += " The dotted line joins the methods without real inputs that no other such method beats at lower cost."
    return words + " Hover to name a point without a label." + _mark(results, view.methods)


def _normalised_sentence(normalised: bool) -> str:
    return "; each score is divided by the individual model's score on that task" if normalised else ""


def _mark(results: Results, methods: tuple[str, ...] | list[str]) -> str:
    return f" {MARK} reads real inputs." if any(results.kinds[method] == "inputs" for method in methods) else ""
