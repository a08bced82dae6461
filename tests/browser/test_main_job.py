"""The main job as a stranger does it: start the demo from Home, watch, zoom, reload, stop, resume, lose the worker, resume.

Its end, the scores, is that of `test_own_checkpoints.py` and of `fda demo`: here it would take minutes more.
"""

import os
import signal
import urllib.parse

import psutil
import pytest
from playwright.sync_api import expect

from fda.bench.dashboard import Server
from fda.store.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.timeout(2400)]

LOSS = ".st-key-run-loss .fda-figure"


@pytest.fixture(scope="module")
def server(own_server: Server) -> Server:
    return own_server


def points(visit) -> int:
    """How many points the loss chart shows."""
    script = f"(document.querySelector('{LOSS}')?._fullData ?? []).reduce((n, t) => n + (t.x?.length ?? 0), 0)"
    return visit.page.evaluate(script)


def text(visit) -> str:
    """What the page says beside its menu."""
    return visit.page.inner_text("[data-testid=stMain]")


def test_the_main_job(visit, server):
    page, store = visit.page, Store(server.home)
    main = page.locator("[data-testid=stMain]")
    visit.open("/")
    page.get_by_role("button", name="Run it here").click()
    page.wait_for_url("**/run?run=*")
    run_id = urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)["run"][0]
    before = visit.until(lambda: points(visit), 240)  # the step may have to be compiled first
    visit.until(lambda: points(visit) > before)

    # zoom by dragging over the chart, and see it stay
    page.locator(LOSS).scroll_into_view_if_needed()
    box = page.locator(f"{LOSS} .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=8)
    page.mouse.up()
    page.wait_for_function(f"document.querySelector('{LOSS}')._fullLayout.xaxis.autorange === false")
    zoomed = page.evaluate(f"document.querySelector('{LOSS}')._fullLayout.xaxis.range")
    for _ in range(3):
        seen = points(visit)
        visit.until(lambda seen=seen: points(visit) != seen)
    assert page.evaluate(f"document.querySelector('{LOSS}')._fullLayout.xaxis.range") == pytest.approx(zoomed)
    assert page.evaluate(f"document.querySelector('{LOSS}')._fullLayout.xaxis.autorange") is False
    visit.check()

    # a reload is a new session: the run is still there
    page.reload()
    visit.settle()
    assert run_id in page.url
    visit.until(lambda: points(visit))
    visit.check()

    # the server ends and starts again while the run goes on
    visit.lenient = True
    server.stop()
    assert psutil.pid_exists(store.run(run_id).pid) and store.run(run_id).state == "running"
    server.start()
    visit.open(f"/run?run={run_id}")
    visit.lenient = False
    visit.until(lambda: points(visit))

    # Stop stops
    main.get_by_role("button", name="Stop").click()  # the header has one too while a script runs
    visit.until(lambda: "cancelled" in text(visit))
    assert store.run(run_id).state == "cancelled"

    # resume, lose the worker, see it crashed, resume again
    main.get_by_role("button", name="Resume").click()
    visit.until(lambda: store.run(run_id).state == "running" and any(u.step for u in store.units(run_id)))
    killed = store.run(run_id).pid
    os.kill(killed, signal.SIGKILL)
    visit.until(lambda: "crashed" in text(visit))
    finished = store.run(run_id).units_done
    main.get_by_role("button", name="Resume").click()
    visit.until(lambda: store.run(run_id).state == "running" and store.run(run_id).pid != killed)
    visit.open("/paper")  # a slow machine draws figures on the same cores
    visit.until(lambda: store.run(run_id).units_done > finished, 600)
    visit.open(f"/run?run={run_id}")
    visit.until(lambda: points(visit))
    main.get_by_role("button", name="Stop").click()
    visit.until(lambda: store.run(run_id).state == "cancelled")
    visit.check()


@pytest.mark.parametrize("path", ["/", "/checkpoints", "/construct", "/run", "/playground"])
def test_every_page_opens_cold_with_its_frame(visit, server, path):
    server.stop()
    server.start()
    visit.open(path)
    visit.page.get_by_role("link", name="Run").first.wait_for()
    visit.until(lambda: len(visit.page.inner_text("[data-testid=stMain]")) > 100)
    visit.check()


@pytest.mark.parametrize("path", ["/run?run=../../etc", "/watch?run=20200101-000000-zzzz", "/compare?run=nope"])
def test_an_unknown_run_is_told(visit, path):
    visit.open(path)
    visit.until(lambda: "There is no run" in visit.page.inner_text("[data-testid=stMain]"))
    visit.check()


def test_the_server_stays_small(visit, server):
    for path in ("/", "/checkpoints", "/construct", "/run", "/run?view=Scores"):
        visit.open(path)
    assert psutil.Process(server.process.pid).memory_info().rss < 300e6


def test_the_zoo_chosen_on_one_page_is_that_of_the_next(visit):
    visit.open("/checkpoints?zoo=demo")
    for name, title in (
        ("Construct", "Construct"),
        ("Home", "Functional dual anchors"),
        ("Checkpoints", "Checkpoints"),
    ):
        visit.page.locator("[data-testid=stSidebarNav]").get_by_role("link", name=name, exact=True).click()
        visit.until(lambda title=title: title in visit.page.inner_text("[data-testid=stMain] h1"))
        visit.settle()
        if name != "Home":
            expect(visit.page.locator(".st-key-zoo_choice input")).to_have_value("demo")
            visit.until(lambda: "zoo=demo" in visit.page.url)
