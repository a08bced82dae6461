"""Template, colours, dashes and symbols of every figure, in the light and the dark theme.

Colour never carries meaning alone: a task has a colour and a symbol, a block has a dash, a cell has text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale, sample_colorscale

Theme = Literal["light", "dark"]

FONT = '"Source Sans", "Source Sans Pro", "Segoe UI", system-ui, sans-serif'
CONFIG = {  # options of plotly.js on pages and in exported files; by default it offers to send figures to a cloud
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down", "pentagon", "hexagram")


@dataclass(frozen=True)
class Palette:
    """Colours of one theme. `series` follows Okabe and Ito (2008): distinct for any colour vision."""

    ink: str
    muted: str
    grid: str
    surface: str
    page: str
    accent: str
    plain: str
    series: tuple[str, ...]
    low: str
    high: str


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        ink="#0b1318",
        muted="#5f6b76",
        grid="#e4e2da",
        surface="#f1efe8",
        page="#fbfaf6",
        accent="#0b6e6e",
        plain="#a9b4b8",
        series=("#0072b2", "#d55e00", "#009e73", "#b8478d", "#b07800", "#3a9bdc", "#6a4ba3", "#6b6b6b"),
        low="#b35806",
        high="#2166ac",
    ),
    "dark": Palette(
        ink="#e6e9ec",
        muted="#9aa6b1",
        grid="#2a333d",
        surface="#1b232c",
        page="#11171d",
        accent="#45bdb2",
        plain="#56636e",
        series=("#56b4e9", "#f28a3c", "#2cc295", "#e79ac6", "#e6c229", "#8fa8ff", "#c4a3f5", "#b8b8b8"),
        low="#f0a35c",
        high="#5aa9e6",
    ),
}


def series_colour(index: int, theme: Theme) -> str:
    series = PALETTES[theme].series
    return series[index % len(series)]


def faint(colour: str, opacity: float) -> str:
    """A #rrggbb colour with this opacity."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def steps_colours(count: int, theme: Theme) -> list[str]:
    """`count` colours of viridis from early to late, without the end that is close to the background."""
    first, last = (0.0, 0.88) if theme == "light" else (0.22, 1.0)
    at = [
        min(last, first + (last - first) * index / max(1, count - 1)) for index in range(count)
    ]  # rounding may pass it
    return [str(colour) for colour in sample_colorscale("Viridis", at)]


def steps_scale(theme: Theme) -> list[list]:
    """The colour scale that `steps_colours` samples, for a colour bar."""
    return [[index / 8, colour] for index, colour in enumerate(steps_colours(9, theme))]


def sequential() -> list:
    """Cividis: perceptually uniform, and alike for colour-blind readers."""
    return get_colorscale("Cividis")


def progress_scale(theme: Theme) -> list[list]:
    """From the theme's empty surface to its accent."""
    palette = PALETTES[theme]
    return [[0.0, palette.surface], [1.0, palette.accent]]


def diverging(theme: Theme) -> list[list]:
    """Orange below zero, the background at zero, blue above: safe for colour-blind readers in both themes."""
    palette = PALETTES[theme]
    return [[0.0, palette.low], [0.5, palette.surface], [1.0, palette.high]]


def log_ticks(*, fine: bool = True) -> dict:
    """Ticks of a log axis with full labels (Plotly labels 0.2 as a bare 2): at 1, 2, 5 if `fine`, else at decades."""
    ticks = [digit * 10.0**power for power in range(-8, 4) for digit in ((1, 2, 5) if fine else (1,))]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def add_cell_text(
    figure: go.Figure, columns: Sequence[str], rows: Sequence[str], text: list[list[str]], at: np.ndarray, scale: list
) -> None:
    """Add text to a heatmap's cells, white or near black, whichever has more contrast (Plotly itself takes a mid grey).

    `at` (rows, columns): position of each cell on `scale`, 0..1; a NaN gets no text.
    """
    cells = [
        (row, column) for row in range(len(rows)) for column in range(len(columns)) if np.isfinite(at[row, column])
    ]
    shades = sample_colorscale(scale, [float(np.clip(at[cell], 0, 1)) for cell in cells])
    figure.add_scatter(
        x=[columns[column] for _, column in cells],
        y=[rows[row] for row, _ in cells],
        text=[text[row][column] for row, column in cells],
        mode="text",
        textfont={"size": 11, "color": [_readable(str(shade)) for shade in shades]},
        hoverinfo="skip",
        showlegend=False,
        uid="cell text",
    )


def _readable(shade: str) -> str:
    """White or near black, by contrast with an "rgb(r, g, b)" shade (relative luminance of WCAG 2)."""
    parts = [float(part) / 255 for part in shade[4:-1].split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return "#ffffff" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.2 else "#101820"


@cache
def template(theme: Theme) -> go.layout.Template:
    palette = PALETTES[theme]
    axis = {
        "gridcolor": palette.grid,
        "zeroline": False,
        "linecolor": palette.grid,
        "ticks": "outside",
        "tickcolor": palette.grid,
        "automargin": True,
        "ticklabeloverflow": "allow",  # otherwise Plotly measures each label at each update
        "title": {"standoff": 10, "font": {"size": 12, "color": palette.muted}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": palette.ink},
            "title": {"x": 0, "xref": "container", "xanchor": "left", "font": {"size": 15}, "pad": {"l": 4}},
            "paper_bgcolor": palette.page,
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(palette.series),
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.muted, "font": {"color": palette.ink}},
            "hovermode": "closest",
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": palette.muted, "activecolor": palette.accent},
            "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "font": {"size": 11}},
        }
    )


def blank(title: str, theme: Theme, *, height: int, uirevision: str | None = None) -> go.Figure:
    """An empty figure in the theme. Zoom and hidden curves survive an update while `uirevision` stays the same."""
    return go.Figure(  # in the constructor: `update_layout` takes three times as long
        layout={
            "template": template(theme),
            "title": {"text": title, "y": 0.985, "yanchor": "top", "yref": "container"},
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 44, "b": 8},
            "uirevision": uirevision,
        }
    )


def to_json(figure: go.Figure) -> str:
    """The figure as JSON, as `fda.ui.plot.plot` takes it; worth caching for a figure that is shown again."""
    return str(figure.to_json(validate=False, remove_uids=False))  # Plotly finds a hidden curve again by its uid
