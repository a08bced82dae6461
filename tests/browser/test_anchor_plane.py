"""Part 0 of the Playground in a real browser: anchors follow the mouse and the arrow keys, and Play ends below the goal, all
without the server."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from fda.analysis.playground import angle_loss
from fda.ui.anchor_plane import DELTA, GOAL, START

pytestmark = pytest.mark.browser


def degrees_of(points) -> str:
    loss, _ = angle_loss(np.array(DELTA), np.array(points).T)
    return f"{np.degrees(np.arccos(1 - loss)):.1f}°"


def anchor(page: Page, number: int):
    return page.get_by_role("button", name=f"Anchor {number} at")


def open_part_0(visit, query: str = "") -> Page:
    visit.count_messages()
    page = visit.open(f"/playground{query}")
    expect(anchor(page, 1)).to_be_visible()
    visit.settle()
    page.wait_for_timeout(500)
    page.evaluate("window.messages = 0")
    return page


def placed(page: Page) -> list[list[float]]:
    """The anchors as they are drawn; those in the markup that the script has not placed yet are left out."""
    moves = page.eval_on_selector_all(
        ".fda-plane .anchor[transform]", "all => all.map((one) => one.getAttribute('transform'))"
    )
    return [[float(x) / 100, -float(y) / 100] for x, y in (re.findall(r"-?[\d.]+(?:e-?\d+)?", move) for move in moves)]


def test_an_anchor_follows_the_mouse_and_the_arrow_keys(visit):
    page = open_part_0(visit)
    shown = page.locator(".fda-plane output")
    expect(shown).to_have_text(degrees_of(START))
    box = anchor(page, 4).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 70, steps=8)
    visit.until(lambda: placed(page)[3][1] > START[3][1] + 0.2)
    dragged = placed(page)
    assert dragged[3][0] > START[3][0] + 0.1
    assert [one for j, one in enumerate(dragged) if j != 3] == pytest.approx(np.delete(START, 3, 0))
    expect(shown).to_have_text(degrees_of(dragged))  # while the mouse still holds it
    page.mouse.up()
    expect(anchor(page, 4)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowLeft")
    moved = [dragged[3][0] - 0.01, dragged[3][1] + 0.05]
    visit.until(lambda: placed(page)[3] == pytest.approx(moved))
    expect(shown).to_have_text(degrees_of([*dragged[:3], moved, dragged[4]]))
    expect(anchor(page, 4)).to_have_attribute(
        "aria-label", f"Anchor 4 at {moved[0]:.2f}, {moved[1]:.2f}; arrow keys move it".replace("-", "−")
    )
    page.keyboard.press("Tab")
    expect(anchor(page, 5)).to_be_focused()
    assert visit.messages() == 0
    page.reload()  # the address keeps the anchors
    visit.until(lambda: placed(page)[3:4] == [pytest.approx(moved, abs=1e-3)])
    visit.check()


def test_reaching_the_goal_by_hand_is_said(visit):
    circle = [(np.cos(angle), np.sin(angle)) for angle in np.arange(5) * 2 * np.pi / 5]
    circle[0] = (circle[0][0], -0.5)
    page = open_part_0(visit, "?anchors=" + ";".join(f"{x:.3f},{y:.3f}" for x, y in circle))
    expect(page.locator(".fda-plane output")).to_have_text(degrees_of(np.round(circle, 3)))
    anchor(page, 1).focus()
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    expect(page.locator(".fda-plane .message")).to_contain_text(f"You reached {GOAL}° by hand")
    assert visit.messages() == 0
    visit.check()


def test_play_brings_the_angle_below_the_goal_and_can_be_paused(visit):
    page = open_part_0(visit)
    shown = page.locator(".fda-plane output")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").click()
    visit.until(lambda: placed(page) != [pytest.approx(one) for one in START])
    page.wait_for_timeout(200)
    paused = placed(page)
    page.wait_for_timeout(300)
    assert placed(page) == paused
    expect(shown).to_have_text(degrees_of(paused))
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".fda-plane .message")).to_contain_text(f"Gradient descent came below {GOAL}°")
    loss, _ = angle_loss(np.array(DELTA), np.array(placed(page)).T)
    assert np.degrees(np.arccos(1 - loss)) < GOAL
    page.get_by_role("button", name="Start anew").click()
    expect(shown).to_have_text(degrees_of(START))
    assert visit.messages() == 0
    visit.check()


def test_a_finger_drags_an_anchor_but_scrolls_beside_it(visit):
    page = open_part_0(visit)
    assert page.evaluate("getComputedStyle(document.querySelector('.fda-plane .anchor')).touchAction") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.fda-plane svg')).touchAction") == "auto"
    visit.check()
