"""The Mixer in a real browser: bars follow a slider, by hand and by keyboard, without a run of the script; a mix that stands
for a second gets a number; a search moves the sliders."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

DESK = ".fda-mixer[data-shown]"
SCORE = "document.querySelector('.fda-mixer .channel .score').textContent"


def test_a_mix_by_hand(visit):
    page = visit.page
    visit.count_messages()
    visit.open("/mixer")
    page.wait_for_selector(DESK)
    expect(page.get_by_role("tabpanel").first).to_contain_text("Select a row")  # the first mix has its number
    slider = page.get_by_label("λ of digits")
    before, heard = page.evaluate(SCORE), visit.messages()
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{SCORE} !== '{before}'")
    assert visit.messages() == heard, "no script ran"
    expect(slider).to_have_attribute("aria-valuetext", "0.5")
    expect(slider).to_be_focused()
    expect(page.locator(".fda-mixer .formula")).to_contain_text("0.5·τ_digits")
    assert page.locator(".fda-mixer li.flipped").count() > 0
    page.wait_for_function("location.search.includes('digits')")  # a second later

    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2, steps=10)
    page.wait_for_function(f"Number({SCORE}) < {before}")  # while the thumb is still held
    page.mouse.up()

    page.get_by_role("tab", name="Propose λ").click()
    page.get_by_label("Evaluations").fill("6")
    page.get_by_role("button", name="Propose λ").click()
    page.get_by_text("6 evaluations").wait_for()
    expect(slider).to_be_enabled()
    visit.check()
