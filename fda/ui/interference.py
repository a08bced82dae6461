"""Interference of a zoo's task vectors for the page Checkpoints, from weights alone: computed by a helper run when asked."""

from pathlib import Path

import streamlit as st

from fda.errors import UserError
from fda.report.analyses import AnalysisView, drawn
from fda.requests.helper_runs import interference_spec, newest_of, result
from fda.store.analyses import Panel, Table, table_from
from fda.store.store import Store
from fda.ui import notices
from fda.ui.page import theme
from fda.ui.panels import ask, question
from fda.ui.plot import plot
from fda.ui.runs import store
from fda.zoos.zoo import Zoo

PANEL: Panel = "interference"


def interference_card(path: Path, zoo: Zoo) -> Table | None:
    """The figure, or the button that has it computed; the numbers, if they are there."""
    known, spec, table = store(), interference_spec(path, zoo), None
    helper = newest_of(known, spec)
    if helper is not None and helper.state == "done":
        with notices.noticed():
            table = _table(known, helper.run_id)
    drawing = None if table is None else drawn(PANEL, table, AnalysisView(), theme(), uirevision=str(path))
    if drawing is not None:
        plot(drawing.make(), key=PANEL, alt=drawing.alt)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        question(PANEL)
        if drawing is None:
            ask(PANEL, spec, helper, there=False)
    if drawing is not None:
        st.markdown(notices.sentence(drawing.sentence))
    return table


def _table(known: Store, run_id: str) -> Table:
    try:
        return table_from(PANEL, result(known, run_id))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"the result of {run_id} is damaged: `python -m fda runs delete {run_id}`, then compute it again."
        ) from None
