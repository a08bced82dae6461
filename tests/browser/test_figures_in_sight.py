"""The run page draws each second what is in sight, without a run of its script; the rest when the reader scrolls to it."""

import threading

import numpy as np
import pytest

from fda.bench.dashboard import Server
from fda.bench.page import grow, make_run
from fda.jobs.beats import Beats
from fda.jobs.heart import Heart
from fda.store.store import Store

pytestmark = pytest.mark.browser

LOSS, LAST = ".st-key-run-loss .fda-figure", ".st-key-run-memory .fda-figure"

LAST_STEP = f"Math.max(...(document.querySelector('{LOSS}')?._fullData ?? []).flatMap((t) => [...t.x]))"


@pytest.fixture(scope="module")
def server(own_server: Server) -> Server:
    return own_server


def wait_past(visit, step: int) -> None:
    """Wait until the loss figure shows more than this step."""
    visit.page.wait_for_function(f"{LAST_STEP} > {step}")


def test_a_figure_out_of_sight_is_drawn_when_it_is_scrolled_to(visit, server):
    store, random = Store(server.home), np.random.default_rng(0)
    run_id = make_run(store, 2_000)
    page = visit.page
    visit.count_messages()
    with Heart(store, run_id, threading.Event(), Beats(store.run_dir(run_id))):
        visit.open(f"/run?run={run_id}")
        page.wait_for_function(f"{LAST_STEP} > 0 && document.querySelector('{LAST}')")
        page.locator(LOSS).scroll_into_view_if_needed()
        before, heard = page.evaluate(LAST_STEP), visit.messages()
        grow(store, run_id, random)
        wait_past(visit, before)
        assert visit.messages() == heard > 0, "no script ran"

        page.locator(LAST).scroll_into_view_if_needed()
        page.wait_for_function(f"document.querySelector('{LOSS}').getBoundingClientRect().bottom < 0")  # out of sight
        before = page.evaluate(LAST_STEP)
        grow(store, run_id, random)
        page.wait_for_timeout(4_000)
        assert page.evaluate(LAST_STEP) == before
        page.locator(LOSS).scroll_into_view_if_needed()
        wait_past(visit, before)
    visit.check()
