"""The first screen of every page with a figure: figures begin near its top and fill most of it, and no text is cut off."""

import pytest

from fda.cancel import NEVER
from fda.requests.landscape import landscape_spec
from fda.requests.runs import construct_settings, make_spec
from fda.stages.analyses import analyse_run
from fda.stages.execute import execute
from fda.store.store import Store

pytestmark = pytest.mark.browser

HIGHEST = 150  # pixels: where the first figure begins at most
BAR = 56  # pixels: the bar's height at most
SHARES = {(1440, 900): 0.55, (1280, 720): 0.45}  # window → the figures' share of it at least

# The figures' boxes, as far as they are in the window. A page's figures do not overlap, so that areas add up.
FIRST_SCREEN = """() => {
  const boxes = [...document.querySelectorAll(".fda-figure")].map((one) => one.getBoundingClientRect());
  const high = (box) => Math.max(0, Math.min(innerHeight, box.bottom) - Math.max(0, box.top));
  const area = boxes.reduce((sum, box) => sum + box.width * high(box), 0);
  return { top: Math.min(...boxes.map((box) => box.top)), share: area / (innerWidth * innerHeight),
    bar: document.querySelector(".st-key-bar").getBoundingClientRect().height,
    sideways: document.querySelector("[data-testid=stMain]").scrollWidth - document.documentElement.clientWidth };
}"""


@pytest.fixture(scope="module")
def paths(server, tiny_zoo):
    """The address of every page with a figure: of a finished run with methods, and of its landscape."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDA_HOME", str(server.home))
        store = Store(server.home)
        settings = construct_settings("fast", steps=6, anchors=4)
        methods = ("pretrained", "individual", "average", "ta", "tsv", "fda:pretrained", "fda:ta", "fda:tsv")
        source = store.create_run(make_spec(tiny_zoo, construct=settings, methods=methods, device="cpu"))
        execute(store, source, NEVER)
        store.set_state(source, "done")
        analyse_run(store, source, ("covariance",), "cpu", NEVER)
        other = store.create_run(make_spec(tiny_zoo, construct=settings, methods=("ta",), device="cpu", seed=1))
        execute(store, other, NEVER)
        store.set_state(other, "done")
        plane = store.create_run(landscape_spec(store, source, points=5, samples=16, snapshots=3))
        execute(store, plane, NEVER)
        store.set_state(plane, "done")
    run, units = f"/run?run={source}", ("Spectrum", "Alignment", "Across+units")
    views = [
        run,
        *(f"{run}&tab={tab}" for tab in units),
        *(f"{run}&view={view}" for view in ("Scores", "Landscape", "Analyses")),
    ]
    parts = ["/playground", "/playground?controls=off", "/playground?part=1", "/playground?part=1&controls=off"]
    return ["/", *views, f"/run?run={plane}&view=Landscape", f"/runs?runs={source},{other}", "/checkpoints", *parts]


@pytest.mark.parametrize("window", SHARES, ids=lambda window: f"{window[0]}x{window[1]}")
def test_figures_begin_near_the_top_and_fill_the_first_screen(visit, paths, window):
    width, height = window
    page = visit.page
    page.set_viewport_size({"width": width, "height": height})
    screens = {}
    for path in paths:
        visit.open(path)
        page.wait_for_function("document.querySelectorAll('.fda-figure').length > 0")
        visit.settle()
        page.wait_for_timeout(300)
        screens[path] = page.evaluate(FIRST_SCREEN)
        visit.check()
    assert {path: one["top"] for path, one in screens.items() if one["top"] > HIGHEST} == {}
    assert {path: one["share"] for path, one in screens.items() if one["share"] < SHARES[window]} == {}
    assert {path: one["bar"] for path, one in screens.items() if one["bar"] > BAR} == {}
    assert {path for path, one in screens.items() if one["sideways"] > 0} == set()


def test_a_phone_shows_a_figure_on_each_first_screen_and_never_scrolls_sideways(visit, paths):
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 844})
    screens = {}
    for path in paths:
        visit.open(path)
        page.wait_for_function("document.querySelectorAll('.fda-figure').length > 0")
        visit.settle()
        screens[path] = page.evaluate(FIRST_SCREEN)
        visit.check()
    assert {path: one["top"] for path, one in screens.items() if one["top"] > 600} == {}
    assert {path for path, one in screens.items() if one["sideways"] > 0} == set()
