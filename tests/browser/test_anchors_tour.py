"""Anchors as a reader uses it: scrub without the server, lay runs over one another, look at real inputs, send the link."""

import json
import re

import pandas as pd
import pytest

from fda.store.store import Store
from fda.ui.run.anchors_real import read_neighbours
from tests.support.browsing import STEPS
from tests.support.made_anchors import made_run

pytestmark = pytest.mark.browser

FIGURE = "document.querySelector('.fda-scrubber .fda-figure')"
TITLES = "JSON.stringify([...document.querySelectorAll('.fda-scrubber .fda-figure')].map(f => f.layout?.title?.text))"
SPECTRUM = f"JSON.stringify(Array.from({FIGURE}?._fullData?.at(-1)?.y ?? []).slice(0, 12))"
PLACE = """([uid, n]) => {
  const figure = document.querySelector('.fda-scrubber .fda-figure'), { xaxis, yaxis } = figure._fullLayout;
  const trace = figure._fullData.find(one => one.uid === uid);
  figure.scrollIntoView({ block: 'center' });
  const { left, top } = figure.getBoundingClientRect();
  return [left + xaxis._offset + xaxis.l2p(trace.x[n]), top + yaxis._offset + yaxis.l2p(trace.y[n])];
}"""
READINGS = "document.querySelector('.fda-scrubber tbody')?.innerText"


@pytest.fixture(scope="module")
def server(finished):
    return finished.server


@pytest.fixture(scope="module")
def made(finished, tiny_zoo):
    """A run with generated numbers, whose map is known."""
    return made_run(Store(finished.server.home), tiny_zoo)


def wait_for_figures(page, count: int = 1) -> None:
    page.wait_for_function(f"document.querySelectorAll('.fda-scrubber .main-svg').length >= {2 * count}")


def shown(page) -> tuple:
    return json.loads(page.evaluate(TITLES)), json.loads(page.evaluate(SPECTRUM)), page.evaluate(READINGS)


def test_scrub_pin_look_at_real_inputs_export_and_send_the_link(visit, finished, made, tmp_path):
    weight = finished.run
    visit.count_messages()
    page = visit.open(f"/anchors?run={weight}")  # an old link
    wait_for_figures(page)
    main = page.locator("[data-testid=stMain]")

    # scrub: the server hears nothing while the slider moves, and the URL says where it was let go
    page.wait_for_function(f"{FIGURE}?.layout?.title?.text === 'Spectrum at step {STEPS}'")
    page.wait_for_function(READINGS)
    visit.settle()
    last = shown(page)
    step = main.get_by_label("Step: ")
    heard = visit.messages()
    step.evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    page.wait_for_function(f"{FIGURE}?.layout?.title?.text === 'Spectrum at step 0'")
    first = shown(page)
    assert first[1] != last[1] and first[2] != last[2]
    assert visit.messages() == heard > 0 and "step=" not in page.evaluate("location.search")
    step.evaluate("e => e.dispatchEvent(new Event('change'))")
    page.wait_for_function("location.search.includes('step=0')")
    visit.settle()
    assert shown(page) == first, "letting go redraws nothing"

    # play runs to the end by itself
    main.get_by_role("button", name="Play or pause").click()
    page.wait_for_function(f"{FIGURE}?.layout?.title?.text === 'Spectrum at step {STEPS}'")
    page.wait_for_function("!location.search.includes('step=')")

    # another start over it, then pinned
    main.get_by_role("button", name="Overlay runs").click()
    page.get_by_role("button", name="Overlay its 1 other init").click()
    page.wait_for_function(f"{READINGS}?.includes('weight (reference)')")
    visit.until(lambda: re.search(r"gauss σ 1\s.*\([+−]", page.evaluate(READINGS) or ""))  # differences as numbers
    visit.pick(page.get_by_role("combobox", name="Reference"), "gauss σ 1")
    page.wait_for_function(f"{READINGS}?.includes('gauss σ 1 (reference)')")

    page.keyboard.press("Escape")

    # take the numbers home
    main.get_by_role("button", name="Export").click()
    with page.expect_download() as got:
        page.get_by_role("button", name="Measures (CSV)").click()
    got.value.save_as(tmp_path / "measures.csv")
    table = pd.read_csv(tmp_path / "measures.csv")
    assert set(table["name"]) == {"weight", "gauss σ 1"} and table["step"].max() == STEPS
    with page.expect_download() as got:
        page.get_by_role("button", name="Spectrum (HTML)").click()
    got.value.save_as(tmp_path / "spectrum.html")
    assert f"Spectrum at step {STEPS}" in (tmp_path / "spectrum.html").read_text(encoding="utf-8")
    page.keyboard.press("Escape")

    # the same URL shows the same
    step = main.get_by_label("Step: ")
    step.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("location.search.includes('step=')")
    visit.settle()
    before, address = shown(page), page.evaluate("location.pathname + location.search")
    page = visit.open(address)
    wait_for_figures(page)
    page.wait_for_function(f"{READINGS}?.includes('(reference)')")
    visit.until(lambda: shown(page) == before)

    # spectra of all steps, which follow no slider
    main.get_by_role("tab", name="Across units").click()
    main.get_by_text("heatmap", exact=True).click()
    page.wait_for_function(f"{FIGURE}?._fullData?.[0]?.type === 'heatmap'")

    # the real inputs nearest to an anchor, by keyboard
    near = read_neighbours(Store(visit.server.home), weight, "red", 0)
    page = visit.open(f"/run?run={weight}&unit=red/0&tab=Real+inputs")
    wait_for_figures(page)
    for anchor in (0, 1):
        caption = f"cosine {near.cosines[anchor, 0]:.3f} · {near.samples.names[near.nearest[anchor, 0]]}"
        main.get_by_role("img", name=caption).first.wait_for()
        main.get_by_label("Anchor: ").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"location.search.includes('anchor={anchor + 1}')")

    # and by pointing at the map
    page = visit.open(f"/run?run={made}&unit=red/0&tab=Real+inputs")
    wait_for_figures(page)
    main.get_by_role("img", name="cosine 0.900 · even (no. 0)").wait_for()
    page.mouse.click(*page.evaluate(PLACE, ["anchors", 7]))
    page.wait_for_function("location.search.includes('anchor=7')")
    main.get_by_role("img", name="cosine 0.900 · odd (no. 21)").wait_for()
    page.mouse.move(*page.evaluate(PLACE, ["real-inputs", 4]))
    main.get_by_role("img", name="pointed at: even (no. 12)").wait_for()
    visit.check()
