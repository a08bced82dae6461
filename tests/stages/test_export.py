"""Merged models as folders: what the libraries load is what was merged; nothing half-written; the hub gets the same files."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from fda.cancel import NEVER
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Checkpoint
from fda.cli.app import app
from fda.errors import UserError
from fda.merging.merge import merge_to_file
from fda.merging.registry import METHODS
from fda.requests.runs import make_spec
from fda.stages.execute import execute
from fda.stages.export import export_model, frame, whole_folder
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.heads import load_head, task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import clip_zoo, text_zoo

LORA = {"A": (2, 16), "B": (16, 2)}


def compared(zoo, *methods: str) -> str:
    """A finished comparison, carried out here."""
    store = Store()
    run_id = store.create_run(make_spec(zoo, methods=methods or ("ta",), device="cpu"))
    execute(store, run_id, NEVER)
    return run_id


def command(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_open_clip_loads_what_was_merged_with_the_heads_beside_it(tiny_zoo, tmp_path):
    run_id = compared(tiny_zoo)
    folder = tmp_path / "taken" / "home"
    done = command("export", run_id, "--method", "ta", "--out", folder)
    assert done.exit_code == 0, done.output
    loaded, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    opened = open_zoo(load_zoo(tiny_zoo))
    images = load_split(opened.zoo.task("red"), "test", opened.model.transform).images(8)
    opened.model.load(load_file(Store().run_dir(run_id) / "merged" / "ta.safetensors"))
    with torch.no_grad():
        assert torch.allclose(loaded.eval().encode_image(images), opened.model.features(images), atol=1e-5)
    again = opened.zoo.task("red").model_copy(update={"head": str(folder / "heads" / "red.safetensors")})
    assert torch.equal(load_head(again).weight, load_head(opened.zoo.task("red")).weight)


def test_a_whole_clip_model_of_transformers_keeps_its_text_tower(tmp_path):
    path = clip_zoo(tmp_path)
    run_id = compared(path)
    command("export", run_id, "--method", "ta", "--out", tmp_path / "out")
    loaded = transformers.CLIPModel.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    base = transformers.CLIPModel.from_pretrained(tmp_path / "base")
    opened = open_zoo(load_zoo(path))
    images = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(24)
    opened.model.load(load_file(Store().run_dir(run_id) / "merged" / "ta.safetensors"))
    with torch.no_grad():
        features = loaded.get_image_features(pixel_values=images).pooler_output
        assert torch.allclose(features, opened.model.features(images), atol=1e-5)
    own, kept = loaded.text_model.state_dict(), base.text_model.state_dict()
    assert all(torch.equal(own[name], kept[name]) for name in kept)
    assert load_file(tmp_path / "out" / "heads" / "first.safetensors")["weight"].shape == (2, 8)


def test_an_adapter_as_task_brings_its_head_into_a_model_that_the_library_loads(tmp_path):
    path = text_zoo(tmp_path, "roberta")
    head = {name: t for name, t in load_file(tmp_path / "first" / "model.safetensors").items() if "classifier" in name}
    layer = "base_model.model.roberta.encoder.layer.0.attention.self.query"
    generator = torch.Generator().manual_seed(0)
    factors = {f"{layer}.lora_{side}.weight": torch.randn(shape, generator=generator) for side, shape in LORA.items()}
    for file in (tmp_path / "first").iterdir():
        file.unlink()
    saved = {f"base_model.model.{name}": tensor for name, tensor in head.items()} | factors
    save_file(saved, tmp_path / "first" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "task_type": "SEQ_CLS", "target_modules": ["query"]}
    (tmp_path / "first" / "adapter_config.json").write_text(json.dumps(config))
    run_id = compared(path)
    done = command("export", run_id, "--method", "ta", "--out", tmp_path / "out", "--task", "first")
    assert done.exit_code == 0, done.output
    name = json.loads((tmp_path / "out" / "config.json").read_text())["architectures"][0]
    loaded = getattr(transformers, name).from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    opened = open_zoo(load_zoo(path))
    batch = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(24)
    opened.model.load(load_file(Store().run_dir(run_id) / "merged" / "ta.safetensors"))
    with torch.no_grad():
        own = loaded(input_ids=batch.ids, attention_mask=batch.mask.long()).logits
        assert torch.allclose(own, task_head(opened, "first").answer(opened.model, batch), atol=1e-5)
    assert torch.equal(loaded.state_dict()["classifier.dense.weight"], head["classifier.dense.weight"])


def test_the_config_says_the_precision_that_was_merged_and_no_place_of_this_machine(tmp_path):
    path = text_zoo(tmp_path, "bert")
    own = tmp_path / "first" / "config.json"
    config = json.loads(own.read_text()) | {"torch_dtype": "float16", "_name_or_path": "/home/me/bert"}
    config.pop("dtype", None)
    own.write_text(json.dumps(config))
    opened = open_zoo(load_zoo(path))
    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "ta.safetensors", {})
    with whole_folder(tmp_path / "out") as folder:
        export_model(frame(opened, "first"), Checkpoint(tmp_path / "ta.safetensors"), folder)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["torch_dtype"] == "float32" and "dtype" not in written and "_name_or_path" not in written
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_files_of_two_tokenizers_are_not_mixed(tmp_path):
    path = text_zoo(tmp_path, "bert")
    (tmp_path / "first" / "vocab.txt").write_text("of another tokenizer")
    opened = open_zoo(load_zoo(path))
    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "ta.safetensors", {})
    with whole_folder(tmp_path / "out") as folder:
        export_model(frame(opened), Checkpoint(tmp_path / "ta.safetensors"), folder)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert "tokenizer.json" in names and "vocab.txt" not in names


def test_progress_is_the_share_of_the_bytes(tmp_path, tiny_zoo):
    opened = open_zoo(load_zoo(tiny_zoo))
    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "ta.safetensors", {})
    shares: list[float] = []
    with whole_folder(tmp_path / "out") as folder:
        export_model(
            frame(opened),
            Checkpoint(tmp_path / "ta.safetensors"),
            folder,
            progress=lambda written, total: shares.append(written / total),
            shard_bytes=99,
        )
    assert shares == sorted(shares) and len(shares) == len(opened.base) and shares[-1] == 1
    assert [file.name for file in (tmp_path / "out").glob("*.safetensors")] == ["open_clip_model.safetensors"]


def test_a_large_model_is_cut_into_files_with_an_index_that_the_library_follows(tmp_path):
    opened = open_zoo(load_zoo(text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")))
    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "ta.safetensors", {})
    merged = Checkpoint(tmp_path / "ta.safetensors")
    with whole_folder(tmp_path / "cut") as folder:
        export_model(frame(opened, "first"), merged, folder, shard_bytes=4000)
    files = sorted(path.name for path in (tmp_path / "cut").glob("*.safetensors"))
    assert len(files) > 2 and all(f"-of-{len(files):05}" in name for name in files)
    assert set(open_weights(tmp_path / "cut")) == set(open_weights(tmp_path / "first"))
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "cut").model.state_dict()
    assert all(torch.equal(loaded[name], merged[name]) for name in merged)


def test_embeddings_that_were_saved_twice_stay_equal(tmp_path):
    path = text_zoo(tmp_path, "gpt2", headed="GPT2LMHeadModel")
    own = load_file(tmp_path / "first" / "model.safetensors")
    tied = next(name for name in own if name.endswith("wte.weight"))
    save_file({**own, "lm_head.weight": own[tied].clone()}, tmp_path / "first" / "model.safetensors", {"format": "pt"})
    opened = open_zoo(load_zoo(path))
    shifted = {name: opened.base[name] + 1 for name in opened.base}
    save_file(shifted, tmp_path / "shifted.safetensors")
    with whole_folder(tmp_path / "out") as folder:
        export_model(frame(opened, "first"), Checkpoint(tmp_path / "shifted.safetensors"), folder)
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(written["lm_head.weight"], written[tied]) and torch.equal(written[tied], shifted["wte.weight"])


def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(tiny_zoo, tmp_path):
    run_id = compared(tiny_zoo)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for words, says in (
        (("--method", "tsv", "--out", tmp_path / "a"), "has no merged model 'tsv'"),
        (("--method", "individual", "--out", tmp_path / "a"), "has no merged model 'individual'"),
        (("--method", "ta", "--out", tmp_path / "a", "--task", "green"), "has no task 'green'"),
        (("--method", "ta", "--out", tmp_path / "a", "--task", "red"), "leave --task away"),
        (("--method", "ta", "--out", tmp_path / "full"), "is already there"),
        (("--method", "ta", "--out", tmp_path / "a", "--push", "../up"), "is no repository"),
        (("--method", "ta", "--out", tmp_path / "a", "--push", "org/name:folder"), "is no repository"),
        (("--method", "ta", "--out", tmp_path / "a", "--push", "org/name@main"), "is no repository"),
    ):
        done = command("export", run_id, *words)
        assert isinstance(done.exception, UserError) and says in str(done.exception)
    (Store().run_dir(run_id) / "merged" / "ta.safetensors").unlink()
    done = command("export", run_id, "--method", "ta", "--out", tmp_path / "a")
    assert "is gone" in str(done.exception) and "compare the methods again" in str(done.exception)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "a").exists()


def test_a_folder_that_fails_half_way_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out") as folder:
        (folder / "model.safetensors").write_text("half")
        raise ZeroDivisionError
    assert not [path for path in tmp_path.iterdir() if path.name != "home"]


class Uploads(BaseHTTPRequestHandler):
    """A hub that takes commits of small files into `server.files`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told: dict = {}
        if self.path.endswith("/repos/create"):
            self.server.made.append(json.loads(body))
            told = {"url": f"{self.server.address}/org/merged", "name": "org/merged"}
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            told = {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
            self.server.files |= {name: base64.b64decode(content) for name, content in files.items()}
            told = {"success": True, "commitOid": "b" * 40, "commitUrl": f"{self.server.address}/org/merged/commit/bbb"}
        elif self.path.endswith("/validate-yaml"):
            self.server.cards.append(json.loads(body)["content"])
            told = {"errors": [], "warnings": []}
        answer = json.dumps(told).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def pushed(run_id, out, status=200):
    """(what the command line said, the hub that answered it with this status)."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Uploads)
    server.made, server.files, server.cards, server.status = [], {}, [], status
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = {"HF_ENDPOINT": server.address, "HF_TOKEN": "hf_none", "HF_HUB_DISABLE_XET": "1"}
    words = ("export", run_id, "--method", "ta", "--out", str(out), "--push", "org/merged", "--private")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fda", *words], env=os.environ | own, capture_output=True, text=True, timeout=120
        )
    finally:
        server.shutdown()
        server.server_close()
    return done, server


def test_a_token_that_may_not_write_is_told(tiny_zoo, tmp_path):
    done, _ = pushed(compared(tiny_zoo), tmp_path / "out", status=403)
    assert done.returncode == 2
    assert "org/merged may not be written to (403)" in done.stderr and "a token that may write there" in done.stderr


def test_the_hub_gets_the_folder_as_one_private_repository(tiny_zoo, tmp_path, fda_home):
    done, server = pushed(compared(tiny_zoo), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{server.address}/org/merged/commit/bbb"
    (made,) = server.made
    assert (made["organization"], made["name"], made["visibility"]) == ("org", "merged", "private")
    written = {
        str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert server.files == {name: path.read_bytes() for name, path in written.items()}
    assert set(server.cards) == {(tmp_path / "out" / "README.md").read_text()}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_task_with_added_tokens_is_merged_without_them_and_keeps_them_when_taken_home(tmp_path, name):
    path = text_zoo(tmp_path, name, headed={"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}[name])
    own = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    own.resize_token_embeddings(own.config.vocab_size + 3, mean_resizing=False)
    own.save_pretrained(tmp_path / "first")
    opened = open_zoo(load_zoo(path))
    table = opened.model.embeddings
    rows = len(opened.base[table])
    grown = own.get_input_embeddings().weight.detach()
    assert opened.tasks["first"].header[table].shape == opened.tasks["first"][table].shape == opened.base[table].shape
    assert torch.equal(opened.tasks["first"][table], grown[:rows]) and len(grown) == rows + 3

    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "merged.safetensors", {})
    merged = Checkpoint(tmp_path / "merged.safetensors")
    with whole_folder(tmp_path / "out") as folder:
        export_model(frame(opened, "first"), merged, folder)
    home = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    taken = home.get_input_embeddings().weight
    assert torch.equal(taken[:rows], merged[table]) and torch.equal(taken[rows:], grown[rows:])

    batch = load_split(opened.zoo.task("first"), "test", opened.model.transform).images(3)
    opened.model.load(merged)
    logits = task_head(opened, "first").answer(opened.model, batch)[batch.mask]
    with torch.no_grad():
        there = home(input_ids=batch.ids, attention_mask=batch.mask.long()).logits[batch.mask]
    assert torch.allclose(logits, there[:, : logits.shape[1]], atol=1e-5)


def test_fewer_tokens_than_the_base_has_do_not_fit(tmp_path):
    path = text_zoo(tmp_path, "llama", headed="LlamaForCausalLM")
    own = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "first")
    own.resize_token_embeddings(own.config.vocab_size - 1)
    own.save_pretrained(tmp_path / "first")
    with pytest.raises(
        UserError, match="the vocabulary was cut: model.embed_tokens.weight has 20 rows where the base has 21"
    ):
        open_zoo(load_zoo(path))
