"""The ticker's script in a real browser: the tab is called after the run's progress, and its end in a hidden tab is told."""

import json

import pytest

from fda.ui.components import source
from fda.ui.ticker import ticker_update

pytestmark = pytest.mark.browser

# The element as Streamlit mounts it, in a tab whose visibility the test sets.
MOUNT = """async () => {
  Object.defineProperty(document, "hidden", { get: () => window.away });
  window.told = [];
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) { super(title, options); window.told.push([title, options.body]); }
  };
  const address = URL.createObjectURL(new Blob([SCRIPT], { type: "text/javascript" }));
  const mount = (await import(address)).default;
  window.show = (data) => { window.leave = mount({ data, parentElement: document.body, setTriggerValue() {} }); };
}"""


@pytest.fixture
def page(chromium):
    with chromium.new_context() as context:
        page = context.new_page()
        body = f"<title>Functional dual anchors</title>{source('ticker.html')}"
        page.route("https://fda.test/", lambda route: route.fulfill(body=body, content_type="text/html; charset=utf-8"))
        page.goto("https://fda.test/")
        yield page


def mount(page) -> None:
    page.evaluate(MOUNT.replace("SCRIPT", json.dumps(source("shared.js") + source("ticker.js"))))


def show(page, state: str, seen: str, title: str | None = None) -> None:
    update = ticker_update((state, "blue"), f"{state} for 3 s", 0.62, {}, seen, title)
    page.evaluate("(data) => window.show(data)", {**update, "feed": None})


def test_the_tab_is_called_after_the_progress_and_gets_its_name_back(page):
    mount(page)
    show(page, "running", "1", "62 % · anchors · FDA")
    assert page.title() == "62 % · anchors · FDA"
    page.evaluate("document.title = 'Functional dual anchors'")  # as Streamlit does when the page's script runs again
    show(page, "running", "2", "63 % · anchors · FDA")
    assert page.title() == "63 % · anchors · FDA"
    show(page, "done", "3")
    assert page.title() == "Functional dual anchors"
    show(page, "running", "4", "1 % · start · FDA")
    page.evaluate("window.leave()")
    assert page.title() == "Functional dual anchors", "another page is shown"


def test_a_run_that_ends_in_a_hidden_tab_is_told_to_a_reader_who_asked_for_it(page):
    page.context.grant_permissions(["notifications"], origin="https://fda.test")
    mount(page)
    show(page, "running", "1", "62 % · anchors · FDA")
    assert page.locator(".notify").is_hidden(), "asked already"
    show(page, "done", "2")
    assert page.evaluate("window.told") == [], "the reader sees it"
    page.evaluate("window.away = true")
    show(page, "running", "3")
    show(page, "failed", "4")
    show(page, "failed", "5")
    assert page.evaluate("window.told") == [["Run failed", "failed for 3 s"]]
    assert page.title() == "failed · FDA"
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    assert page.title() == "Functional dual anchors"


def test_a_run_at_work_offers_to_notify_and_nobody_is_notified_unasked(page):
    page.evaluate(
        "void Object.defineProperty(Notification, 'permission', { get: () => window.permission ?? 'default' })"
    )
    page.evaluate("void (Notification.requestPermission = async () => { window.permission = 'denied'; })")
    mount(page)
    show(page, "running", "1")
    button = page.get_by_role("button", name="Notify me")
    button.click()
    button.wait_for(state="hidden")
    page.evaluate("window.away = true")
    show(page, "done", "2")
    assert page.evaluate("window.told") == []
