"""The recorded demo on Home: it plays at once, holds while paused, is dragged, works by keyboard and without motion."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TIP = ".fda-recording .loss circle"  # the moving end of the first loss curve


def place(page) -> tuple[str, str]:
    return page.locator(TIP).first.get_attribute("cx"), page.locator(TIP).first.get_attribute("cy")


def test_it_plays_at_once_holds_while_paused_and_goes_where_it_is_dragged(visit):
    page = visit.page
    page.goto(visit.server.url)
    page.locator(TIP).first.wait_for()
    first = place(page)
    page.wait_for_timeout(500)
    assert place(page) != first, "it moves without a click"

    button, slider = page.locator(".fda-recording button"), page.get_by_role("slider", name="Time in the recording")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_contain_text("Play")
    held = place(page), slider.input_value()
    page.wait_for_timeout(500)
    assert (place(page), slider.input_value()) == held

    slider.focus()
    page.keyboard.press("End")
    expect(page.locator(".fda-recording output")).to_have_text("score: 8 of 8 methods")
    visit.until(lambda: order(page) == sorted(order(page), reverse=True))
    assert len(order(page)) == 8
    page.keyboard.press("Home")
    expect(page.locator(".fda-recording output")).to_contain_text("anchors: step 0 of")
    button.press("Enter")
    expect(button).to_contain_text("Pause")
    visit.settle()
    visit.check()


def order(page) -> list[float]:
    """The scores as they are shown, from top to bottom."""
    shown = [(bar.bounding_box()["y"], float(bar.locator(":scope > :last-child").inner_text()))
             for bar in page.locator(".fda-recording li").all()]  # fmt: skip
    return [score for _, score in sorted(shown)]


def test_without_motion_its_end_stands_still_and_axe_finds_nothing_serious(visit):
    page = visit.page
    page.emulate_media(reduced_motion="reduce")
    visit.open("/")
    page.locator(TIP).first.wait_for()
    expect(page.locator(".fda-recording output")).to_have_text("score: 8 of 8 methods")
    before = place(page)
    page.wait_for_timeout(500)
    assert place(page) == before
    axe = Axe().run(page, context=".fda-recording").response["violations"]
    assert [one["id"] for one in axe if one["impact"] in ("serious", "critical")] == []
    visit.check()
