"""Measure the Mixer as a reader feels it: from a slider's move in a real Chromium to the new bars on its screen.

Uses its own server and FDA_HOME. The zoo `large` is written for the measurement (`fda.bench.large_zoo`). Every move is by an
arrow key, so that it has one beginning, and leads to a mix that was never scored before.
"""

import random
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fda.bench.dashboard import Server, browser
from fda.bench.large_zoo import NAME as LARGE
from fda.bench.large_zoo import write_large_zoo
from fda.bench.page import Measured

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOVES = 200
MEDIAN, LATE = 400.0, 800.0  # ms: limits of the median and of the 95th percentile, demo zoo, two cores
WAIT = 300_000  # ms before giving up: a large zoo takes a while to open
WARM = 5  # moves before the first that counts
HIGHEST = 20  # steps of an arrow key above the lowest λ of a walk

# The clock begins at the key and stops in the frame after the new bars are in place.
CLOCK = """() => {
  const desk = document.querySelector(".fda-mixer");
  window.took = [];
  let began = null;
  document.addEventListener("keydown", () => (began = performance.now()), true);
  new MutationObserver(() => requestAnimationFrame(() => {
    if (began !== null) window.took.push(performance.now() - began);
    began = null;
  })).observe(desk, { attributes: true, attributeFilter: ["data-shown"] });
}"""


def bench_mixer(zoo: str = "demo", *, moves: int = MOVES, seed: int = 0) -> dict[str, Any]:
    """Measure `moves` moves on the page and return plain data. UserError without Playwright or a Chromium."""
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        home = Path(name)
        if zoo == LARGE:
            write_large_zoo(home / "zoos")
        server = Server(home)
        server.start()
        try:
            page = opened.new_context(viewport={"width": 1400, "height": 1000}).new_page()
            page.goto(f"{server.url}/mixer?zoo={zoo}")
            page.wait_for_selector(".fda-mixer[data-shown]", timeout=WAIT)
            took = _moves(page, moves, random.Random(seed))
            lines = page.locator(".fda-mixer .key").inner_text().split("\n")
        finally:
            server.stop()
    late = statistics.quantiles(took, n=20)[-1]
    median, late_limit = (MEDIAN, LATE) if zoo == "demo" else (None, None)
    rows = [
        Measured("a move, median", "ms", statistics.median(took), min(took), max(took), median),
        Measured("a move, 95th percentile", "ms", late, min(took), max(took), late_limit),
    ]
    samples = next((one for one in lines if "samples" in one), "")
    return {"zoo": zoo, "moves": moves, "samples": samples, "rows": [asdict(row) | {"kept": row.kept} for row in rows]}


def _moves(page: "Page", moves: int, chance: random.Random) -> list[float]:
    """Milliseconds of each move of a walk over the sliders."""
    page.evaluate(CLOCK)
    sliders = page.locator(".fda-mixer .channel:not(.average) input")
    steps, seen = [6] * sliders.count(), set()  # steps above λ = 0
    for done in range(1, WARM + moves + 1):
        while True:
            index, way = chance.randrange(len(steps)), chance.choice((-1, 1))
            after = [step + (way if at == index else 0) for at, step in enumerate(steps)]
            if 0 <= after[index] <= HIGHEST and tuple(after) not in seen:
                break
        steps = after
        seen.add(tuple(steps))
        sliders.nth(index).focus()
        page.keyboard.press("ArrowRight" if way > 0 else "ArrowLeft")
        page.wait_for_function(f"window.took.length >= {done}", timeout=WAIT)
    return page.evaluate("window.took")[WARM:]
