"""What waiting for the dashboard is like: its cold start, a change of page, and each second of a run that is watched.

A server of its own on a folder of its own, with one run that construction might have written, looked at in a real Chromium.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fda.bench.dashboard import STANDS, Server, browser
from fda.runs.processes import start_time
from fda.runs.records import UnitKey
from fda.runs.request import construct_settings, make_spec
from fda.runs.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

POINTS = 12_000  # of the loss curves together
GROWTH = 5  # points that each curve gets before an update
WAIT = 60_000  # ms, until something is given up
# pages that a reader goes through, by the names in the navigation, each opened from the one before it
SWITCHES = ("Checkpoints", "Construct", "Watch", "Anchors", "Compare", "Landscape", "Playground", "Home")
SIMILARITY_AT = 20  # snapshots a unit
WIDTH = 128  # of the demo's blocks: entries of a spectrum


@dataclass(frozen=True)
class Measured:
    """One thing measured several times: median, least, most, and the limit that it is built for (None: no limit)."""

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


def bench_page(*, points: int = POINTS, starts: int = 3, rounds: int = 3, updates: int = 10) -> dict[str, Any]:
    """Measure; plain data. `points` of the watched run, cold starts, rounds through the pages, and updates of Watch.

    UserError without Playwright or a Chromium.
    """
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        home = Path(name)
        store = Store(home)
        run_id = make_run(store, points)
        server = Server(home)
        try:
            cold = [_cold_start(server, opened) for _ in range(starts)]
            switches = _switches(server, opened, rounds, lambda: _beat(store, run_id))
            seen = _updates(server, opened, store, run_id, updates)
        finally:
            server.stop()
    rows = [
        _measured("cold start to the first page", "s", cold, 2.0),
        *(_measured(f"switch to {page}", "s", took, 0.5) for page, took in switches.items()),
        _measured("live update, server", "ms", [one.server_ms for one in seen], 100.0),
        _measured("live update, browser", "ms", [one.browser_ms for one in seen], 100.0),
        _measured("live update, sent", "KB", [one.kilobytes for one in seen], 100.0),
        _measured("a second without news, server", "ms", [one.idle_server_ms for one in seen], None),
        _measured("a second without news, browser", "ms", [one.idle_browser_ms for one in seen], None),
        _measured("a second without news, sent", "KB", [one.idle_kilobytes for one in seen], None),
    ]
    return {"points": points, "rows": [asdict(row) | {"kept": row.kept} for row in rows]}


def make_run(store: Store, points: int) -> str:
    """A run of the demo zoo whose worker is this process: `points` of angle loss over all units, all else in proportion."""
    spec = make_spec("demo", construct=construct_settings("fast"), methods=("ta", "fda:ta"), device="cpu")
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
            for name in ("similarity", "tail_energy", "projection_energy"):
                store.add_scalars(run_id, key, [(name, step, 0.2 + 0.1 * random.random())])
            store.add_snapshot(run_id, key, step, "spectrum", np.sort(random.random(WIDTH))[::-1])
            store.add_snapshot(run_id, key, step, "similarity_by_share", np.sort(random.random(50)))
        store.update_unit(run_id, key, state="running", step=steps, loss=0.2, seconds=steps / 20)
    for _ in range(100):
        store.add_system(run_id, {"memory_bytes": 1e9, "cpu_percent": 100.0})
    return run_id


def _units(tasks: Sequence[str]) -> list[UnitKey]:
    return [UnitKey("construct", task, block) for task in tasks for block in range(4)]


def _losses(random: np.random.Generator, steps: range) -> list[tuple[str, int, float]]:
    """A falling, noisy curve, as construction gives."""
    return [("angle_loss", step, 0.9 / (1 + step / 40) ** 0.5 * random.uniform(0.97, 1.03)) for step in steps]


def _beat(store: Store, run_id: str) -> None:
    store.beat(run_id, os.getpid())


# opening and changing pages ------------------------------------------------------------------------------------------


def _cold_start(server: Server, opened: "Browser") -> float:
    """Seconds from starting the server to its first page standing in a browser that has never seen it."""
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


def _switches(server: Server, opened: "Browser", rounds: int, beat: Callable[[], None]) -> dict[str, list[float]]:
    """Page → seconds from the click to the page standing; the first round warms up the server and does not count."""
    context = opened.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(server.url)
    _wait(page, STANDS)
    found: dict[str, list[float]] = {name: [] for name in SWITCHES}
    for turn in range(rounds + 1):
        for name in SWITCHES:
            beat()
            link = page.locator("[data-testid=stSidebarNav]").get_by_role("link", name=name, exact=True)
            began = time.perf_counter()
            link.click()
            title = "Functional dual anchors" if name == "Home" else name
            _wait(page, f"document.querySelector('[data-testid=stMain] h1')?.innerText === '{title}' && {STANDS}")
            if turn:
                found[name].append(time.perf_counter() - began)
            page.wait_for_timeout(300)  # what is still being drawn belongs to this page
    context.close()
    return found


def _wait(page: "Page", condition: str) -> None:
    page.wait_for_function(condition, timeout=WAIT)


# watching ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Update:
    """One update of Watch: the server's and the browser's time and what was sent; the same where nothing was new."""

    server_ms: float
    browser_ms: float
    kilobytes: float
    idle_server_ms: float
    idle_browser_ms: float
    idle_kilobytes: float


@dataclass
class Exchange:
    """What goes over the socket between a question of the browser and the end of the answer; times in seconds."""

    asked: float
    answered: float = 0.0
    bytes: int = 0


class Socket:
    """The exchanges of a page with its server, as Chromium's own network log has them."""

    def __init__(self, session: "CDPSession") -> None:
        self.exchanges: list[Exchange] = []
        session.send("Network.enable")
        session.on("Network.webSocketFrameSent", self._sent)
        session.on("Network.webSocketFrameReceived", self._received)

    def _sent(self, event: dict[str, Any]) -> None:
        self.exchanges.append(Exchange(event["timestamp"]))

    def _received(self, event: dict[str, Any]) -> None:
        if self.exchanges:
            self.exchanges[-1].answered = event["timestamp"]
            self.exchanges[-1].bytes += _size(event["response"])


def _size(response: dict[str, Any]) -> int:
    """Bytes of a frame: text as it is, a binary one (opcode 2) without the four thirds of base64."""
    data = response["payloadData"]
    return len(data) * 3 // 4 - data[-2:].count("=") if response["opcode"] == 2 else len(data.encode())


def _updates(server: Server, opened: "Browser", store: Store, run_id: str, updates: int) -> list[Update]:
    """Let the run grow as a worker does, and see what each of the page's own updates costs."""
    context = opened.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(f"{server.url}/watch?run={run_id}")
    loss = "document.querySelector('.st-key-watch-loss .fda-figure .main-svg')"
    _wait(page, f"{STANDS} && {loss}")
    page.wait_for_timeout(2_000)
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    socket = Socket(session)
    random = np.random.default_rng(len(store.units(run_id)))
    found = []
    for _ in range(updates):
        _grow(store, run_id, random)
        news, busy = _next_exchange(page, session, socket)
        _beat(store, run_id)
        idle, quiet = _next_exchange(page, session, socket)
        found.append(
            Update(
                (news.answered - news.asked) * 1e3,
                busy * 1e3,
                news.bytes / 1e3,
                (idle.answered - idle.asked) * 1e3,
                quiet * 1e3,
                idle.bytes / 1e3,
            )
        )
    context.close()
    return found


def _grow(store: Store, run_id: str, random: np.random.Generator) -> None:
    """A few more steps of every unit."""
    for unit in store.units(run_id, "construct"):
        steps = range(unit.step, unit.step + GROWTH)
        store.add_scalars(run_id, unit.key, _losses(random, steps))
        store.update_unit(run_id, unit.key, step=unit.step + GROWTH, seconds=(unit.step + GROWTH) / 20)
    _beat(store, run_id)


def _next_exchange(page: "Page", session: "CDPSession", socket: Socket) -> tuple[Exchange, float]:
    """The page's next update, and the seconds that the browser's main thread was busy until it stood."""
    before, busy = len(socket.exchanges), _busy(session)
    deadline = time.monotonic() + WAIT / 1e3
    while len(socket.exchanges) == before or not socket.exchanges[before].answered:
        if time.monotonic() > deadline:
            raise TimeoutError("Watch asked for no update")
        page.wait_for_timeout(20)
    page.wait_for_timeout(600)  # the answer's last parts, and drawing them; the next question comes after a second
    (exchange,) = socket.exchanges[before : before + 1]
    return exchange, _busy(session) - busy


def _busy(session: "CDPSession") -> float:
    """Seconds of work of the page's main thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def _measured(name: str, unit: str, values: Sequence[float], limit: float | None) -> Measured:
    return Measured(name, unit, statistics.median(values), min(values), max(values), limit)
