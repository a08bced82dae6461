"""Hub ids against a stand-in hub on loopback, which the real huggingface_hub client talks to in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fda.errors import UserError
from fda.zoos.hub import is_hub_id, split_id, wanted
from fda.zoos.zoo import list_zoos, load_zoo

COMMIT = "a" * 40
FILES = {"config.json": b'{"model_type": "vit"}', "model.safetensors": bytes(range(256)) * 98304, "modeling.py": b"1/0"}
DROP_AT = 22_000_000  # past the first of the 10 MiB pieces that the client writes


class Hub(BaseHTTPRequestHandler):
    """Serves org/model; org/gated is gated; every other id is unknown. `server.drops`: weights cut off so many times."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        if "/gated" in path:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if "org/model" not in path:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/") and "/revision/" in path and path.rsplit("/", 1)[1] not in ("main", COMMIT):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if path.startswith("/api/"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in FILES.items()]
            told = {"id": "org/model", "sha": COMMIT, "siblings": siblings, "private": False}
            return self.answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        content = FILES[path.rsplit("/", 1)[1]]
        headers = {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        drop = self.command == "GET" and len(content) > DROP_AT and self.server.drops > 0
        self.server.drops -= drop
        self.answer(206 if start else 200, content[start:], headers, cut=max(DROP_AT - start, 0) if drop else None)

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        self.close_connection = cut is not None


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.drops = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def download(hub, tmp_path: Path, model: str, **environment: str) -> tuple[str, str]:
    """(local folder, sentence): one of them empty. A new process, since the client reads its settings once."""
    code = (
        "import sys\nfrom fda.zoos.hub import downloaded\nfrom fda.errors import UserError\n"
        "try: print(downloaded(sys.argv[1]))\nexcept UserError as error: sys.exit(str(error))"
    )
    own = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, model],
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip(), done.stderr.strip().splitlines()[-1] if done.returncode else ""


def test_a_download_brings_what_is_read_and_no_code_and_works_without_network_afterwards(hub, tmp_path):
    folder, sentence = download(hub, tmp_path, "org/model")
    assert not sentence
    assert {path.name for path in Path(folder).iterdir()} == {"config.json", "model.safetensors"}
    assert (Path(folder) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    hub.asked.clear()
    assert download(hub, tmp_path, "org/model", HF_HUB_OFFLINE="1") == (folder, "")
    assert not hub.asked


@pytest.mark.parametrize(
    ("model", "says"),
    [("org/none", "is not on the hub"), ("org/gated", "is gated"), ("org/model@old", "has no such revision")],
)
def test_what_the_hub_refuses_is_one_sentence(hub, tmp_path, model, says):
    folder, sentence = download(hub, tmp_path, model)
    assert not folder and model in sentence and says in sentence


def test_a_download_that_drops_once_resumes_where_it_stopped(hub, tmp_path):
    hub.drops = 1
    folder, sentence = download(hub, tmp_path, "org/model")
    assert not sentence
    assert (Path(folder) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert resumed_at(hub) and min(resumed_at(hub)) > 0


def test_a_download_that_keeps_dropping_is_told_and_the_next_goes_on_where_it_stopped(hub, tmp_path):
    hub.drops = 100
    folder, sentence = download(hub, tmp_path, "org/model")
    assert not folder and "goes on where it stopped" in sentence
    hub.drops = 0
    hub.asked.clear()
    folder, sentence = download(hub, tmp_path, "org/model")
    assert (Path(folder) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not [path for verb, path, _ in hub.asked if verb == "GET" and path.endswith("config.json")]
    assert min(resumed_at(hub)) >= DROP_AT // 2, "only the rest of the bytes was asked for"
    assert [path.name for path in tmp_path.rglob("parts/*")] == [
        f"{sha256(FILES['model.safetensors']).hexdigest()}.lock"
    ]


def test_bytes_that_are_not_the_listed_ones_are_told_and_fetched_anew(hub, tmp_path):
    content = FILES["model.safetensors"]
    part = tmp_path / "hub" / "models--org--model" / ".fda" / "parts" / sha256(content).hexdigest()
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)  # as a damaged disk would leave it
    folder, sentence = download(hub, tmp_path, "org/model")
    assert not folder and "did not arrive as the hub lists it" in sentence
    folder, sentence = download(hub, tmp_path, "org/model")
    assert (Path(folder) / "model.safetensors").read_bytes() == content


def resumed_at(hub) -> list[int]:
    """Where in the weights' file each range request began."""
    ranges = [asked for _, path, asked in hub.asked if path.endswith("model.safetensors") and asked]
    return [int(asked.removeprefix("bytes=").split("-")[0]) for asked in ranges]


def test_ids_are_told_from_paths():
    assert is_hub_id("org/name") and is_hub_id("org/name@v1.0") and is_hub_id("org/name@v1.0:some/folder")
    assert split_id("org/name@v1:some/folder") == ("org/name", "v1", "some/folder")
    assert not is_hub_id("org/name:../up") and not is_hub_id("org/name:/abs") and not is_hub_id("org/name:")
    assert not any(is_hub_id(text) for text in ("../up/name", "/abs/name", "name", "a/b/c", "a/../b", "./a/b"))


def test_safetensors_go_before_pickles():
    names = ["pytorch_model.bin", "model.safetensors", "config.json", "modeling.py", "tf_model.h5"]
    assert wanted("org/name", names) == ["config.json", "model.safetensors"]
    with pytest.raises(UserError, match="holds no weights"):
        wanted("org/name", ["config.json", "tf_model.h5"])


@pytest.mark.parametrize("name", [name for name in list_zoos() if name.startswith("clip-vit")])
def test_a_clip_preset_names_the_eight_tasks_with_their_classes(name):
    zoo = load_zoo(name)
    counts = [(len(t.head.zero_shot.classes), len(t.head.zero_shot.templates)) for t in zoo.tasks]
    assert counts == [(397, 2), (196, 8), (45, 18), (10, 3), (10, 1), (43, 3), (10, 1), (47, 8)]
    assert all(template.count("{}") == 1 for t in zoo.tasks for template in t.head.zero_shot.templates)


@pytest.mark.parametrize("size", ["base", "large"])
def test_a_roberta_preset_names_the_eight_tasks_of_glue_with_their_columns_and_metrics(size):
    zoo = load_zoo(f"roberta-{size}-glue")
    assert zoo.family == f"roberta-{size}" and zoo.base.model == f"FacebookAI/roberta-{size}"
    assert zoo.task_names == ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
    metrics = {task.name: task.data.metric for task in zoo.tasks}
    assert {name for name in metrics if metrics[name] == "accuracy"} == set(metrics) - {"cola", "stsb"}
    assert all(is_hub_id(task.model) and split_id(task.model).folder.startswith(f"{task.name}/") for task in zoo.tasks)
    assert zoo.task("qnli").data.columns == ("question", "sentence")


def test_the_llama_preset_merges_mlps():
    zoo = load_zoo("llama-2-13b")
    assert zoo.family == "llama" and zoo.part == "auto" and zoo.task_names == ("math", "code")


def test_a_link_out_of_the_roots_inside_a_model_folder_is_refused(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "secret.safetensors"
    (root / "model").mkdir(parents=True)
    outside.write_bytes(b"")
    zoo = root / "zoo.yaml"
    zoo.write_text("name: z\nbase: {model: model}\ntasks: [{name: t, model: org/name}]\n")
    assert load_zoo(zoo, roots=[root]).tasks[0].model == "org/name"
    (root / "model" / "model.safetensors").symlink_to(outside)
    with pytest.raises(UserError, match="outside the folders"):
        load_zoo(zoo, roots=[root])
