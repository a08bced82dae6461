"""Imports what the first page needs as soon as the server starts, while the browser loads Streamlit's JavaScript.

Without this a cold start of the first page took 2.2 s, with it 1.84 to 1.95 s (limit 2 s; docs/results.md). Garbage is
collected rarely, as in our other processes: that saves another 0.13 s.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread

import streamlit as st

from fda.home import write_privately
from fda.interpreter import ALLOCATIONS
from fda.ui import logs


@asynccontextmanager
async def preload(_: st.App) -> AsyncIterator[None]:
    """The server's lifespan: set file permissions, start the imports and the removal of deleted runs in threads, then serve."""
    gc.set_threshold(ALLOCATIONS)
    write_privately()
    if logs.is_wanted():
        logs.write_json_lines()
    Thread(target=_import, daemon=True).start()
    Thread(target=_purge, daemon=True).start()
    yield


def _import() -> None:
    import fda.requests.runs
    import fda.ui.explain
    import fda.ui.page
    import fda.ui.plot
    import fda.ui.recording
    import fda.ui.runs  # noqa: F401

    _import_tables()


def _import_tables() -> None:
    import pandas  # noqa: F401


def _purge() -> None:
    from fda.jobs.lifecycle import purge
    from fda.store.store import Store

    purge(Store())
