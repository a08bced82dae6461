"""Which node of a cluster has computed how many units of a run, and which it has at work."""

from collections.abc import Sequence

import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.theme import PALETTES, Theme, blank
from fda.measures import NODES
from fda.store.records import Unit

ROW_PIXELS = 34
LISTED = 4  # units at work that a bar names


def node_bars(units: Sequence[Unit], theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """`units`: those that have a node. A row a node, with its finished units and those at work by name."""
    palette = PALETTES[theme]
    nodes = sorted({unit.node for unit in units if unit.node is not None})
    done = [sum(unit.node == node and unit.state == "done" for unit in units) for node in nodes]
    at_work = [
        [f"{unit.key.name} {unit.key.block}" for unit in units if unit.node == node and unit.state == "running"]
        for node in nodes
    ]
    rows = [plotly(node) for node in nodes]
    figure = blank(NODES.heading, theme, height=110 + ROW_PIXELS * len(nodes), uirevision=uirevision)
    for name, counts, text, look in (
        ("done", done, [str(count or "") for count in done], {"color": palette.accent}),
        (
            "at work",
            [len(names) for names in at_work],
            [_listed(names) for names in at_work],
            {"color": palette.surface, "line": {"width": 1, "color": palette.accent}, "pattern": {"shape": "/"}},
        ),
    ):
        figure.add_bar(
            x=counts,
            y=rows,
            orientation="h",
            name=name,
            text=text,
            textposition="inside" if name == "done" else "auto",
            insidetextanchor="middle",
            textfont={"color": palette.page if name == "done" else palette.ink},
            cliponaxis=False,
            marker=look,
            hovertemplate=f"<b>%{{y}}</b><br>{name}: %{{x}}<br>%{{text}}<extra></extra>",
            uid=name,
        )
    figure.update_layout(barmode="stack", legend={"y": -0.25})
    figure.update_xaxes(title=NODES.unit, tickformat="d", rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


def _listed(names: Sequence[str]) -> str:
    """The first of the names, and how many there are more."""
    shown = ", ".join(plotly(name) for name in names[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if names[LISTED:] else shown
