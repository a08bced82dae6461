"""The view Analyses of a run: panels that say why merged models score as they do.

A panel is computed once, by a helper run on the run's device, when a reader asks for it; its numbers stay with the run.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from fda.report.analyses import EVERY_TASK, WORDS, AnalysisView, computed, drawn, frame, usual_method
from fda.report.comparison import titles
from fda.requests.analyses import analysis_spec, panels_of
from fda.requests.helper_runs import newest
from fda.store.analyses import Panel, Table
from fda.store.records import Run
from fda.store.spec import AnalysisSettings, RunSpec
from fda.store.store import Store
from fda.ui import notices
from fda.ui.exports import export_menu
from fda.ui.page import theme
from fda.ui.panels import ask, question
from fda.ui.plot import plot

FILL = 0.64  # share of the window's height that a figure takes


def analyses_view(known: Store, run: Run) -> None:
    """The whole view, in the current container. Its choices are in the URL, under keys that begin with `an_`."""
    if run.active:
        notices.empty("Analyses are computed from a finished run: come back when it is done.")
        return
    if not panels_of(run):
        notices.empty("Analyses belong to a run with anchors or methods: open the run that this landscape is of.")
        return
    st.fragment(_view)(known, run)


def _view(known: Store, run: Run) -> None:
    notices.show_kept()
    with notices.noticed():
        tables = computed(known, run)
        with st.container(key="tabbed"):
            tools = st.container(horizontal=True, vertical_alignment="center", gap="small", key="tools")
            panels = panels_of(run)
            names = [WORDS[panel].title for panel in panels]
            tabs: dict[Panel, Any] = dict(zip(panels, st.tabs(names, key="an_panel", bind="query-params"), strict=True))
        panel: Panel = next(name for name in panels if tabs[name].open)
        with tools:
            view = _choose(run, panel, tables)
            if tables:
                _export(run, tables, view)
        with tabs[panel]:
            drawing = None
            if panel in tables:
                drawing = drawn(panel, tables[panel], view, theme(), uirevision=f"{run.run_id} {panel}")
                plot(drawing.make(), key=f"analysis-{panel}", alt=drawing.alt, fill=FILL)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                question(panel)
                helper = newest(known, "analysis", partial(_is_of, run_id=run.run_id, panel=panel))
                ask(panel, analysis_spec(run, (panel,)), helper, there=drawing is not None)
            if drawing is not None:
                st.markdown(notices.sentence(drawing.sentence))
                for note in tables[panel].notes:
                    st.caption(notices.sentence(note))


def _choose(run: Run, panel: Panel, tables: dict[Panel, Table]) -> AnalysisView:
    """The controls that the panel obeys."""
    by, view = WORDS[panel].by, AnalysisView()
    if "task" in by:
        task = st.selectbox("Task", [EVERY_TASK, *run.spec.tasks], key="an_task", bind="query-params", width=170)
        view = replace(view, task=task)
    if "method" in by and panel in tables:
        methods = list(dict.fromkeys(tables[panel].columns["method"]))
        names = titles(methods)
        usual = usual_method(methods)
        method = st.selectbox(
            "Method",
            methods,
            index=methods.index(usual),
            format_func=names.__getitem__,
            key="an_method",
            bind="query-params",
            width=270,
        )
        view = replace(view, method=method)
    return view


def _is_of(spec: RunSpec, *, run_id: str, panel: Panel) -> bool:
    asked = spec.helper
    return isinstance(asked, AnalysisSettings) and asked.run_id == run_id and panel in asked.panels


def _export(run: Run, tables: dict[Panel, Table], view: AnalysisView) -> None:
    export_menu(
        f"fda-{run.run_id}",
        tables={WORDS[panel].title: partial(frame, table) for panel, table in tables.items()},
        figures={WORDS[panel].title: drawn(panel, table, view, theme()).make for panel, table in tables.items()},
    )
