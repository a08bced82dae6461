"""Measure the dashboard's cold start, page changes, live updates of a running run, and Home with many runs.

Uses its own server and FDA_HOME, one synthetic construct run, and a real Chromium.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fda.bench.dashboard import STANDS, Server, browser
from fda.bench.home import HomeTimes, fill, measure_home
from fda.jobs.beats import Beats
from fda.jobs.heart import Heart
from fda.measures import ANGLE_LOSS, PROJECTION_ENERGY, SHARES, SIMILARITY, SIMILARITY_BY_SHARE, SPECTRUM, TAIL_ENERGY
from fda.processes import start_time
from fda.requests.runs import construct_settings, make_spec
from fda.store.records import UnitKey
from fda.store.store import Store
from fda.ui.feed import PATH
from fda.zoos.zoo import load_zoo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

POINTS = 12_000  # of all loss curves together
RUNS = 300  # in the table on Home
GROWTH = 5  # points added to each curve before an update
WAIT = 60_000  # ms before giving up
DRAWING = 250  # ms in which figures are drawn after an answer arrives
# pages in the order of opening, by their names in the navigation, and views of the run page
SWITCHES = ("Checkpoints", "Construct", "Run", "Scores", "Landscape", "Playground", "Home")
VIEWS = ("Scores", "Landscape")
SIMILARITY_AT = 20  # snapshots a unit
WIDTH = 128  # of the demo's blocks: entries of a spectrum


@dataclass(frozen=True)
class Measured:
    """One repeated measurement: median, least, most, and the limit that it must keep, if there is one."""

    name: str
    unit: str
    typical: float
    least: float
    most: float
    limit: float | None

    @property
    def kept(self) -> bool:
        """Whether the typical value is within the limit."""
        return self.limit is None or self.typical <= self.limit


def bench_page(
    *,
    points: int = POINTS,
    starts: int = 3,
    rounds: int = 3,
    updates: int = 10,
    runs: int = RUNS,
    pages: Sequence[str] = SWITCHES,
) -> dict[str, Any]:
    """Measure and return plain data. `starts`: cold starts; `rounds`: through `pages`, and of Home with `runs` runs;
    `updates`: of a run at work.

    UserError without Playwright or a Chromium.
    """
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        home = Path(name)
        store = Store(home)
        run_id = make_run(store, points)
        server = Server(home)
        with Heart(
            store, run_id, threading.Event(), Beats(store.run_dir(run_id))
        ):  # keeps the run from being declared crashed
            try:
                cold = [_cold_start(server, opened) for _ in range(starts)]
                switches = _switches(server, opened, pages, rounds)
                seen = _updates(server, opened, store, run_id, updates)
            finally:
                server.stop()
        home = _home_with(Path(name) / "many", opened, runs, rounds)
    rows = [
        _measured("cold start to the first page", "s", cold, 2.0),
        *(_measured(f"switch to {page}", "s", took, 0.5) for page, took in switches.items()),
        _measured("live update, server", "ms", [one.server_ms for one in seen], 100.0),
        _measured("live update, browser", "ms", [one.browser_ms for one in seen], 100.0),
        _measured("live update, sent", "KB", [one.bytes / 1e3 for one in seen], 100.0),
        _measured("motion after Home's first paint", "s", home.motion, 1.0),
        _measured(f"switch to Home with {runs} runs", "s", home.opened, 1.0),
        _measured(f"search among {runs} runs", "ms", home.filtered, 200.0),
    ]
    return {"points": points, "rows": [asdict(row) | {"kept": row.kept} for row in rows]}


def _home_with(home: Path, opened: "Browser", runs: int, rounds: int) -> HomeTimes:
    home.mkdir()
    fill(Store(home), runs)
    server = Server(home)
    server.start()
    try:
        return measure_home(server, opened, runs, rounds)
    finally:
        server.stop()


def make_run(store: Store, points: int) -> str:
    """A synthetic run of the demo zoo with this process as its worker; `points` of angle loss over all units."""
    construct = construct_settings("fast", family=load_zoo("demo").family)
    spec = make_spec("demo", construct=construct, methods=("ta", "fda:ta"), device="cpu")
    run_id = store.create_run(spec)
    store.claim_process(run_id, os.getpid(), start_time(os.getpid()))
    store.set_state(run_id, "running")
    units = _units(spec.tasks)
    steps = -(-points // len(units))
    store.add_units(run_id, [(key, 2 * steps) for key in units])
    for number, key in enumerate(units):
        random = np.random.default_rng(number)
        store.add_scalars(run_id, key, _losses(random, range(steps)))
        for step in np.linspace(0, steps - 1, min(SIMILARITY_AT, steps)).astype(int).tolist():
            for measure in (SIMILARITY, TAIL_ENERGY, PROJECTION_ENERGY):
                store.add_scalars(run_id, key, [(measure.key, step, 0.2 + 0.1 * random.random())])
            store.add_snapshot(run_id, key, step, SPECTRUM.key, np.sort(random.random(WIDTH))[::-1])
            store.add_snapshot(run_id, key, step, SIMILARITY_BY_SHARE.key, np.sort(random.random(len(SHARES))))
        store.update_unit(run_id, key, state="running", step=steps, loss=0.2, seconds=steps / 20)
    for _ in range(100):
        store.add_system(run_id, {"memory_bytes": 1e9, "cpu_percent": 100.0})
    return run_id


def _units(tasks: Sequence[str]) -> list[UnitKey]:
    return [UnitKey("construct", task, block) for task in tasks for block in range(4)]


def _losses(random: np.random.Generator, steps: range) -> list[tuple[str, int, float]]:
    """A falling, noisy curve like those of construction."""
    return [(ANGLE_LOSS.key, step, 0.9 / (1 + step / 40) ** 0.5 * random.uniform(0.97, 1.03)) for step in steps]


# opening and changing pages ------------------------------------------------------------------------------------------


def _cold_start(server: Server, opened: "Browser") -> float:
    """Seconds from starting the server to its first complete page, in a browser with an empty cache."""
    server.stop()
    context = opened.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    began = time.perf_counter()
    server.start()
    page.goto(server.url, wait_until="commit")
    _wait(page, STANDS)
    took = time.perf_counter() - began
    context.close()
    return took


def _switches(server: Server, chromium: "Browser", pages: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Page → seconds from the click to the complete page; the first round warms up the server and does not count."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(server.url)
    _wait(page, STANDS)
    seconds: dict[str, list[float]] = {name: [] for name in pages}
    for turn in range(rounds + 1):
        for name in pages:
            if name in VIEWS:
                link = page.locator(".st-key-view").get_by_role("radio", name=name, exact=True)
                opened = f"location.search.includes('view={name}')"
            else:
                link = page.locator("[data-testid=stSidebarNav]").get_by_role("link", name=name, exact=True)
                title = "Functional dual anchors" if name == "Home" else name
                opened = f"document.querySelector('[data-testid=stMain] h1')?.innerText === '{title}'"
            began = time.perf_counter()
            link.click()
            _wait(page, f"{opened} && {STANDS}")
            if turn:
                seconds[name].append(time.perf_counter() - began)
            page.wait_for_timeout(300)  # let this page finish drawing
    context.close()
    return seconds


def _wait(page: "Page", condition: str) -> None:
    page.wait_for_function(condition, timeout=WAIT)


# watching ------------------------------------------------------------------------------------------------------------


@dataclass
class Update:
    """One update of the run page: times of request and answer (s, Chromium's clock) and the answer's bytes.

    `browser_ms`: work of the page's main thread until the figures are drawn.
    """

    asked: float
    answered: float = 0.0
    bytes: int = 0
    browser_ms: float = 0.0

    @property
    def server_ms(self) -> float:
        return (self.answered - self.asked) * 1e3


class Asked:
    """The updates that a page has requested, from Chromium's network events."""

    def __init__(self, session: "CDPSession") -> None:
        self.updates: dict[str, Update] = {}  # by the request's id, in order
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.loadingFinished", self._received)

    def _sent(self, event: dict[str, Any]) -> None:
        if f"{PATH}/" in event["request"]["url"]:
            self.updates[event["requestId"]] = Update(event["timestamp"])

    def _received(self, event: dict[str, Any]) -> None:
        if update := self.updates.get(event["requestId"]):
            update.bytes, update.answered = int(event["encodedDataLength"]), event["timestamp"]

    def next(self, page: "Page") -> Update:
        """Wait for the next answered update."""
        known, deadline = len(self.updates), time.monotonic() + WAIT / 1e3
        while not (new := list(self.updates.values())[known:]) or not new[0].answered:
            if time.monotonic() > deadline:
                raise RuntimeError("the run page requests no updates")
            page.wait_for_timeout(10)
        return new[0]


def _updates(server: Server, opened: "Browser", store: Store, run_id: str, updates: int) -> list[Update]:
    """Add steps to the run as a worker does, and measure each update that the page requests."""
    context = opened.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(f"{server.url}/run?run={run_id}")
    _wait(page, f"{STANDS} && document.querySelector('.st-key-run-loss .fda-figure .main-svg')")
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    asked, random, measured = Asked(session), np.random.default_rng(0), []
    for turn in range(updates + 1):
        asked.next(page)  # so that all new points fall between two requests
        page.wait_for_timeout(DRAWING)
        grow(store, run_id, random)
        before = _busy(session)
        update = asked.next(page)
        page.wait_for_timeout(DRAWING)
        update.browser_ms = (_busy(session) - before) * 1e3
        if turn:  # the first warms up
            measured.append(update)
    context.close()
    return measured


def grow(store: Store, run_id: str, random: np.random.Generator) -> None:
    """Add GROWTH steps to every unit."""
    for unit in store.units(run_id, "construct"):
        steps = range(unit.step, unit.step + GROWTH)
        step = unit.step + GROWTH
        store.add_scalars(run_id, unit.key, _losses(random, steps), step=step, seconds=step / 20)


def _busy(session: "CDPSession") -> float:
    """Seconds that the page's main thread has worked so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def _measured(name: str, unit: str, values: Sequence[float], limit: float) -> Measured:
    return Measured(name, unit, statistics.median(values), min(values), max(values), limit)
