"""Measure the server under many visitors of one run: how long their updates take, and whether its memory stays flat.

A visitor opens the run page over Streamlit's own websocket and asks for updates over HTTP, as the page's element does
(`fda/ui/components/ticker.js`), but draws nothing: twenty browsers on one machine would measure the browsers. The run is a
real one of the demo zoo, whose worker constructs anchors on the same cores meanwhile.
"""

import asyncio
import re
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fda.bench.dashboard import Server
from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.requests.runs import construct_settings, make_spec
from fda.store.store import Store
from fda.ui.feed import PATH
from fda.ui.stream import ends_script, run_page
from fda.zoos.zoo import load_zoo

SESSIONS, UPDATES = 20, 100
PAUSE = 1.0  # seconds between an answer and the next question of a page
MEDIAN, LATE = 1_000.0, 2_000.0  # ms: limits of the median and of the 95th percentile, two cores
GROWTH = 5.0  # percent: limit of the growth of the server's memory
STEPS = 100_000  # of construction: more than the measurement lasts; plain ones, which begin at once
WAIT = 120.0  # seconds before giving up
FEED = re.compile(rf"{PATH}/[\w-]{{40,}}".encode())


@dataclass
class Seen:
    """What all visitors met. `opened`: s from connecting to the whole page; `took`: ms from a question to the whole answer;
    `bytes`: of the answers; `begun_anew`: answers that had the page's script run again; `memory`: bytes of the server after
    each update."""

    opened: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    bytes: int = 0
    begun_anew: int = 0
    memory: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Percent by which memory grew from the second tenth of the updates to the last tenth, medians."""
        tenth = len(self.memory) // 10
        begin, end = self.memory[tenth : 2 * tenth], self.memory[-tenth:]
        return 100 * (statistics.median(end) / statistics.median(begin) - 1)


def bench_load(*, sessions: int = SESSIONS, updates: int = UPDATES, pause: float = PAUSE) -> dict[str, Any]:
    """Open `sessions` visitors on a run at work, let each ask for `updates` updates, and return plain data.

    `pause`: seconds that a visitor waits between an answer and the next question; 0 asks as fast as the server answers.
    UserError without aiohttp.
    """
    try:
        import aiohttp
    except ImportError:
        raise UserError("visitors are played by aiohttp, which is not installed: `pip install aiohttp`.") from None
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        store = Store(home)
        construct = construct_settings("fast", family=load_zoo("demo").family, steps=STEPS, arithmetic="plain")
        run_id = jobs.start(store, make_spec("demo", construct=construct, methods=("ta", "fda:ta"), device="cpu"))
        server = Server(home)
        try:
            _until_constructing(store, run_id)
            server.start()
            seen = asyncio.run(_visit_together(server, run_id, sessions, updates, pause))
            if not store.run(run_id).active:
                raise UserError(
                    f"the watched run ended ({store.run(run_id).message}), so its load is missing: try again."
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UserError(f"the server stopped answering under this load ({error}): try fewer visitors.") from None
        finally:
            server.stop()
            if store.run(run_id).active:
                jobs.stop_and_wait(store, run_id)
    late = statistics.quantiles(seen.took, n=20)[-1]
    rows = [
        _row("opening Run, all at once", "s", statistics.median(seen.opened), None),
        _row("update, median", "ms", statistics.median(seen.took), MEDIAN),
        _row("update, 95th percentile", "ms", late, LATE),
        _row("update, longest", "ms", max(seen.took), None),
        _row("an answer", "KB", seen.bytes / len(seen.took) / 1e3, None),
        _row("memory of the server at the end", "MiB", seen.memory[-1] / 2**20, None),
        _row("its growth", "%", seen.growth, GROWTH),
    ]
    request = {"sessions": sessions, "updates": updates, "pause": pause}
    return request | {"begun_anew": seen.begun_anew, "rows": rows}


def _row(name: str, unit: str, value: float, limit: float | None) -> dict[str, Any]:
    return {"name": name, "unit": unit, "value": value, "limit": limit, "kept": limit is None or value <= limit}


def _until_constructing(store: Store, run_id: str) -> None:
    """Wait until a unit of the run has taken steps."""
    deadline = time.monotonic() + WAIT
    while not any(unit.step for unit in store.units(run_id, "construct")):
        if time.monotonic() > deadline or not store.run(run_id).active:
            raise UserError(f"the watched run does not construct: {store.run(run_id).message or 'it takes too long'}.")
        time.sleep(0.2)


async def _visit_together(server: Server, run_id: str, sessions: int, updates: int, pause: float) -> Seen:
    seen = Seen()
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    await asyncio.gather(*(_visit(server, process, run_id, updates, pause, seen) for _ in range(sessions)))
    return seen


async def _visit(server: Server, process: psutil.Process, run_id: str, updates: int, pause: float, seen: Seen) -> None:
    """One visitor: open the page, then ask and wait in turn. A session ends with its websocket, so that stays open."""
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT)) as client:
        stream = server.url.replace("http", "ws") + "/_stcore/stream"
        began = time.perf_counter()
        async with client.ws_connect(stream, protocols=("streamlit",), max_msg_size=0) as socket:
            messages: asyncio.Queue[bytes | None] = asyncio.Queue()
            reading = asyncio.create_task(_read(socket, messages))
            feed, last_seen = await _opened(socket, messages, run_id), ""
            seen.opened.append(time.perf_counter() - began)
            for _ in range(updates):
                await asyncio.sleep(pause)
                asked = time.perf_counter()
                async with client.get(server.url + feed, params={"seen": last_seen}) as answer:
                    body = await answer.read()
                seen.took.append((time.perf_counter() - asked) * 1e3)
                seen.memory.append(process.memory_info().rss)
                seen.bytes += len(body)
                update = orjson.loads(body)
                if update.get("again"):
                    seen.begun_anew += 1
                    feed = await _opened(socket, messages, run_id)
                else:
                    last_seen = update["seen"]
            reading.cancel()


async def _read(socket: Any, messages: asyncio.Queue[bytes | None]) -> None:
    """Put what the server sends into a queue, None at the end. Reading also answers its pings, without which it hangs up."""
    async for message in socket:
        messages.put_nowait(message.data)
    messages.put_nowait(None)


async def _opened(socket: Any, messages: asyncio.Queue[bytes | None], run_id: str) -> str:
    """Have the run page's script run, and return the path of the updates that it offers. UserError if it offers none."""
    await socket.send_bytes(run_page("run", f"run={run_id}"))
    feed = None
    while True:
        message = await asyncio.wait_for(messages.get(), WAIT)
        if message is None:
            raise UserError("the server hung up on a visitor: its log says why, or try fewer visitors.")
        if offered := FEED.search(message):
            feed = offered.group().decode()
        if ends_script(message):
            if feed is None:
                raise UserError(f"the page of run {run_id} offers no updates, so there is nothing to measure.")
            return feed
