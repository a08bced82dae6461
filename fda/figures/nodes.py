"""Which node of a cluster has computed how many units of a run, and which it has at work."""

from collections.abc import Sequence

import plotly.graph_objects as go

from fda.escape import plotly
from fda.figures.theme import PALETTES, Theme, blank
from fda.measures import NODES
from fda.store.records import Unit

ROW_PIXELS = 48
LISTED = 2  # units at work that stand above a bar


def node_bars(units: Sequence[Unit], theme: Theme, *, uirevision: str | None = None) -> go.Figure:
    """`units`: those that have a node. A row a node: bars of its finished units and those at work, whose names stand above."""
    palette = PALETTES[theme]
    nodes = sorted({unit.node for unit in units if unit.node is not None})
    done = [sum(unit.node == node and unit.state == "done" for unit in units) for node in nodes]
    at_work = [
        [f"{unit.key.name} {unit.key.block}" for unit in units if unit.node == node and unit.state == "running"]
        for node in nodes
    ]
    rows = [plotly(node) for node in nodes]
    figure = blank(NODES.heading, theme, height=110 + ROW_PIXELS * len(nodes), uirevision=uirevision)
    outline = {"width": 2, "color": palette.accent}
    for name, counts, marker in (
        ("done", done, {"color": palette.accent, "line": outline}),
        ("at work", [len(names) for names in at_work], {"color": palette.surface, "line": outline}),
    ):
        figure.add_bar(
            x=counts,
            y=rows,
            orientation="h",
            width=0.4,
            name=name,
            text=[str(count or "") if name == "done" else "" for count in counts],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": palette.page},
            marker=marker,
            hovertemplate=f"<b>%{{y}}</b><br>{name}: %{{x}}<extra></extra>",
            uid=name,
        )
    for row, names in zip(rows, at_work, strict=True):
        figure.add_annotation(x=0, y=row, yshift=18, xanchor="left", text=_listed(names), showarrow=False)
    most = max(finished + len(names) for finished, names in zip(done, at_work, strict=True))
    figure.update_layout(barmode="stack", margin={"t": 74}, legend={"y": 1.0, "yanchor": "bottom"})
    figure.update_xaxes(dtick=max(1, -(-most // 4)), rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    return figure


def _listed(names: Sequence[str]) -> str:
    """The first of the names, and how many there are more."""
    shown = ", ".join(plotly(name) for name in names[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if names[LISTED:] else shown
