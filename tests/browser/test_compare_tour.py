"""Scores as a reader uses them: pin a baseline, filter rows, take every format and a model home, send the link."""

import json
import re
import zipfile

import open_clip
import pandas as pd
import pytest
import torch
from playwright.sync_api import TimeoutError, expect
from safetensors.torch import load_file

from fda.store.store import Store
from tests.support.browsing import done

pytestmark = pytest.mark.browser

CHART = ".fda-figure"
BAR_LABELS = f"""(document.querySelector('{CHART}')?._fullData ?? []).filter(t => t.type === 'bar')
    .flatMap(t => Array.from(t.y)).join(' ')"""


@pytest.fixture(scope="module")
def server(finished):
    return finished.server


@pytest.fixture(scope="module")
def run_id(finished):
    return finished.run


def bars(page) -> str:
    """The labels of the bars, one after the other."""
    return page.evaluate(BAR_LABELS)


def shown(page) -> dict:
    """What a reader sees of the figure: its title, and every trace's numbers."""
    script = f"""(() => {{
        const figure = document.querySelector('{CHART}');
        const traces = (figure?._fullData ?? []).map(t => [t.name, Array.from(t.x ?? []), Array.from(t.y ?? [])]);
        return JSON.stringify([figure?.layout?.title?.text, traces]);
    }})()"""
    return json.loads(page.evaluate(script))


def wait_for_figure(page) -> None:
    page.wait_for_function(f"(document.querySelector('{CHART}')?._fullData ?? []).length > 0")


def test_pin_filter_export_and_send_the_link(visit, run_id, tmp_path):
    page = visit.open(f"/run?run={run_id}&view=Scores")
    wait_for_figure(page)
    first = ("Pretrained", "Individual", "Task arithmetic", "WUDI", "FDA (TA)")
    visit.until(lambda: all(name in bars(page) for name in first))

    # pin a baseline
    visit.pick(page.get_by_role("combobox", name="Baseline"), "TIES", exact=True)
    page.get_by_role("tab", name="Differences").click()
    visit.settle()
    wait_for_figure(page)
    page.wait_for_function(f"document.querySelector('{CHART}')?.layout?.title?.text?.includes('TIES')")

    # filter rows: the references stay
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="Task arithmetic", exact=True).click()
    visit.settle()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Bars").click()
    visit.settle()
    page.wait_for_function(f"() => {BAR_LABELS} && !{BAR_LABELS}.includes('WUDI')")
    visit.until(lambda: "FDA" not in bars(page))
    assert all(name in bars(page) for name in ("Pretrained", "Individual", "Task arithmetic"))

    # every format
    files = {}
    page.get_by_role("button", name="Export").click()
    for name in ("Results (CSV)", "Table (Markdown)", "Table (LaTeX)", "What is shown (HTML)", "Bars (HTML)"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        target = tmp_path / download.value.suggested_filename
        download.value.save_as(target)
        files[name] = target
    table = pd.read_csv(files["Results (CSV)"])
    assert {"pretrained", "individual", "ta"} <= set(table["method"]) and "wudi" not in set(table["method"])
    store = Store(visit.server.home)
    scores = {s.task: s.value for s in store.results(run_id)[1] if s.method == "ta"}
    row = table[table["method"] == "ta"].iloc[0]
    assert row["red"] == pytest.approx(scores["red"]) and row["average"] == pytest.approx(sum(scores.values()) / 2)
    markdown = files["Table (Markdown)"].read_text()
    assert "| Task arithmetic" in markdown and f"{100 * row['average']:.1f}" in markdown
    assert "\\toprule" in files["Table (LaTeX)"].read_text() and "\\%" in files["Table (LaTeX)"].read_text()
    for name in ("What is shown (HTML)", "Bars (HTML)"):
        text = files[name].read_text()
        assert "Plotly.newPlot" in text and not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']https?:", text)
    paper = page.locator(".fda-paper")
    paper.locator(".width").select_option("175")
    paper.locator(".ground").select_option("rgba(0,0,0,0)")
    with page.expect_download() as download:
        paper.get_by_role("button", name="Download SVG").click()
    download.value.save_as(tmp_path / "paper.svg")
    drawn = (tmp_path / "paper.svg").read_text()
    assert 'width="175mm"' in drawn and "Arial" in drawn and "Task arithmetic" in drawn
    assert "Source Sans" not in drawn
    page.keyboard.press("Escape")
    page.locator(CHART).first.hover()
    with page.expect_download() as download:
        page.locator("[data-title='Download plot as an SVG']").first.click()
    download.value.save_as(tmp_path / "bars.svg")
    assert "Task arithmetic" in (tmp_path / "bars.svg").read_text() and download.value.suggested_filename.endswith(
        ".svg"
    )
    visit.check()

    # the link shows the same to a new session
    before, link = shown(page), page.url
    page.goto(link)
    wait_for_figure(page)
    visit.until(lambda: shown(page) == before)
    expect(page.get_by_role("combobox", name="Baseline")).to_have_value("TIES")


def test_a_method_that_failed_says_why_beside_the_others(visit, server, tiny_zoo, run_id):
    store = Store(server.home)
    made = run_id
    spec = store.run(made).spec.model_copy(
        update={"construction": None, "methods": ("pretrained", "individual", "ta", "fda:ta")}
    )
    failed = done(store, spec)
    page = visit.open(f"/run?run={failed}&view=Scores")
    wait_for_figure(page)
    page.get_by_text("FDA (TA) failed: fda:ta needs anchors: name a finished construct run").first.wait_for()
    page.get_by_text("3 of 4 methods").first.wait_for()
    visit.check()


def test_a_merged_model_is_taken_home_and_open_clip_loads_it(visit, server, tiny_zoo, run_id, tmp_path):
    page = visit.open(f"/compare?run={run_id}&take=FDA+(TA)")
    card = page.locator("[data-testid=stMain] .st-key-take_home")
    card.get_by_text("Take a merged model home").click()
    visit.settle()
    write, stop, download = (
        card.get_by_role("button", name=name) for name in ("Write the folder", "Stop", "Download as zip")
    )

    def begun() -> bool:
        """Press; False if the click was lost because the page ran anew in that moment."""
        write.click()
        try:
            stop.wait_for(timeout=20_000)
        except TimeoutError:
            return False
        return True

    visit.until(begun)
    page.reload()  # the work is a process of its own
    visit.settle()
    card.get_by_text("Take a merged model home").click()
    download.wait_for(timeout=90_000)
    visit.settle()
    with page.expect_download() as downloaded:
        download.click()
    downloaded.value.save_as(tmp_path / "home.zip")
    visit.check()
    zipfile.ZipFile(tmp_path / "home.zip").extractall(tmp_path)
    folder = tmp_path / f"{run_id}-fda-ta"
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    merged = load_file(server.home / "runs" / run_id / "merged" / "fda:ta.safetensors")
    loaded = model.state_dict()
    assert loaded.keys() == merged.keys() and all(torch.equal(loaded[name], merged[name]) for name in merged)
    assert "fda:ta" in (folder / "README.md").read_text() and (folder / "heads" / "red.safetensors").is_file()
    card.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove the folder").click()
    write.wait_for()
    assert not (server.home / "exports" / folder.name).exists()
    visit.check()
