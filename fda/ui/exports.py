"""Taking home what a page shows: numbers as CSV, a figure as one HTML file that needs no network."""

from collections.abc import Callable, Mapping

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from fda.ui.plot import CONFIG


def export_menu(
    name: str,
    *,
    tables: Mapping[str, Callable[[], pd.DataFrame]],
    figures: Mapping[str, Callable[[], go.Figure]],
) -> None:
    """A menu of downloads. Tables and figures are made when asked for; `name` begins the file names."""
    with st.popover("Export", icon=":material/download:", help="Figures as HTML or PNG, numbers as CSV"):
        for title, table in tables.items():
            st.download_button(
                f"{title} (CSV)",
                lambda table=table: table().to_csv(index=False).encode(),
                file_name=f"{name}-{_slug(title)}.csv",
                mime="text/csv",
                key=f"csv-{title}",
                on_click="ignore",
                icon=":material/table:",
            )
        for title, figure in figures.items():
            st.download_button(
                f"{title} (HTML)",
                lambda figure=figure: standalone_html(figure()).encode(),
                file_name=f"{name}-{_slug(title)}.html",
                mime="text/html",
                key=f"html-{title}",
                on_click="ignore",
                icon=":material/insert_chart:",
            )
        if figures:
            st.caption("PNG: the camera at the top right of each figure.")


def standalone_html(figure: go.Figure) -> str:
    """The figure and plotly.js in one file (about 5 MB): opens offline, asks nothing of the network."""
    page = figure.layout.paper_bgcolor or figure.layout.template.layout.paper_bgcolor
    html = figure.to_html(include_plotlyjs=True, full_html=True, config=CONFIG)
    return html.replace("<body>", f'<body style="background:{page};margin:1rem">', 1)


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
