"""Downloads that pages start, against a stand-in hub: how far one is, that it is stopped and goes on, and how it fails."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import yaml

from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.processes import is_alive
from fda.requests.downloads import Download, download_of, start_download, stop_download
from fda.stages.download import bytes_here
from fda.store.records import Run
from fda.store.store import Store
from fda.zoos.hub import hub_cache
from fda.zoos.zoo import Zoo, load_zoo
from tests.support.library_zoos import text_zoo
from tests.support.runs import wait_for
from tests.support.stand_in_hub import client_environment, stand_in_hub

PATIENCE = 120


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with `zoo.yaml` of the ids org/base, org/first and org/second, and `root`, where a hub has them."""
    folder = tmp_path_factory.mktemp("made")
    path = text_zoo(folder, "bert", train_split=None)
    content = yaml.safe_load(path.read_text())
    for one in (content["base"], *content["tasks"]):
        shutil.copytree(folder / one["model"], folder / "root" / "org" / one["model"])
        one["model"] = f"org/{one['model']}"
    path.write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture
def path(made) -> Path:
    return made / "zoo.yaml"


@pytest.fixture
def zoo(path) -> Zoo:
    return load_zoo(path)


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


@pytest.fixture
def hub(made, tmp_path, monkeypatch):
    """The stand-in; this process and those it starts keep their cache to the test."""
    with stand_in_hub(made / "root") as server:
        for name, value in client_environment(server.address, tmp_path / "hf").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        yield server
        server.held = ""


@pytest.fixture(autouse=True)
def workers():
    """None outlives a test."""
    yield jobs._workers
    for child in jobs._workers.values():
        child.kill()
        child.wait()
    jobs._workers.clear()


def state(store: Store, path: Path) -> Download:
    return download_of(store, path, load_zoo(path))


def runs(store: Store) -> list[Run]:
    return LiveStore(store.home).runs(kinds=("download",))


def changed(path: Path, tmp_path: Path, **models: str) -> Path:
    """The zoo with other models for some of its roles, beside the original's data."""
    content = yaml.safe_load(path.read_text())
    content["base"]["model"] = models.get("base", content["base"]["model"])
    for task in content["tasks"]:
        task["model"] = models.get(task["name"], task["model"])
        task["data"]["path"] = str(path.parent / task["data"]["path"])
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "changed.yaml"


def test_a_download_fails_is_tried_again_stopped_and_goes_on(hub, store, path, zoo, monkeypatch):
    assert state(store, path) == Download("none")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    start_download(store, path, zoo)
    wait_for(lambda: state(store, path).state != "running", PATIENCE)
    found = state(store, path)
    assert found.state == "failed" and "check the network; repeating the command goes on" in found.message

    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.held = "org/second"
    start_download(store, path, zoo)
    assert state(store, path) == Download("running"), "what the last one said is forgotten"
    wait_for(lambda: "org/second: model.safetensors" in (state(store, path).file or ""), PATIENCE)
    wait_for(lambda: state(store, path).share > 0.5, PATIENCE)
    found = state(store, path)
    assert found.state == "running" and 0.5 < found.share < 1
    start_download(store, path, zoo)
    assert len(runs(store)) == 2, "a second press finds it running"

    run = runs(store)[0]
    stop_download(store, path, zoo)
    wait_for(lambda: not is_alive(run.pid, run.pid_started), PATIENCE)
    assert runs(store)[0].state == "cancelled" and state(store, path) == Download("none")
    stop_download(store, path, zoo)  # a second press
    hub.asked.clear()
    hub.held = ""
    start_download(store, path, zoo)
    wait_for(lambda: runs(store)[0].state == "done", PATIENCE)
    assert state(store, path) == Download("done", 1.0)
    whole = {one[1].split("/")[2] for one in hub.asked.of_weights() if one[0] == "GET" and one[2] is None}
    assert whole == {"second"}, "what came before the stop is not asked for again"


def test_a_zoo_whose_file_was_changed_is_another_download(hub, store, path, zoo, tmp_path):
    hub.held = "org/base"
    start_download(store, path, zoo)
    other = changed(path, tmp_path, second="org/first")
    assert state(store, path).state == "running"
    assert state(store, other).state == "none"
    stop_download(store, path, zoo)


def test_models_that_are_here_are_done_whoever_brought_them(store, tiny_zoo):
    assert state(store, tiny_zoo) == Download("done", 1.0)


def test_the_bytes_that_are_here_count_once_even_while_files_move(hub, zoo):
    place = hub_cache() / "models--org--base"
    for folder, size in (("blobs", 30), (".fda/parts", 12), ("snapshots/c", 99)):
        (place / folder).mkdir(parents=True)
        (place / folder / "file").write_bytes(b"x" * size)
    assert bytes_here(zoo) == 42
    (place / "blobs" / "gone").symlink_to(place / "nowhere")
    assert bytes_here(zoo) == 42
