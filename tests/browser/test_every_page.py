"""Every page and view in three windows and both themes: figures begin near its top and fill most of it, nothing is cut off,
and axe calls nothing serious or critical. Each is opened once, on a phone in the dark, where its server has drawn nothing
before; then it is enlarged and lightened, as it follows both."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from fda.bench.dashboard import Server
from fda.figures.theme import PALETTES
from fda.store.store import Store
from fda.ui import pages
from tests.support.browsing import PATIENCE, Finished, Visit

pytestmark = pytest.mark.browser

HIGHEST = 150  # pixels: where the first figure begins at most
ON_A_PHONE = 600
BAR = 56  # pixels: the bar's height at most
PHONE, SMALL, LARGE = (390, 844), (1280, 720), (1440, 900)
SHARES = {SMALL: 0.45, LARGE: 0.55}  # window → the figures' share of it at least
DRAWN = ".fda-figure :is(svg, canvas, li)"
RUN = "/run?run={run}"
WITH_FIGURE = ("home.py", "run.py", "runs.py", "checkpoints.py", "mixer.py", "playground.py")
WITHOUT_FIGURE = tuple(f"/{path.removesuffix('.py')}" for path, *_ in pages.PAGES if path not in WITH_FIGURE)
EXAMPLES = f"{RUN}&view=Examples"
WHOLE = ("/", RUN, f"{RUN}&tab=Alignment", f"{RUN}&view=Scores", EXAMPLES, f"{RUN}&view=Landscape", f"{RUN}&view=Analyses",
         "/runs?runs={run},{other}", "/checkpoints", "/mixer", "/playground", *WITHOUT_FIGURE)  # fmt: skip
ALIKE = (*(f"{RUN}&tab={tab}" for tab in ("Spectrum", "Across+units", "Real+inputs")), f"{RUN}&view=Scores&figure=Gains",
         "/run?run={plane}&view=Landscape", "/playground?part=1", "/playground?controls=off",
         "/playground?part=1&controls=off", "/mixer?lesson=True")  # fmt: skip  # axe would find the same as in one of WHOLE
UNMEASURED = (*WITHOUT_FIGURE, EXAMPLES)  # the number of cards depends on the models


# The boxes of figures and of real inputs' pictures, as far as they are in the window: none overlap, so that areas add up.
FIRST_SCREEN = """() => {
  const shown = document.querySelectorAll(".fda-figure, .fda-scrubber .cards:not(:empty)");
  const boxes = [...shown].map((one) => one.getBoundingClientRect());
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
# Whether the page, and its first figure if it has one, have the ground of the light or the dark theme.
HAS_GROUND = """(ground) => {
  const figure = [...document.querySelectorAll(".fda-figure")].find((figure) => figure._fullLayout);
  const probe = document.createElement("i");
  probe.style.color = ground;  // as rgb(…)
  document.body.append(probe);
  const wanted = getComputedStyle(probe).color;
  probe.remove();
  const page = getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor;
  return page === wanted && (!figure || figure._fullLayout.paper_bgcolor === ground);
}"""


@pytest.fixture(scope="module")
def server(finished: Finished) -> Server:
    return finished.server


@pytest.mark.parametrize("path", [*WHOLE, *ALIKE])
def test_figures_fill_the_first_screen_and_axe_finds_nothing_serious(visit, finished, path):
    page = visit.page
    page.emulate_media(color_scheme="dark")
    resize(page, PHONE)
    visit.open(path.format(run=finished.run, other=finished.other, plane=finished.plane))
    if path not in UNMEASURED:
        page.wait_for_selector(DRAWN, state="attached")
        visit.settle()
        phone = first_screen(page, PHONE)
        assert phone["top"] <= ON_A_PHONE and phone["sideways"] <= 0
        for window, share in SHARES.items():
            screen = first_screen(page, window)
            assert screen["top"] <= HIGHEST and screen["share"] >= share, window
            assert screen["bar"] <= BAR and screen["sideways"] <= 0, window
    resize(page, LARGE)
    page.wait_for_function(HAS_GROUND, arg=PALETTES["dark"].page)
    visit.check()  # before the light theme runs the script anew
    if path in WHOLE:
        assert findings(page) == []
        page.emulate_media(color_scheme="light")
        page.wait_for_function(HAS_GROUND, arg=PALETTES["light"].page)
        visit.settle()
        for _ in range(PATIENCE):  # colours of components follow the page a moment later
            if not (violations := findings(page)):
                break
            page.wait_for_timeout(1000)
        assert violations == []
        visit.check()


def resize(page: Page, window: tuple[int, int]) -> None:
    page.set_viewport_size({"width": window[0], "height": window[1]})
    page.wait_for_timeout(300)


def first_screen(page: Page, window: tuple[int, int]) -> dict[str, float]:
    resize(page, window)
    page.wait_for_function(f"({FIRST_SCREEN})().sideways <= 0")  # figures follow the window a moment later
    return page.evaluate(FIRST_SCREEN)


def findings(page: Page) -> list[str]:
    """What axe calls serious or critical: the rule, and where."""
    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    found = [one for one in violations if one["impact"] in ("serious", "critical")]
    return [f"{one['id']} at {node['html'][:120]}" for one in found for node in one["nodes"]]


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
