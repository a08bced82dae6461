"""Curves over steps, one per unit or one per task: colour and marker identify the task, the dash identifies the block.

A chosen unit keeps its colour and gets a thick curve while all others turn grey. Beyond a few units, a task's mean and range
show more than the curves of its blocks (`means`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.bands import band
from fda.figures.task_means import TaskCurve, task_curves
from fda.figures.theme import DASHES, PALETTES, SYMBOLS, Theme, blank, faint, log_ticks, series_colour
from fda.measures import ANGLE_LOSS, COSINES, SIMILARITY
from fda.store.records import UnitKey

Series = Mapping[UnitKey, tuple[np.ndarray, np.ndarray]]  # (steps (S,), values (S,))
FEW_UNITS = 8  # with more, curves of single units hide each other
RAW_CURVES = 16  # with more units only the smoothed curves are drawn: raw ones would hide everything
GREY = 0.45  # opacity of the curves beside a chosen one


def loss_curves(
    series: Series,
    theme: Theme,
    *,
    tasks: Sequence[str],
    smoothing: float = 0.6,
    chosen: UnitKey | None = None,
    means: bool = False,
    title: str = ANGLE_LOSS.heading,
    y_title: str = ANGLE_LOSS.unit,
    uirevision: str | None = None,
) -> go.Figure:
    """Bias-corrected moving averages on a log scale, with the raw values faint behind them. `tasks` fixes the colours.

    The chosen unit's end is labelled, by default that of the unit that ends highest.
    """
    figure = _frame(series, theme, title, y_title, uirevision, dashes=not means)
    raw = _raw(series, tasks, theme) if smoothing > 0 and len(series) <= RAW_CURVES and not means and not chosen else ()
    smooth = {key: (steps, ema(values, smoothing)) for key, (steps, values) in series.items()}
    by_task = task_curves(smooth) if means else None
    curves = _curves(smooth, by_task, chosen, tasks, theme, "%{y:.4f}")
    ends = _ends(smooth if by_task is None else _means(by_task), smooth, tasks, theme, chosen)
    # one call: one per trace takes twice as long
    figure.add_traces([*raw, *curves, *ends, *([] if means else _dash_key(series, theme))])
    _label_end(figure, smooth, chosen, theme)
    figure.update_yaxes(type="log", exponentformat="none", minor={"showgrid": False}, **log_ticks())
    return figure


def similarity_curves(
    series: Series,
    theme: Theme,
    *,
    tasks: Sequence[str],
    chance: float,
    chosen: UnitKey | None = None,
    means: bool = False,
    uirevision: str | None = None,
) -> go.Figure:
    """Subspace similarity of anchors and real block inputs (paper, figure 4); `chance` = k/d, and 1 is the same subspace."""
    return share_curves(
        series,
        theme,
        tasks=tasks,
        title=SIMILARITY.heading,
        y_title=SIMILARITY.unit,
        chosen=chosen,
        means=means,
        line=(chance, f"chance k/d = {chance:.2f}"),
        uirevision=uirevision,
    )


def share_curves(
    series: Series,
    theme: Theme,
    *,
    tasks: Sequence[str],
    title: str,
    y_title: str,
    chosen: UnitKey | None = None,
    means: bool = False,
    line: tuple[float, str] | None = None,
    uirevision: str | None = None,
) -> go.Figure:
    """Curves of values in 0..1, few enough for a marker at each. `line`: a reference level and its name."""
    figure = _frame(series, theme, title, y_title, uirevision, dashes=not means)
    by_task = task_curves(series) if means else None
    curves = _curves(series, by_task, chosen, tasks, theme, "%{y:.3f}", markers=True)
    figure.add_traces([*curves, *_task_key(series, tasks, theme, chosen), *([] if means else _dash_key(series, theme))])
    highest = [float(np.nanmax(values)) for _, values in series.values() if len(values)]
    if line is not None:
        level, name = line
        palette = PALETTES[theme]
        figure.add_hline(
            y=level,
            line={"color": palette.ink, "width": 1.5, "dash": "2px,3px"},
            annotation={
                "text": name,
                "font": {"size": 11, "color": palette.ink},
                "xanchor": "right",
                "yanchor": "top",
                "x": 1.0,
            },
        )
        highest.append(level)
    figure.update_yaxes(range=[0, min(1.0, max(highest, default=1.0) * 1.15)], tickformat=".2f")
    return figure


def cosine_bars(
    names: Sequence[str],
    first: np.ndarray | None,
    last: np.ndarray,
    theme: Theme,
    *,
    unit: str,
    uirevision: str | None = None,
) -> go.Figure:
    """Cosine of the induced gradient with the task vector: a bar per tensor, with a mark at its first value.

    `first` is None if only one step is recorded.
    """
    figure = blank(f"{COSINES.heading}: {unit}", theme, height=160 + 24 * len(names), uirevision=uirevision)
    palette = PALETTES[theme]
    figure.add_bar(
        y=list(map(plotly, names)),
        x=last.astype(np.float32),
        orientation="h",
        marker={"color": palette.accent},
        name="now",
        hovertemplate="<b>%{y}</b><br>now: %{x:.3f}<extra></extra>",
        uid="now",
    )
    if first is not None:
        figure.add_scatter(
            y=list(map(plotly, names)),
            x=first.astype(np.float32),
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 16, "color": palette.ink, "line": {"width": 2}},
            name="at the start",
            hovertemplate="<b>%{y}</b><br>at the start: %{x:.3f}<extra></extra>",
            uid="start",
        )
    lowest = float(np.nanmin(last if first is None else first))
    figure.update_xaxes(title=COSINES.unit, range=[min(0.0, lowest), 1])
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    return figure


def _frame(
    series: Series, theme: Theme, title: str, y_title: str, uirevision: str | None, *, dashes: bool
) -> go.Figure:
    figure = blank(title, theme, height=430, uirevision=uirevision)
    blocks = _blocks(series) if dashes else []
    figure.update_layout(
        margin={"t": 44 if len(blocks) < 2 else 74 if len(blocks) <= 6 else 96},
        legend={"groupclick": "togglegroup"},
        legend2={
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "font": {"size": 11},
            "title": {"text": "block ", "side": "left"},
            "itemclick": False,
            "itemdoubleclick": False,
            "entrywidth": 22,
        },
    )
    figure.update_xaxes(title="optimiser step")
    figure.update_yaxes(title=y_title)
    return figure


def _curves(
    series: Series,
    by_task: Mapping[str, TaskCurve] | None,
    chosen: UnitKey | None,
    tasks: Sequence[str],
    theme: Theme,
    number: str,
    markers: bool = False,
) -> Iterator[dict[str, Any]]:
    """A curve for each unit, or `by_task`, each task's mean and range; then the chosen unit's, on top of all others."""
    style = {"tasks": tasks, "theme": theme, "number": number, "markers": markers}
    chosen = chosen if chosen in series else None
    for task, one in (by_task or {}).items():
        colour = PALETTES[theme].muted if chosen else _colour(UnitKey("construct", task, -1), tasks, theme)
        yield band(_steps(one.steps), one.lowest, one.highest, colour, group=task, uid=f"range {task}")
    for key, values in (series if by_task is None else _means(by_task)).items():
        if key != chosen:
            yield _curve(key, *values, **style, grey=chosen is not None)
    if chosen is not None:
        yield _curve(chosen, *series[chosen], **style, width=4)


def _curve(
    key: UnitKey,
    steps: np.ndarray,
    values: np.ndarray,
    tasks: Sequence[str],
    theme: Theme,
    number: str,
    markers: bool = False,
    grey: bool = False,
    width: int = 2,
) -> dict[str, Any]:
    colour = faint(PALETTES[theme].muted, GREY) if grey else _colour(key, tasks, theme)
    marker = {"symbol": SYMBOLS[_index(key, tasks) % len(SYMBOLS)], "size": 5, "color": colour} if markers else None
    return _scatter(
        x=_steps(steps),
        y=np.asarray(values, np.float32),
        mode="lines+markers" if markers else "lines",
        line={"width": width, "color": colour, "dash": DASHES[max(key.block, 0) % len(DASHES)]},
        marker=marker,
        name=key.name,
        legendgroup=key.name,
        showlegend=False,
        hovertemplate=f"<b>{plotly(_name(key))}</b><br>step %{{x}}: {number}<extra></extra>",
        uid=f"curve {key.name} {key.block}",
    )


def _scatter(**fields: Any) -> dict[str, Any]:
    return {"type": "scatter", **fields}


def _raw(series: Series, tasks: Sequence[str], theme: Theme) -> Iterator[dict[str, Any]]:
    """All raw curves of a task as one trace with gaps: they share a style, and each trace costs server and browser time."""
    for task in dict.fromkeys(key.name for key in series):
        curves = [values for key, values in series.items() if key.name == task]
        index = tasks.index(task) if task in tasks else 0
        yield _scatter(
            x=_steps(np.concatenate([np.append(steps, steps[-1:]) for steps, _ in curves])),
            y=np.concatenate([np.append(values, np.full(len(values[-1:]), np.nan)) for _, values in curves]).astype(
                np.float32
            ),
            mode="lines",
            line={"width": 1, "color": faint(series_colour(index, theme), 0.28)},
            connectgaps=False,
            legendgroup=task,
            showlegend=False,
            hoverinfo="skip",
            uid=f"raw {task}",
        )


def _ends(
    series: Series, units: Series, tasks: Sequence[str], theme: Theme, chosen: UnitKey | None
) -> Iterator[dict[str, Any]]:
    """A marker at the end of each curve, one trace per task: a marker at every point would cost the browser a node each.

    The trace is also the task's legend entry, which hides all its curves. Of the task of a chosen one of `units`, that unit's
    end alone is marked.
    """
    chosen = chosen if chosen in units else None
    for task in dict.fromkeys(key.name for key in series):
        of_task = {chosen: units[chosen]} if chosen and chosen.name == task else series
        curves = [(key, *values) for key, values in of_task.items() if key.name == task and len(values[0])]
        yield _scatter(
            x=_steps([steps[-1] for _, steps, _ in curves]),
            y=np.array([values[-1] for _, _, values in curves], np.float32),
            mode="markers",
            marker=_task_marker(task, tasks, theme, chosen) | {"size": 7},
            name=task,
            legendgroup=task,
            hoverinfo="skip",
            uid=f"ends {task}",
        )


def _label_end(figure: go.Figure, series: Series, chosen: UnitKey | None, theme: Theme) -> None:
    """Name the chosen unit and its last value at the end of its curve; without one, the unit that ends highest."""
    ends = {
        key: (int(steps[-1]), float(values[-1]))
        for key, (steps, values) in series.items()
        if len(values) and values[-1] > 0
    }
    if not ends:
        return
    key = chosen if chosen in ends else max(ends, key=lambda one: ends[one][1])
    step, value = ends[key]
    figure.add_annotation(
        x=step,
        y=math.log10(value),
        text=plotly(f"{_name(key)}: {value:.3f}"),
        xanchor="right",
        ax=0,
        ay=-30,
        arrowhead=0,
        arrowcolor=PALETTES[theme].muted,
        font={"size": 11, "color": PALETTES[theme].ink},
    )


def _means(by_task: Mapping[str, TaskCurve]) -> Series:
    """Each task's mean, as the curve of a unit without a block."""
    return {UnitKey("construct", task, -1): (one.steps, one.mean) for task, one in by_task.items()}


def _name(key: UnitKey) -> str:
    return f"{key.name}, mean" if key.block < 0 else f"{key.name}, block {key.block}"


def _task_key(series: Series, tasks: Sequence[str], theme: Theme, chosen: UnitKey | None) -> Iterator[dict[str, Any]]:
    """One legend entry per task, which hides all its curves."""
    chosen = chosen if chosen in series else None
    for task in dict.fromkeys(key.name for key in series):
        marker = _task_marker(task, tasks, theme, chosen)
        yield _scatter(
            x=[None],
            y=[None],
            mode="lines+markers",
            line={"width": 2, "color": marker["color"]},
            marker=marker | {"size": 8},
            name=task,
            legendgroup=task,
            uid=f"task {task}",
        )


def _task_marker(task: str, tasks: Sequence[str], theme: Theme, chosen: UnitKey | None) -> dict[str, Any]:
    """Symbol and colour of a task; grey beside the task of a chosen unit."""
    key = UnitKey("construct", task, -1)
    grey = chosen is not None and chosen.name != task
    colour = faint(PALETTES[theme].muted, GREY) if grey else _colour(key, tasks, theme)
    return {"symbol": SYMBOLS[_index(key, tasks) % len(SYMBOLS)], "color": colour}


def _dash_key(series: Series, theme: Theme) -> Iterator[dict[str, Any]]:
    """A second legend that names the block of each dash."""
    blocks = _blocks(series)
    for block in blocks if len(blocks) > 1 else ():
        yield _scatter(
            x=[None],
            y=[None],
            mode="lines",
            line={"width": 2, "color": PALETTES[theme].muted, "dash": DASHES[block % len(DASHES)]},
            name=str(block),
            legend="legend2",
            uid=f"block {block}",
        )


def _blocks(series: Series) -> list[int]:
    return sorted({key.block for key in series if key.block >= 0})


def _index(key: UnitKey, tasks: Sequence[str]) -> int:
    return tasks.index(key.name) if key.name in tasks else 0


def _colour(key: UnitKey, tasks: Sequence[str], theme: Theme) -> str:
    return series_colour(_index(key, tasks), theme)


def _steps(steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Steps in the smallest integer type that holds them: they are half of what an update sends."""
    steps = np.asarray(steps)
    return steps.astype(np.uint16 if not len(steps) or 0 <= steps.min() <= steps.max() < 2**16 else np.int32)


def mark_step(figure: go.Figure, step: int, theme: Theme) -> None:
    """A vertical line at `step` in a figure over steps."""
    palette = PALETTES[theme]
    figure.add_vline(
        x=step,
        line={"color": palette.ink, "width": 1.2, "dash": "dot"},
        annotation={
            "text": f"step {step}",
            "font": {"size": 11, "color": palette.ink},
            "bgcolor": palette.page,
            "yanchor": "top",
        },
    )


def ema(values: np.ndarray, weight: float) -> np.ndarray:
    """Bias-corrected exponential moving average (S,), as in TensorBoard and W&B. NaNs stay gaps and carry no weight.

    0 <= `weight` < 1; a weight of 0 returns the series unchanged.
    """
    if weight <= 0 or len(values) == 0:
        return np.asarray(values, float)
    total, norm = 0.0, 0.0
    smoothed = np.empty(len(values))
    for index, value in enumerate(np.asarray(values, float)):
        if np.isnan(value):
            smoothed[index] = np.nan
            continue
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)  # 1 - weight^t, the average of a series of ones
        smoothed[index] = total / norm
    return smoothed
