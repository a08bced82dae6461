"""The box with the verdict on a run, on Watch and Compare."""

import streamlit as st

from fda.report.verdict import verdict_of
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices


def verdict_box(run: Run, known: Store) -> None:
    """A sentence a paragraph; nothing where there is no verdict. UserError if the run is deleted."""
    sentences = verdict_of(known, run)
    if sentences:
        with st.container(border=True, key="verdict"):
            st.markdown("\n\n".join(notices.sentence(sentence) for sentence in sentences))
