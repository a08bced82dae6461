"""Measure Home with many runs: how soon its recording moves, its table of runs opens, and a search filters the table."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fda.bench.dashboard import STANDS, Server
from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec
from fda.store.records import MethodResult, Score, UnitKey
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMED = 5  # every so many runs have this name, for which the table is searched
NAME = "baseline"
LOSSES = (0.07, 0.11)  # of the first unit and of the last
WIDTH, HEIGHT = 1400, 1000  # pixels of the window
PAUSE = 1_000  # ms in which a page finishes drawing
WAIT = 60_000  # ms before giving up

# From the page's first paint to the first change of the recording's moving point, in ms, as `window.moved`.
WATCH_MOTION = """new MutationObserver((changes) => {
  if (changes.some(({ target }) => target.matches?.(".fda-recording .loss circle")) && !window.moved)
    requestAnimationFrame(() => {
      window.moved = performance.now() - performance.getEntriesByName("first-contentful-paint")[0].startTime;
    });
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["cx"] });"""
# From what the reader types next to the frame that shows this text, in ms, as the promise `window.filtered`.
WATCH_FILTER = """(text) => {
  window.filtered = new Promise((done) => addEventListener("input", () => {
    const began = performance.now();
    const look = () => document.body.innerText.includes(text) ? done(performance.now() - began) : requestAnimationFrame(look);
    look();
  }, { capture: true, once: true }));
}"""


@dataclass(frozen=True)
class HomeTimes:
    """Repeated measurements of Home. `motion`: s after its first paint; `opened`: s after a click; `filtered`: ms after a
    word is put into its search."""

    motion: list[float]
    opened: list[float]
    filtered: list[float]


def fill(store: Store, count: int) -> None:
    """Add `count` finished runs of the demo zoo with units, losses and scores."""
    construct = construct_settings("fast", family=load_zoo("demo").family)
    spec = make_spec("demo", construct=construct, methods=MAIN_METHODS, device="cpu")
    keys = [UnitKey("construct", task, block) for task in spec.tasks for block in range(4)]
    with store.held_open():
        for number in range(count):
            run_id = store.create_run(spec)
            store.add_units(run_id, [(key, 100) for key in keys])
            for index, key in enumerate(keys):
                loss = LOSSES[0] + (LOSSES[1] - LOSSES[0]) * index / len(keys)
                store.update_unit(run_id, key, state="done", step=100, loss=loss, seconds=1.0)
            for index, method in enumerate(MAIN_METHODS):
                scores = [Score(method, task, "test", "accuracy", 0.5 + 0.05 * index, 100) for task in spec.tasks]
                store.add_result(run_id, MethodResult(method, "done", {}, 1.0, 2**20, None), scores)
            if number % NAMED == 0:
                store.describe(run_id, name=f"{NAME} {number}")
            store.set_state(run_id, "running")
            store.set_state(run_id, "done")


def measure_home(server: Server, chromium: "Browser", count: int, rounds: int) -> HomeTimes:
    """Measure on a server that runs, whose store has `count` runs of `fill`; the first round warms it up.

    The table is measured while the recording stands still, as it does for readers who want no motion and once it has ended.
    """
    moving, still = (
        chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion=motion)
        for motion in ("no-preference", "reduce")
    )
    home, table = moving.new_page(), still.new_page()
    home.add_init_script(WATCH_MOTION)
    table.goto(server.url)
    _wait(table, STANDS)
    rows = [(_motion(home, server), _opened(table, count), _filtered(table, count)) for _ in range(rounds + 1)][1:]
    moving.close()
    still.close()
    return HomeTimes(*map(list, zip(*rows, strict=True)))


def _motion(page: "Page", server: Server) -> float:
    page.goto(server.url)
    _wait(page, "window.moved")
    seconds = page.evaluate("window.moved") / 1e3
    page.goto("about:blank")
    return seconds


def _opened(page: "Page", count: int) -> float:
    """Seconds from a click on Home, on another page, to the table of all runs."""
    links = page.locator("[data-testid=stSidebarNav]")
    links.get_by_role("link", name="Paper", exact=True).click()
    _wait(page, f"document.querySelector('[data-testid=stMain] h1')?.innerText === 'Paper' && {STANDS}")
    page.wait_for_timeout(PAUSE)
    began = time.perf_counter()
    links.get_by_role("link", name="Home", exact=True).click()
    _wait(page, f"document.querySelector('[data-testid=stDataFrame] canvas') && {_all_shown(count)}")
    seconds = time.perf_counter() - began
    _wait(page, STANDS)
    page.wait_for_timeout(PAUSE)
    return seconds


def _filtered(page: "Page", count: int) -> float:
    matching = f"{-(-count // NAMED)} of {count} runs"
    page.evaluate(WATCH_FILTER, matching)
    page.locator(".st-key-search input").fill(NAME)
    _wait(page, _shows(matching))
    milliseconds = page.evaluate("window.filtered")
    page.locator(".st-key-search input").fill("")
    _wait(page, _all_shown(count))
    return milliseconds


def _all_shown(count: int) -> str:
    return f"/(^|\\n){count} runs\\./.test(document.querySelector('[data-testid=stMain]').innerText)"


def _shows(text: str) -> str:
    return f"document.querySelector('[data-testid=stMain]').innerText.includes('{text}')"


def _wait(page: "Page", condition: str) -> None:
    page.wait_for_function(condition, timeout=WAIT)
