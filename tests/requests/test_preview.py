"""Zoos of hub ids as a preset names them: seen from headers, refused by name, downloaded and run. And local ones alike."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from fda.anchors.loss import live_tensors
from fda.anchors.step import plain_step
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import TensorInfo
from fda.requests.needs import (
    PROGRAM_BYTES,
    SHARE,
    construction_seconds,
    construction_values,
    memory_bytes,
    product_rate,
)
from fda.requests.preview import preview, repeated
from fda.settings import presets
from fda.zoos.kinds import open_model
from fda.zoos.seen import HeaderWeights
from fda.zoos.survey import fit_base, open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import clip_zoo, text_zoo


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """Tiny BERTs as a hub has them, org/base and two in folders of org/many, and the path of a zoo that names the ids."""
    folder = tmp_path_factory.mktemp("hub")
    path = text_zoo(folder / "made", "bert", train_split=None)
    content = yaml.safe_load(path.read_text())
    content["base"]["model"] = "org/base"
    for task in content["tasks"]:
        task["model"] = f"org/many:{task['name']}/lr1e-05"
    for name, place in (("base", "base"), ("first", "many/first/lr1e-05"), ("second", "many/second/lr1e-05")):
        shutil.copytree(folder / "made" / name, folder / "root" / "org" / place)
        (folder / "root" / "org" / place / "modeling_evil.py").write_text("1/0")
    path.write_text(yaml.safe_dump(content))
    text_zoo(folder / "other", "distilbert")
    shutil.copytree(folder / "other" / "first", folder / "root" / "org" / "distil")
    return folder / "root", path


def with_changes(path, tmp_path, *, head=None, **models: str):
    """The zoo with other models for some of its roles, beside the original's data; `head`: of every task."""
    content = yaml.safe_load(path.read_text())
    content["base"]["model"] = models.get("base", content["base"]["model"])
    for task in content["tasks"]:
        task["model"] = models.get(task["name"], task["model"])
        task["data"]["path"] = str(path.parent / task["data"]["path"])
        task |= {} if head is None else {"head": head}
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(content))
    return changed


def test_a_zoo_of_ids_is_seen_from_headers_then_downloaded_then_run(fda, hub, repositories, tmp_path):
    root, path = repositories
    done = fda("zoo", "check", path, "--headers", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    size = (root / "org" / "many" / "first" / "lr1e-05" / "model.safetensors").stat().st_size
    weights = hub.asked.of_weights()
    assert weights and all(asked for verb, _, asked, _ in weights if verb == "GET"), "range requests only"
    assert max(int(asked.split("-")[1]) for _, _, asked, _ in weights if asked) < 150_000
    assert not found["problems"] and found["download_bytes"] > 2 * size
    assert [(one["role"], one["where"], one["architecture"]) for one in found["models"]] == [
        ("base", "hub", "bert"), ("first", "hub", "bert"), ("second", "hub", "bert")
    ]  # fmt: skip
    base = found["models"][0]
    assert (base["blocks"], base["tensors_per_block"], base["width"], base["dtype"]) == (2, 16, 16, "F32")
    assert base["parameters"] == sum(t.numel() for t in load_file(root / "org" / "base" / "model.safetensors").values())

    done = fda("zoo", "check", path)
    assert done.returncode == 0 and "everything fits together" in done.stdout
    assert not [one for one in hub.asked if one[1].endswith(".py")], "no code is asked for"
    hub.asked.clear()
    for words in (
        ("construct", "--zoo", path, "--steps", 5, "--anchors", 4, "--device", "cpu"),
        ("compare", "--zoo", path, "--methods", "ta", "--device", "cpu", "--json", tmp_path / "rows.json"),
    ):
        done = fda(*words)
        assert done.returncode == 0, done.stderr
    assert {row["method"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]} >= {"pretrained", "ta"}
    assert not hub.asked, "what is here is not asked for again"


WRONG = {
    "org/none is not on the hub": {"second": "org/none"},
    "org/many has no folder third": {"second": "org/many:third"},
    "org/gated is gated": {"first": "org/gated"},
    "is a distilbert model, but the base is a bert model": {"second": "org/distil"},
}


def test_what_is_wrong_is_one_sentence_before_any_weight_is_downloaded(fda, hub, repositories, tmp_path):
    hub.gated = {"org/gated"}
    (hub.root / "org" / "gated").mkdir(exist_ok=True)
    for number, (says, models) in enumerate(WRONG.items()):
        (folder := tmp_path / str(number)).mkdir()
        done = fda("zoo", "check", with_changes(repositories[1], folder, **models))
        sentences = [line for line in done.stderr.splitlines() if line.startswith("fda: ")]
        assert done.returncode == 2 and len(sentences) == 1 and says in sentences[0]
    assert all(asked for verb, _, asked, _ in hub.asked.of_weights() if verb == "GET")


def test_a_connection_that_drops_is_one_sentence_and_the_next_run_ends_it(fda, hub, repositories, tmp_path):
    hub.drops = 1000
    done = fda("zoo", "check", repositories[1])
    assert done.returncode == 2 and "goes on where it stopped" in done.stderr.splitlines()[-1]
    hub.drops = 0
    done = fda("zoo", "check", repositories[1])
    assert done.returncode == 0, done.stderr


def test_a_zoo_of_folders_is_seen_alike_and_every_mismatch_is_named(tmp_path):
    path = text_zoo(tmp_path / "one", "bert")
    found = preview(load_zoo(path))
    assert not found.problems and found.download_bytes == 0 and {one.where for one in found.models} == {"here"}
    assert found.memory_bytes > 700 * 2**20 and found.disk_bytes < found.disk_free_bytes
    own = load_file(path.parent / "first" / "model.safetensors")
    name = next(one for one in own if "layer.0" in one and one.endswith("query.weight"))
    save_file({key if key != name else f"{key}s": own[key] for key in own}, path.parent / "first" / "model.safetensors")
    second = load_file(path.parent / "second" / "model.safetensors")
    second[name] = second[name].to(torch.int8)
    save_file(second, path.parent / "second" / "model.safetensors")
    missing, kind = preview(load_zoo(path)).problems
    assert name.removeprefix("bert.") in missing and f"the nearest name there is {name}s" in missing
    assert "is I8 where the base has F32" in kind


def test_a_clip_model_of_both_towers_and_its_image_towers_fit(tmp_path):
    found = preview(load_zoo(clip_zoo(tmp_path)))
    assert found.problems == () and found.kind == "transformers" and found.models[0].blocks == 2


def test_adapters_and_pickles_on_the_hub_are_told_by_what_can_be_had_of_them(fda, hub, repositories, tmp_path):
    root, path = repositories
    base = load_file(root / "org" / "base" / "model.safetensors")
    layer = "encoder.layer.1.attention.self.value"
    (root / "org" / "lora").mkdir(exist_ok=True)
    shutil.copy(root / "org" / "base" / "config.json", root / "org" / "lora")
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "org/other"}
    (root / "org" / "lora" / "adapter_config.json").write_text(json.dumps(told))
    factors = {"A": torch.zeros(2, 16), "B": torch.zeros(16, 2)}
    save_file(
        {f"base_model.model.{layer}.lora_{side}.weight": factor for side, factor in factors.items()},
        root / "org" / "lora" / "adapter_model.safetensors",
    )
    shutil.copytree(root / "org" / "base", root / "org" / "pickled", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(base, root / "org" / "pickled" / "pytorch_model.bin")
    save_file({"weight": torch.zeros(2, 16)}, tmp_path / "head.safetensors")
    zoo = with_changes(path, tmp_path, first="org/lora", second="org/pickled", head=str(tmp_path / "head.safetensors"))
    done = fda("zoo", "check", zoo, "--headers", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lora, pickled = found["models"][1:]
    assert (lora["known"], lora["adapter_of"], lora["blocks"]) == (True, "org/other", 2)
    assert lora["parameters"] == sum(tensor.numel() for tensor in base.values())
    assert (pickled["known"], pickled["parameters"], pickled["width"]) == (False, lora["parameters"], 16)
    assert not found["problems"] and len(found["notes"]) == 2
    assert "LoRA adapter of org/other; here its base is org/base" in found["notes"][0]
    assert "known only after the download" in found["notes"][1]
    assert not [one for one in hub.asked if one[1].endswith(".bin")]

    config = json.loads((root / "org" / "pickled" / "config.json").read_text())
    (root / "org" / "pickled" / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    fda.forget()
    done = fda("zoo", "check", zoo)
    assert done.returncode == 2 and "intermediate.dense.weight has shape [40, 16] where [24, 16]" in done.stderr
    assert not [one for one in hub.asked if one[1].endswith(".bin")]


def test_every_kind_of_mismatch_of_a_checkpoint_is_told_and_many_are_counted(tmp_path):
    path = text_zoo(tmp_path, "bert")
    file = tmp_path / "first" / "model.safetensors"
    own = load_file(file)
    names = sorted(name for name in own if name.endswith("dense.weight") and "layer" in name)
    save_file({**{key: own[key] for key in own if key != names[0]}, names[1]: own[names[1]][:3].clone()}, file)
    missing, shape = preview(load_zoo(path)).problems
    assert f"has no tensor {names[0].removeprefix('bert.')}" in missing and names[1] in shape and "[3, 16]" in shape
    save_file({key: value for key, value in own.items() if ".layer." not in key}, file)
    *first, rest = preview(load_zoo(path)).problems
    assert len(first) == 5 and f"{2 * 16 - 5} more tensors do not fit" in rest


def test_another_precision_is_noted_and_hinders_nothing(tmp_path):
    path = text_zoo(tmp_path, "bert")
    file = tmp_path / "second" / "model.safetensors"
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}, file)
    found = preview(load_zoo(path))
    assert not found.problems and len(found.notes) == 1 and "is BF16, the base F32" in found.notes[0]


def test_blocks_are_told_by_names_alone():
    def info(*shape: int) -> TensorInfo:
        return TensorInfo(shape, "F32")

    header = {"embed.weight": info(100, 8), "heads.0.weight": info(3, 8)}
    for block in range(3):
        header |= {f"tower.layers.{block}.{name}": info(*shape) for name, shape in
                   {"a.weight": (32, 8), "a.bias": (32,), "b.weight": (8, 32), "norm": (8,)}.items()}  # fmt: skip
    assert repeated(header) == (3, 4, 8)
    assert repeated({"weight": info(2, 2)}) == (None, None, None)


def test_memory_follows_what_a_run_holds_at_once(tmp_path):
    zoo = load_zoo(text_zoo(tmp_path, "bert"))
    model = open_model(zoo)
    base = fit_base(model, open_weights(zoo.base.model))
    vocabulary = HeaderWeights("wide", {"embeddings": TensorInfo((10**6, 1000), "BF16")}, 0)
    wide = memory_bytes(zoo, model, vocabulary)
    small = memory_bytes(zoo, model, base)
    assert small - PROGRAM_BYTES == 4 * construction_values(zoo, model)
    assert wide - PROGRAM_BYTES == 4 * 10**9 * (4 + 2), "the largest tensor, once a task and four times more"


def test_time_follows_the_operations_of_a_step(demo_steps):
    zoo, model, operations = demo_steps
    paper = presets("vision")["paper"]
    units = len(zoo.tasks) * len(model.blocks)
    assert construction_seconds(zoo, model, 2e9) == pytest.approx(
        units * paper.steps * operations / (SHARE * 2e9), rel=0.05
    )
    assert product_rate(0.02) > 1e8


@pytest.fixture(scope="module")
def demo_steps():
    """The demo zoo, its model, and the counted operations of a plain step of its first block with the paper's settings."""
    zoo = load_zoo("demo")
    opened = open_zoo(zoo)
    block = opened.model.blocks[0]
    base, finetuned = block.of(opened.base), block.of(opened.tasks["digits"])
    shape = torch.Size((presets("vision")["paper"].anchors, block.tokens, block.width))
    step = plain_step(block, base, [finetuned], live_tensors(block, base, finetuned), shape, "cos")
    with FlopCounterMode(display=False) as counter:
        step(torch.randn(shape).flatten(0, 1)[None])
    return zoo, opened.model, counter.get_total_flops()
