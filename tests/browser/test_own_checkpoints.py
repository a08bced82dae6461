"""Checkpoints of my own: by path with one that does not fit, by hub id with a download; run, and taken home."""

import os
import shutil
import urllib.parse
from pathlib import Path

import pytest
import torch
import transformers
from playwright.sync_api import TimeoutError, expect
from safetensors.torch import load_file

from fda.bench.dashboard import CHROMIUM, Server
from fda.requests.runs import MAIN_METHODS
from fda.store.files import merged_file
from fda.store.store import Store
from tests.support.library_zoos import TEXT, text_zoo
from tests.support.stand_in_hub import client_environment, stand_in_hub

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the models lie: `models` with a base, two tasks, one of another width, and their data; `hub/org` with the same."""
    root = tmp_path_factory.mktemp("root")
    text_zoo(root / "models", "bert").unlink()
    config = transformers.BertConfig(**TEXT | {"hidden_size": 24})
    transformers.BertForSequenceClassification(config).save_pretrained(root / "models" / "wide")
    for name in ("base", "first", "second"):
        shutil.copytree(root / "models" / name, root / "hub" / "org" / name)
    return root


@pytest.fixture(scope="module")
def hub(folder):
    with stand_in_hub(folder / "hub") as one:
        yield one


@pytest.fixture(scope="module")
def server(folder, hub, tmp_path_factory):
    """A dashboard that may read `models` and talks to the stand-in hub."""
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium")
    home, cache = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("hf")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_environment(hub.address, cache).items():
            patch.setenv(name, value)
        patch.setenv("FDA_MODEL_ROOTS", f"{folder / 'models'}:{home}:{cache / 'hub'}")
        one = Server(home)
        one.start()
        yield one
        one.stop()


def open_form(visit) -> None:
    """Open the form of one's own checkpoints; click again if the page, which reads the demo's, ran anew in that moment."""
    form = visit.page.locator(".st-key-own_family_folder")

    def opened() -> bool:
        if not form.count():
            visit.page.get_by_text("My checkpoints", exact=True).click()
            visit.settle()
        return form.count() > 0

    visit.until(opened)


def press(visit, name: str, place: int = 0) -> None:
    visit.page.locator("[data-testid=stMain]").get_by_role("button", name=name, exact=True).nth(place).click()
    visit.page.wait_for_timeout(300)
    visit.settle()


def choose(visit, key: str, value: str) -> None:
    """Type into the box of choices with this key, and take what is offered for it: itself, where new ones are accepted."""
    visit.pick(visit.page.locator(f".st-key-{key} input"), value, typed=True)


def write(visit, label: str, value: str, place: int = 0) -> None:
    box = visit.page.get_by_label(label, exact=True).nth(place)
    box.fill(value)
    box.press("Enter")
    visit.settle()
    expect(box).to_have_value(value)


def wait_for_text(visit, text: str, seconds: float = 60) -> None:
    main = visit.page.locator("[data-testid=stMain]")
    try:
        main.get_by_text(text).first.wait_for(timeout=seconds * 1000)
    except TimeoutError:
        pytest.fail(f"{text!r} did not come; the page says: {main.inner_text()}")
    visit.settle()


def test_checkpoints_by_path_whose_mismatch_is_named_and_corrected(visit, server, folder):
    page = visit.open("/checkpoints")
    open_form(visit)
    choose(visit, "own_family_folder", str(folder / "models"))
    press(visit, "Fill in")
    expect(page.get_by_label("Input", exact=True).first).to_have_value("sentence")
    press(visit, "Save and look")
    wait_for_text(visit, "hidden_size is 24, but 16 in the base's")
    assert "Cosine" not in page.inner_text("[data-testid=stMain]")
    press(visit, "Correct it")
    wait_for_text(visit, "hidden_size is 24, but 16 in the base's")  # while it is being corrected too
    press(visit, "Remove", 2)
    press(visit, "Save and look")
    wait_for_text(visit, "How methods treat the tensors")
    wait_for_text(visit, "2 × 16 tensors")
    visit.until(lambda: "zoo=models" in page.url)
    assert [path.name for path in (server.home / "zoos").iterdir()] == ["models.yaml"]
    visit.check()


def test_checkpoints_by_hub_id_go_from_preview_to_a_model_taken_home(visit, server, hub, folder):
    page = visit.open("/checkpoints")
    open_form(visit)
    write(visit, "Name of the zoo", "by-id")
    choose(visit, "own-model", "org/base")
    for place, name in enumerate(("first", "second")):
        if place:
            press(visit, "Add a task")
        write(visit, f"Task {place + 1}", name)
        choose(visit, f"own-{place}-model", f"org/{name}")
        choose(visit, f"own-{place}-data", str(folder / "models" / "data" / name))
        write(visit, "Input", "sentence", place)
    hub.asked.clear()
    press(visit, "Save and look")
    wait_for_text(visit, "To download")
    page.locator(".st-key-download_start button").wait_for()
    assert hub.asked.of_weights() and all(spot for _, _, spot, _ in hub.asked.of_weights()), (
        "only ranges were asked for"
    )
    main = page.locator("[data-testid=stMain]")
    page.locator(".st-key-download_start button").click()
    wait_for_text(visit, "How methods treat the tensors")
    visit.check()

    visit.open("/construct?zoo=by-id&steps=5&anchors=4&arithmetic=plain&coarse_landscape=false")
    press(visit, "Start")
    page.wait_for_url("**/run?run=*")
    run_id = urllib.parse.parse_qs(urllib.parse.urlparse(page.url).query)["run"][0]
    store = Store(server.home)
    visit.until(lambda: store.run(run_id).state not in ("queued", "running"), 120)
    assert store.run(run_id).state == "done", store.run(run_id).message
    results = {result.method: result.state for result in store.results(run_id)[0]}
    assert results == dict.fromkeys(MAIN_METHODS, "done")

    visit.open(f"/run?run={run_id}&view=Scores")
    main.get_by_text("Take a merged model home").click()
    visit.settle()
    choose(visit, "take", "Task arithmetic")
    main.get_by_role("button", name="Write the folder").click()
    wait_for_text(visit, "Here it is")
    (out,) = (path for path in (server.home / "exports").iterdir() if path.is_dir())
    model = transformers.AutoModel.from_pretrained(out)
    merged = load_file(merged_file(store.run_dir(run_id), "ta"))
    own = model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in merged.items() if name in own)
    assert sum(name in own for name in merged) > 30
    visit.check()
