"""The panels of a zoo's checkpoints for the page Checkpoints, from weights alone: computed by a helper run when asked."""

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from fda.errors import UserError
from fda.report.analyses import AnalysisView, drawn
from fda.requests.helper_runs import newest_of, result, zoo_analysis_spec
from fda.store.analyses import ZOO_PANELS, Panel, Table, table_from
from fda.store.store import Store
from fda.ui import notices
from fda.ui.page import theme
from fda.ui.panels import ask, question
from fda.ui.plot import plot
from fda.ui.runs import store
from fda.zoos.zoo import Zoo


def zoo_panels(path: Path, zoo: Zoo) -> Mapping[Panel, Table]:
    """The figures, or the button that has them computed; the numbers, if they are there."""
    known, spec = store(), zoo_analysis_spec(path, zoo)
    tables: dict[Panel, Table] = {}
    helper = newest_of(known, spec)
    if helper is not None and helper.state == "done":
        with notices.noticed():
            tables = _tables(known, helper.run_id)
    if not tables:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            for panel in ZOO_PANELS:
                question(panel)
            ask(ZOO_PANELS[0], spec, helper, there=False)
        return tables
    for column, (panel, table) in zip(st.columns(len(tables), gap="medium"), tables.items(), strict=True):
        with column:
            drawing = drawn(panel, table, AnalysisView(), theme(), uirevision=str(path))
            plot(drawing.make(), key=panel, alt=drawing.alt)
            question(panel)
            st.markdown(notices.sentence(drawing.sentence))
    return tables


def _tables(known: Store, run_id: str) -> dict[Panel, Table]:
    """Those of the panels that have rows: a zoo may have no matrix in its blocks."""
    try:
        content = result(known, run_id)
        return {panel: table for panel in ZOO_PANELS if len(table := table_from(panel, content[panel]))}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"the result of {run_id} is damaged: `python -m fda runs delete {run_id}`, then compute it again."
        ) from None
