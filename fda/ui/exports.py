"""A menu to download what a page shows. `fda.report` makes the files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from fda.escape import csv
from fda.figures.theme import Theme
from fda.report.html import standalone_html
from fda.report.run_report import run_report
from fda.ui.paper import paper_export
from fda.ui.runs import store


@dataclass(frozen=True)
class TextFile:
    """A text file beside the tables and figures. `ending`: the end of its name, such as `md`."""

    label: str
    make: Callable[[], str]
    ending: str
    mime: str
    icon: str = ":material/description:"


def run_report_file(run_id: str, theme: Theme) -> TextFile:
    """The run report (see `fda.report.run_report`) as a file of the menu."""

    def make() -> str:
        known = store()
        return run_report(known, known.run(run_id), theme)

    return TextFile("Report of the run (HTML)", make, "report.html", "text/html", ":material/article:")


def export_menu(
    name: str,
    *,
    tables: Mapping[str, Callable[[], pd.DataFrame]],
    figures: Mapping[str, Callable[[], go.Figure]],
    texts: Sequence[TextFile] = (),
) -> None:
    """A menu of downloads; each file is made when the reader asks for it. `name` begins every file name."""
    with st.popover("Export", icon=":material/download:", help="Figures as SVG, PDF and HTML, numbers as CSV"):
        for title, table in tables.items():
            st.download_button(
                f"{title} (CSV)",
                lambda table=table: csv(table()),
                file_name=f"{name}-{_slug(title)}.csv",
                mime="text/csv",
                key=f"csv-{title}",
                on_click="ignore",
                icon=":material/table:",
            )
        for text in texts:
            st.download_button(
                text.label,
                lambda text=text: text.make().encode(),
                file_name=f"{name}.{text.ending}",
                mime=text.mime,
                key=f"text-{text.label}",
                on_click="ignore",
                icon=text.icon,
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
            st.caption("For a paper, in light colours; PNG: the camera at the top right of each figure.")
            paper_export(name)


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
