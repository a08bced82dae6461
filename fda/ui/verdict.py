"""The box with the verdict on a run."""

from pathlib import Path

import streamlit as st

from fda.report.verdict import verdict_of
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices

KEPT_SECONDS = 60  # other runs count too: the one with the anchors, the survey of the zoo


def verdict_box(run: Run, known: Store) -> None:
    """A sentence a paragraph; nothing where there is no verdict. UserError if the run is deleted."""
    sentences = _verdict(run, known.home, known.version(run.run_id))
    if sentences:
        with st.container(border=True, key="verdict"):
            st.markdown("\n\n".join(notices.sentence(sentence) for sentence in sentences))


# The curves of a hundred units take half a second to read, and a page runs anew with each choice of its reader.
@st.cache_data(
    max_entries=16, ttl=KEPT_SECONDS, show_spinner=False, hash_funcs={Run: lambda run: (run.run_id, run.state)}
)
def _verdict(run: Run, home: Path, version: int) -> list[str]:
    return verdict_of(Store(home), run)
