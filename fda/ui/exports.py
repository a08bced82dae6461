"""A menu to download what a page shows. `fda.report` makes the files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.escape import csv
from fda.figures.theme import Theme
from fda.report.html import standalone_html
from fda.report.run_report import run_report
from fda.ui.actions import download_button
from fda.ui.paper import paper_export
from fda.ui.runs import store


@dataclass(frozen=True)
class TextFile:
    """A text file beside the tables and figures. `ending`: the end of its name, such as `md`."""

    label: str
    make: Callable[[], str]
    ending: str
    mime: str


def run_report_file(run_id: str, theme: Theme) -> TextFile:
    """The run report (see `fda.report.run_report`) as a file of the menu."""

    def make() -> str:
        known = store()
        return run_report(known, known.run(run_id), theme)

    return TextFile("Report of the run (HTML)", make, "report.html", "text/html")


def export_menu(
    name: str,
    *,
    tables: Mapping[str, Callable[[], pd.DataFrame]],
    figures: Mapping[str, Callable[[], go.Figure]],
    texts: Sequence[TextFile] = (),
) -> None:
    """A menu of downloads; each file is made when the reader asks for it. `name` begins every file name."""
    with st.popover("Export", icon=":material/download:", help="Figures as SVG, PDF and HTML, numbers as CSV"):
        if figures:
            st.markdown("**A figure for a paper**")
            paper_export(name)
        if tables:
            st.markdown("**Numbers**")
            with _flowing():
                for title, table in tables.items():
                    _download(
                        f"{title} (CSV)", lambda table=table: csv(table()), f"{name}-{_slug(title)}.csv", "text/csv"
                    )
        if texts:
            st.markdown("**Documents**")
            with _flowing():
                for text in texts:
                    _download(text.label, lambda text=text: text.make().encode(), f"{name}.{text.ending}", text.mime)
        if figures:
            st.markdown("**Interactive figures**")
            with _flowing():
                for title, figure in figures.items():
                    _download(
                        f"{title} (HTML)",
                        lambda figure=figure: standalone_html(figure()).encode(),
                        f"{name}-{_slug(title)}.html",
                        "text/html",
                    )


def _flowing() -> DeltaGenerator:
    return st.container(horizontal=True, gap="xsmall")


def _download(label: str, make: Callable[[], bytes], file_name: str, mime: str) -> None:
    download_button(
        label, make, file_name=file_name, mime=mime, key=f"export-{label}", on_click="ignore", type="tertiary"
    )


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
