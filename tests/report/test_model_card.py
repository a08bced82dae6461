"""The card of an exported model: its numbers, its code (which is run), its commands, its licence; nothing of this machine."""

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import HfApi
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from fda.cancel import NEVER
from fda.cli.app import app
from fda.errors import UserError
from fda.report.model_card import _front_matter
from fda.requests.runs import make_spec
from fda.settings import FAST_CONSTRUCT
from fda.stages.execute import execute
from fda.store.store import Store
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.upload import stated_licence
from fda.zoos.zoo import Zoo, load_zoo
from tests.support.library_zoos import clip_zoo, text_zoo


def compared(zoo, *methods: str) -> str:
    """A finished comparison, carried out here."""
    store = Store()
    run_id = store.create_run(make_spec(zoo, methods=methods or ("ta",), device="cpu"))
    execute(store, run_id, NEVER)
    return run_id


def command(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_card_tells_scores_settings_and_the_zoo_and_no_place_of_this_machine(tiny_zoo, tmp_path):
    run_id = compared(tiny_zoo)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "open_clip", "tags": ["merge", "model-merging"]}
    scores = {one.task: one.value for one in Store().results(run_id)[1] if one.method == "ta"}
    for task, value in scores.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {task} |"))
        assert f"{100 * value:.1f} (" in row.split("|")[-2]
    assert "scale 0.3" in text and "--method ta --out FOLDER" in text
    assert "--zoo zoo.yaml" in text and str(tiny_zoo.parent) not in text and str(tmp_path) not in text
    kept = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert kept["base"]["model"] == "base" and kept["tasks"][0]["data"]["path"].startswith("data/")


def code_of(folder, monkeypatch) -> dict:
    """What the card's code leaves behind, run beside the folder."""
    text = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder.parent)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save("image.png")
    left: dict = {}
    exec(text, left)
    return left


def in_memory(zoo, run_id, task, sample) -> torch.Tensor:
    """Logits of the run's ta model for one sample."""
    opened = open_zoo(load_zoo(zoo))
    opened.model.load(load_file(Store().run_dir(run_id) / "merged" / "ta.safetensors"))
    transform = opened.model.transform
    with torch.no_grad():
        return task_head(opened, task).answer(opened.model, transform.batch([transform(sample)]))


def test_the_cards_code_gives_the_logits_open_clip(tiny_zoo, tmp_path, monkeypatch):
    run_id = compared(tiny_zoo)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "out")
    left = code_of(tmp_path / "out", monkeypatch)
    assert torch.allclose(left["logits"], in_memory(tiny_zoo, run_id, "red", Image.open("image.png")), atol=1e-5)


def test_the_cards_code_gives_the_logits_clip_of_transformers(tmp_path, monkeypatch):
    path = clip_zoo(tmp_path)
    run_id = compared(path)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "out")
    left = code_of(tmp_path / "out", monkeypatch)
    assert torch.allclose(left["logits"], in_memory(path, run_id, "first", Image.open("image.png")), atol=1e-5)


def test_the_cards_code_gives_the_logits_of_a_task_or_what_the_base_gives(tmp_path, monkeypatch):
    path = text_zoo(tmp_path, "roberta")
    run_id = compared(path)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "out", "--task", "second")
    left = code_of(tmp_path / "out", monkeypatch)
    assert torch.allclose(left["logits"], in_memory(path, run_id, "second", "a text"), atol=1e-5)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "bare")
    output = code_of(tmp_path / "bare", monkeypatch)["output"]
    assert output.last_hidden_state.shape[-1] == 16 and "logits" not in output


def test_the_bases_own_licence_stands_on_the_card(tmp_path):
    path = text_zoo(tmp_path, "bert")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: other\nlicense_name: mine\ntags: [x]\n---\n# Base\n")
    run_id = compared(path)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "out")
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n", 2)[1])
    assert (front["license"], front["license_name"]) == ("other", "mine") and front["tags"] == [
        "merge",
        "model-merging",
    ]


def test_the_commands_make_the_anchors_first_where_another_run_made_them(tiny_zoo, tmp_path):
    store = Store()
    settings = FAST_CONSTRUCT.model_copy(update={"steps": 2, "anchors": 2})
    anchors = store.create_run(make_spec(tiny_zoo, construct=settings, device="cpu"))
    execute(store, anchors, NEVER)
    store.set_state(anchors, "done")
    run_id = store.create_run(make_spec(tiny_zoo, methods=("fda:ta",), anchors_run=anchors, device="cpu"))
    execute(store, run_id, NEVER)
    command("export", run_id, "--method", "fda:ta", "--out", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    lines = text.split("```bash\n")[1].split("```")[0].splitlines()
    assert [line.split()[3] for line in lines] == ["construct", "compare", "export"]
    assert "--steps 2" in lines[0] and "--anchors RUN_ID" in lines[1]
    assert "- anchors:" in text and "steps 2" in text.split("- anchors:")[1].splitlines()[0]


def test_the_front_matter_names_each_repository_once_and_no_local_model():
    zoo = {"name": "z", "base": {"model": "org/base@v1"}, "tasks": []}
    for name, model in (("a", "org/many:a"), ("b", "org/many:b"), ("c", "/home/me/c")):
        zoo["tasks"].append(
            {"name": name, "model": model, "data": {"path": "org/data" if name == "a" else "/home/me/d"}}
        )
    found = _front_matter(Zoo.model_validate(zoo), ("a", "b", "c"), "transformers")
    assert found["base_model"] == ["org/base", "org/many"] and found["base_model_relation"] == "merge"
    assert found["datasets"] == ["org/data"] and "/home" not in str(found)


def test_a_base_of_the_hub_is_asked_for_its_licence_only_when_the_model_goes_there(tmp_path, monkeypatch):
    class Cards(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

        def do_GET(self) -> None:
            known = self.path.endswith("/org/model")
            told = {"id": "org/model", "sha": "a" * 40, "cardData": {"license": "mit", "tags": ["x"]}}
            body = json.dumps(told if known else {}).encode()
            self.send_response(200 if known else 404)
            if not known:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HTTPServer(("127.0.0.1", 0), Cards)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.HfApi", partial(HfApi, endpoint=f"http://127.0.0.1:{server.server_port}"))
    try:
        assert stated_licence("org/model", tmp_path, ask=True) == {"license": "mit"}
        assert stated_licence("org/model", tmp_path) == {}
        assert stated_licence("/a/folder", tmp_path, ask=True) == {}
        with pytest.raises(UserError, match="org/none"):
            stated_licence("org/none", tmp_path, ask=True)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
