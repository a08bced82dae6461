"""What the first page needs, imported while the first browser is still reading Streamlit's JavaScript: a fifth of a second."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread

import streamlit as st

from fda.home import write_privately


@asynccontextmanager
async def warm(_: st.App) -> AsyncIterator[None]:
    """For the server's life: write for the owner alone; begin to import, and let it serve meanwhile."""
    write_privately()
    Thread(target=_import, daemon=True).start()
    yield


def _import() -> None:
    import fda.requests.runs
    import fda.ui.explain
    import fda.ui.plot
    import fda.ui.runs
    import fda.ui.teaching  # noqa: F401
