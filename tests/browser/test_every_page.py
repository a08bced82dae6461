"""Every page and view in three windows and both themes: figures begin near its top and fill most of it, nothing is cut off,
and axe calls nothing serious or critical. Each is opened once, on a phone, then enlarged and darkened, as it follows both."""

from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from fda.bench.dashboard import Server
from fda.figures.theme import PALETTES
from fda.store.store import Store
from tests.support.browsing import Finished, Visit

pytestmark = pytest.mark.browser

HIGHEST = 150  # pixels: where the first figure begins at most
ON_A_PHONE = 600
BAR = 56  # pixels: the bar's height at most
PHONE, SMALL, LARGE = (390, 844), (1280, 720), (1440, 900)
SHARES = {SMALL: 0.45, LARGE: 0.55}  # window → the figures' share of it at least
DRAWN = ".fda-figure :is(svg, canvas, li)"
WITHOUT_FIGURE = ("/construct", "/paper", "/speed")
UNMEASURED = (*WITHOUT_FIGURE, "&view=Examples")  # how many cards there are depends on the models

# The figures' boxes, as far as they are in the window. A page's figures do not overlap, so that areas add up.
FIRST_SCREEN = """() => {
  const boxes = [...document.querySelectorAll(".fda-figure")].map((one) => one.getBoundingClientRect());
  const high = (box) => Math.max(0, Math.min(innerHeight, box.bottom) - Math.max(0, box.top));
  const area = boxes.reduce((sum, box) => sum + box.width * high(box), 0);
  return { top: Math.min(...boxes.map((box) => box.top)), share: area / (innerWidth * innerHeight),
    bar: document.querySelector(".st-key-bar").getBoundingClientRect().height,
    sideways: document.querySelector("[data-testid=stMain]").scrollWidth - document.documentElement.clientWidth };
}"""
MATRIX = "document.querySelector('.st-key-examples-confusion-before .fda-figure')"
# The busiest wrong cell of the matrix: where it is, and its number of samples.
CELL = f"""() => {{
  const figure = {MATRIX}, {{ xaxis, yaxis }} = figure._fullLayout, counts = figure._fullData[0].customdata;
  const cells = counts.flatMap((row, y) => [...row].map((count, x) => ({{ x, y, count }}))).filter(({{ x, y }}) => x !== y);
  const {{ x, y, count }} = cells.reduce((most, one) => (one.count > most.count ? one : most));
  const {{ left, top }} = figure.getBoundingClientRect();
  return [left + xaxis._offset + xaxis.l2p(x), top + yaxis._offset + yaxis.l2p(y), count];
}}"""
IS_DARK = f"""() => {{
  const figure = [...document.querySelectorAll(".fda-figure")].find((one) => one._fullLayout);
  const ground = getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor;
  return ground !== "rgb(251, 250, 246)" && (!figure || figure._fullLayout.paper_bgcolor === "{PALETTES["dark"].page}");
}}"""


@dataclass(frozen=True)
class Seen:
    """What was measured of one page. `screens`: by window; `serious`: axe's findings by theme."""

    screens: dict[tuple[int, int], dict[str, float]]
    serious: dict[str, list[str]]


def addresses(finished: Finished) -> dict[str, bool]:
    """Every page with a figure, and the others; whether axe looks at it: it would find the same in what looks alike."""
    run = f"/run?run={finished.run}"
    whole = [
        "/",
        run,
        f"{run}&tab=Alignment",
        *(f"{run}&view={view}" for view in ("Scores", "Examples", "Landscape", "Analyses")),
    ]
    whole += [f"/runs?runs={finished.run},{finished.other}", "/checkpoints", "/playground", *WITHOUT_FIGURE]
    alike = [
        *(f"{run}&tab={tab}" for tab in ("Spectrum", "Across+units", "Real+inputs")),
        f"{run}&view=Scores&figure=Gains",
    ]
    alike += [f"/run?run={finished.plane}&view=Landscape", "/playground?part=1"]
    alike += ["/playground?controls=off", "/playground?part=1&controls=off"]
    return dict.fromkeys(whole, True) | dict.fromkeys(alike, False)


@pytest.fixture(scope="module")
def server(finished: Finished) -> Server:
    return finished.server


@pytest.fixture(scope="module")
def seen(finished: Finished, window: Page) -> dict[str, Seen]:
    visit = Visit(window, finished.server)
    found = {path: look(visit, path, axe=axe) for path, axe in addresses(finished).items()}
    visit.leave()
    return found


def look(visit: Visit, path: str, *, axe: bool) -> Seen:
    page, screens, serious = visit.page, {}, {}
    resize(page, PHONE)
    page.emulate_media(color_scheme="light")
    visit.open(path)
    if not path.endswith(UNMEASURED):
        page.wait_for_selector(DRAWN, state="attached")
        visit.settle()
        for size in (PHONE, SMALL, LARGE):
            resize(page, size)
            screens[size] = page.evaluate(FIRST_SCREEN)
    if axe:
        serious["light"] = findings(page)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(IS_DARK)
        visit.settle()
        serious["dark"] = findings(page)
    visit.check()
    return Seen(screens, serious)


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(300)


def findings(page: Page) -> list[str]:
    """What axe calls serious or critical: the rule, and where."""
    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    found = [one for one in violations if one["impact"] in ("serious", "critical")]
    return [f"{one['id']} at {node['html'][:120]}" for one in found for node in one["nodes"]]


def at(seen: dict[str, Seen], size: tuple[int, int]) -> dict[str, dict[str, float]]:
    return {path: one.screens[size] for path, one in seen.items() if one.screens}


@pytest.mark.parametrize("size", SHARES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_figures_begin_near_the_top_and_fill_the_first_screen(seen, size):
    screens = at(seen, size)
    assert {path: one["top"] for path, one in screens.items() if one["top"] > HIGHEST} == {}
    assert {path: one["share"] for path, one in screens.items() if one["share"] < SHARES[size]} == {}
    assert {path: one["bar"] for path, one in screens.items() if one["bar"] > BAR} == {}
    assert {path for path, one in screens.items() if one["sideways"] > 0} == set()


def test_a_phone_shows_a_figure_on_each_first_screen_and_never_scrolls_sideways(seen):
    screens = at(seen, PHONE)
    assert {path: one["top"] for path, one in screens.items() if one["top"] > ON_A_PHONE} == {}
    assert {path for path, one in screens.items() if one["sideways"] > 0} == set()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_finding(seen, theme):
    checked = {path: one.serious[theme] for path, one in seen.items() if one.serious}
    assert len(checked) == 13 and {path: found for path, found in checked.items() if found} == {}


def test_a_stranger_sees_a_run_in_its_four_views_and_exports_a_figure_in_eight_clicks(visit, finished, tmp_path):
    page, main = visit.page, visit.page.locator("[data-testid=stMain]")
    Store(finished.server.home).describe(finished.run, name="five minutes")
    visit.open("/?search=five+minutes")
    box = page.locator("[data-testid=stDataFrame]").last
    box.scroll_into_view_if_needed()
    page.wait_for_selector("[data-testid=stDataFrame] canvas")
    at = box.bounding_box()
    page.mouse.click(at["x"] + 16, at["y"] + 36 + 17)
    main.get_by_role("link", name="Open").click()
    stands(visit, "Angle loss over steps")
    main.get_by_role("radio", name="Scores").click()
    stands(visit, "Average accuracy")
    main.get_by_role("radio", name="Examples").click()
    page.wait_for_function(f"{MATRIX}?._fullData?.length")
    visit.settle()
    x, y, count = page.evaluate(CELL)
    page.mouse.click(x, y)
    page.wait_for_function("location.search.includes('ex_said_before=')")
    visit.until(lambda: page.locator(".fda-examples li").count() == min(24, count) > 0)
    main.get_by_role("radio", name="Landscape").click()
    stands(visit, "over a plane of weights")
    main.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download SVG").click()
    download.value.save_as(tmp_path / "landscape.svg")
    assert "FDA" in (tmp_path / "landscape.svg").read_text(encoding="utf-8")
    visit.check()


def stands(visit: Visit, title: str) -> None:
    """Wait until the view whose figure has this title is drawn."""
    visit.page.wait_for_function(
        "(title) => [...document.querySelectorAll('.fda-figure')].some((one) => one.layout?.title?.text.includes(title))",
        arg=title,
    )
    visit.settle()
