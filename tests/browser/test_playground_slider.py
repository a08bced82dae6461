"""The Playground in a real browser: what answers while a slider is dragged, by hand and by keyboard."""

import json

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SHARE = "document.querySelector('.fda-figure')?._fullData?.find(t => t.name === 'trace 1')?.y.at(-1)"


def open_part(visit, query: str):
    page = visit.open(f"/playground?{query}")
    page.wait_for_function("document.querySelectorAll('.fda-figure .main-svg').length >= 4")
    visit.settle()
    return page


def figure_titles(page) -> list[str]:
    return json.loads(
        page.evaluate("JSON.stringify([...document.querySelectorAll('.fda-figure')].map(f => f.layout?.title?.text))")
    )


def test_figures_follow_a_slider_before_it_is_let_go(visit):
    page = open_part(visit, "part=3&sigma=10")
    page.wait_for_function(f"{SHARE} > 0.8")  # a large start: the tail stays
    sigma = page.get_by_label("σ: ")
    sigma.scroll_into_view_if_needed()

    def standing():  # a figure that comes late moves the slider away from under the mouse
        before = sigma.bounding_box()
        page.wait_for_timeout(500)
        return before if sigma.bounding_box() == before else None

    box = visit.until(standing)
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 7, height)
    page.mouse.down()
    for place in range(20):  # faster than any answer: values are skipped, none is lost
        page.mouse.move(box["x"] + box["width"] * (0.95 - 0.55 * place / 19), height)
        page.wait_for_timeout(16)
    page.wait_for_function("location.search.endsWith('sigma=0.01')")  # while the thumb is still held
    page.wait_for_function(f"{SHARE} < 0.01")
    page.mouse.up()
    visit.check()


def test_the_keyboard_moves_a_slider_and_it_says_its_value(visit):
    page = open_part(visit, "part=2&rate=0.001")
    rate = page.get_by_label("Learning rate: ")
    rate.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("location.search.includes('rate=0.03')")
    expect(rate).to_have_attribute("aria-valuetext", "0.03")
    expect(rate).to_be_focused()
    page.get_by_text("lies flat").wait_for()
    visit.check()


def test_lessons_follow_one_another_and_a_reload_shows_the_same(visit):
    page = open_part(visit, "part=1")
    for title, figure in (
        ("2 The gradient turns", "The gradient turns towards Δ"),
        ("3 Where the energy lies", "Where the anchors' energy lies"),
        ("4 How to start", "Angle loss by start"),
    ):
        page.get_by_text(title).click()
        page.wait_for_function(
            "t => [...document.querySelectorAll('.fda-figure')].some(f => f.layout?.title?.text === t)", arg=figure
        )
        visit.settle()
    page.get_by_role("button", name="Weight rows").click()
    page.wait_for_function("location.search.includes('start=weight')")
    visit.settle()
    shown, address = figure_titles(page), page.evaluate("location.search")
    page.reload()
    page = open_part(visit, address.removeprefix("?"))
    visit.until(lambda: figure_titles(page) == shown)
    expect(page.get_by_label("σ: ")).to_be_disabled()
    visit.check()


def test_a_phone_has_no_sideways_scroll_and_two_sliders_in_a_row(visit):
    visit.page.set_viewport_size({"width": 390, "height": 844})
    page = open_part(visit, "part=1")
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollWidth <= 390")

    def in_one_row() -> bool:
        anchors, rank = (page.get_by_label(name).bounding_box() for name in ("Anchors: ", "Rank of Δ: "))
        return abs(anchors["y"] - rank["y"]) < 2 and anchors["x"] < rank["x"]

    visit.until(in_one_row)
    visit.check()
