"""How a swept coefficient was chosen: validation score against its value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from fda.analysis.scores import AVERAGE
from fda.figures.theme import DASHES, PALETTES, SYMBOLS, Theme, blank, faint, series_colour

FEW = 3  # with at most this many methods, each task has a faint line


@dataclass(frozen=True)
class Sweep:
    """One method's sweep: scores (0..1) on `split` at each of `values`, on average and by task, and the chosen value."""

    hyperparameter: str
    values: Sequence[float]
    average: Sequence[float]
    tasks: Mapping[str, Sequence[float]]
    split: str
    chosen: float


def sweep_curves(
    sweeps: Mapping[str, Sweep],
    theme: Theme,
    *,
    titles: Mapping[str, str],
    score: str = AVERAGE,
    uirevision: str | None = None,
) -> go.Figure:
    """One line per method, in percent, with a star at the chosen value, which has the best average.

    `score`: the average, with faint lines per task if there are few methods, or one task.
    """
    palette = PALETTES[theme]
    split = next((sweep.split for sweep in sweeps.values()), "validation")
    names = dict.fromkeys(sweep.hyperparameter for sweep in sweeps.values())
    what = "Average accuracy" if score == AVERAGE else f"Accuracy on {score}"
    figure = blank(f"{what} on the {split} split", theme, height=430 + 14 * len(sweeps), uirevision=uirevision)
    if score == AVERAGE and len(sweeps) <= FEW:
        for index, (method, sweep) in enumerate(sweeps.items()):
            for task, values in sweep.tasks.items():
                figure.add_scatter(
                    x=list(sweep.values),
                    y=[100 * value for value in values],
                    mode="lines",
                    line={"color": faint(series_colour(index, theme), 0.35), "width": 1},
                    name=f"{titles[method]}: {task}",
                    legendgroup=method,
                    showlegend=False,
                    hoverinfo="skip",
                    uid=f"{method} {task}",
                )
    for index, (method, sweep) in enumerate(sweeps.items()):
        values = [100 * value for value in (sweep.average if score == AVERAGE else sweep.tasks[score])]
        colour = series_colour(index, theme)
        chosen = list(sweep.values).index(sweep.chosen)
        figure.add_scatter(
            x=list(sweep.values),
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": DASHES[index % len(DASHES)]},
            marker={
                "symbol": ["star" if at == chosen else SYMBOLS[index % len(SYMBOLS)] for at in range(len(values))],
                "size": [15 if at == chosen else 5 for at in range(len(values))],
                "color": colour,
                "line": {"width": [1.2 if at == chosen else 0 for at in range(len(values))], "color": palette.ink},
            },
            customdata=[_by_task(sweep, at) for at in range(len(values))],
            hovertemplate=f"<b>{titles[method]}</b><br>{sweep.hyperparameter} %{{x}}: %{{y:.1f}} %"
            "<br>%{customdata}<extra></extra>",
            name=f"{titles[method]}: {sweep.chosen:g}",
            legendgroup=method,
            uid=method,
        )
    figure.update_layout(legend={"y": 0, "yref": "container", "yanchor": "bottom"})
    figure.update_xaxes(
        title=f"λ ({', '.join(names)}); the star and the number below are the chosen value", rangemode="tozero"
    )
    figure.update_yaxes(title=f"{split} accuracy (%)")
    return figure


def _by_task(sweep: Sweep, at: int) -> str:
    return "<br>".join(f"{task} {100 * values[at]:.1f} %" for task, values in sweep.tasks.items())
