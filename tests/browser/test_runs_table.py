"""The table of runs in a browser: a run is named, tagged, compared with another, deleted by the dialog that names it, brought
back, and run again with another seed."""

import pytest
from playwright.sync_api import Error, expect

from fda.bench.dashboard import Server
from fda.jobs import lifecycle as jobs
from fda.requests.runs import construct_settings, make_spec
from fda.store.store import Store
from fda.zoos.zoo import load_zoo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(own_server: Server) -> Server:
    return own_server


@pytest.fixture
def runs(server, monkeypatch) -> list[str]:
    """Two runs of the demo that were cancelled, seeds 0 and 1."""
    monkeypatch.setenv("FDA_HOME", str(server.home))
    store, ids = Store(server.home), []
    for seed in (0, 1):
        construct = construct_settings("fast", family=load_zoo("demo").family, seed=seed)
        ids.append(store.create_run(make_spec("demo", construct=construct, methods=("ta",), device="cpu", seed=seed)))
        store.set_state(ids[-1], "cancelled")
    return ids


def select(visit, row: int) -> None:
    """Click the box before a row of the table, counted from 0, until the actions show."""
    table = visit.page.locator("[data-testid=stDataFrame]").last

    def selected() -> bool:
        try:
            table.scroll_into_view_if_needed()
        except Error:  # a run of the script has just put another table in its place
            return False
        if not (box := table.bounding_box()):
            return False
        visit.page.mouse.move(
            box["x"] + box["width"] / 2, box["y"]
        )  # off the sidebar, which lies over the rows while it is open
        visit.page.wait_for_timeout(500)
        visit.page.mouse.click(box["x"] + 16, box["y"] + 36 + 35 * row + 17)
        try:  # a second click would take the first one back, so a slow page gets its time
            visit.page.locator(".st-key-run-actions").wait_for(timeout=10_000)
        except Error:
            return False
        visit.settle()
        return True

    visit.until(selected)


def test_runs_are_named_compared_deleted_brought_back_and_run_again(visit, server, runs):
    page, store = visit.page, Store(server.home)
    dialog, main = page.get_by_role("dialog"), page.locator("[data-testid=stMain]")
    visit.open("/")
    select(visit, 1)
    page.get_by_role("button", name="Edit…").click()
    dialog.get_by_role("textbox", name="Name").fill("short *steps*")
    dialog.get_by_role("textbox", name="Tags").fill("best paper")
    dialog.get_by_role("button", name="Save").click()
    visit.until(lambda: store.run(runs[0]).name == "short *steps*" and store.run(runs[0]).tags == ("best", "paper"))
    expect(dialog).to_have_count(0)

    page.locator(".st-key-search input").fill("short")
    visit.until(lambda: "search=short" in page.url)
    page.locator(".st-key-search input").fill("")
    visit.until(lambda: "search=short" not in page.url)  # a selection before that is of the list that goes
    visit.settle()

    expect(page.locator(".st-key-run-actions")).to_have_count(0)  # another list: nothing is selected
    select(visit, 0)
    select(visit, 1)
    page.get_by_role("link", name="Compare").click()
    page.wait_for_url("**/runs?*")
    expect(main).to_contain_text("2 runs in 1 group")

    page.locator("[data-testid=stSidebarNav]").get_by_role("link", name="Home", exact=True).click()
    expect(page.locator(".st-key-search")).to_be_visible()
    select(visit, 1)
    page.get_by_role("button", name="Delete…").click()
    expect(dialog).to_contain_text("short *steps*")
    expect(dialog).to_contain_text(runs[0])
    dialog.get_by_role("button", name="Delete 1 run").click()
    expect(main).to_contain_text("Deleted 1 run: short *steps*")
    assert [run.run_id for run in store.runs()] == [runs[1]]
    page.get_by_role("button", name="Undo").click()
    visit.until(lambda: [run.run_id for run in store.runs()] == [runs[1], runs[0]])
    expect(main).not_to_contain_text("Deleted 1 run")

    if not page.locator(".st-key-run-actions").is_visible():
        select(visit, 0)
    page.get_by_role("button", name="Run again with…").click()
    page.wait_for_url("**/construct?*")
    seed = page.locator(".st-key-seed input")
    expect(seed).to_have_value("1")
    seed.fill("2")
    page.get_by_role("button", name="Start", exact=True).click()  # at once: the script has not seen the 2 before
    page.wait_for_url("**/run?run=*")
    (again, *_), first = store.runs(), store.run(runs[1])
    jobs.stop(store, again.run_id)
    other = {"seed": 2, "construction": first.spec.construction.model_copy(update={"seed": 2})}
    assert again.spec == first.spec.model_copy(update=other), "the same with another seed"
    visit.until(lambda: not store.run(again.run_id).active)
    visit.check()
