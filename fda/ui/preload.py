"""Imports what the first page needs as soon as the server starts, while the browser loads Streamlit's JavaScript.

Without this a cold start of the first page took 2.2 s, with it 1.84 to 1.95 s (limit 2 s; docs/results.md). Collecting garbage
rarely, as in our other processes, saves another 0.13 s; what is done after the imports below, 0.1 s.
"""

import gc
import inspect
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Thread

import streamlit as st

from fda.errors import UserError
from fda.home import write_privately
from fda.interpreter import ALLOCATIONS
from fda.ui import logs

FIRST_PAGE_SECONDS = 2.0  # from the start of the server to a first page that stands


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
    from fda.requests.shipped import slowness
    from fda.store.records import Run
    from fda.store.store import Store

    slowness()  # Home tells how long the demo takes here
    inspect.stack()  # Streamlit calls it before the first element; it resolves the file of every module, and caches them
    runs: list[Run] = []
    with suppress(UserError):  # pages say what is wrong with the store
        runs = Store().runs(limit=1)
    if not runs:  # then Home shows no table, and does without pandas
        time.sleep(FIRST_PAGE_SECONDS)
    import pandas  # noqa: F401


def _purge() -> None:
    from fda.jobs.lifecycle import purge
    from fda.store.store import Store

    purge(Store())
