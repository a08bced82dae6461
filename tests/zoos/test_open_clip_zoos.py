"""Zoos of open_clip models through the whole program: as open_clip saves them, and as task arithmetic's repositories do."""

import json
import sys
import types

import numpy as np
import open_clip
import pytest
import torch
import yaml
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from fda.architectures.open_clip_model import CONFIG as CONFIG_NAME
from fda.architectures.open_clip_model import open_vision_model
from fda.cli.app import app
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.registry import METHODS
from fda.requests.preview import preview
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.tiny_zoo import CONFIG, TASKS, make_zoo, save_model

QUICK = CONFIG["model_cfg"] | {"quick_gelu": True}


def command(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output or result.exception
    return result.output


def newest_run() -> str:
    return json.loads(command("runs", "list", "--json"))[0]["run_id"]


def library_logits(model: nn.Module, head, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return head.logits(model.eval().encode_image(images))


def images_of(opened, task: str) -> torch.Tensor:
    return load_split(opened.zoo.task(task), "test", opened.model.transform).images(40)


def answer(opened, task: str, weights) -> torch.Tensor:
    opened.model.load(weights)
    with torch.no_grad():
        return task_head(opened, task).answer(opened.model, images_of(opened, task))


def goes_the_whole_way(path, finetuned: nn.Module) -> nn.Module:
    """Check, construct, merge, score, export; open_clip's own model of the exported folder. `finetuned`: of the first task."""
    opened = open_zoo(load_zoo(path))
    expected = library_logits(finetuned, task_head(opened, "red"), images_of(opened, "red"))
    alone = merge(METHODS["ta"], opened.base, [opened.tasks["red"]], scale=1.0)
    assert torch.allclose(answer(opened, "red", alone), expected, atol=1e-5)
    assert not torch.allclose(answer(opened, "red", opened.base), expected, atol=1e-3)

    assert "everything fits together" in command("zoo", "check", path)
    assert not preview(load_zoo(path)).problems
    command("construct", "--zoo", path, "--steps", 5, "--anchors", 4, "--device", "cpu")
    run_id, report, folder = newest_run(), path.parent / "scores.json", path.parent / "taken-home"
    words = ("--methods", "average,ta,tsv,fda:ta", "--json", report, "--device", "cpu")
    command("compare", "--zoo", path, "--anchors", run_id, *words)
    rows = {row["method"]: row for row in json.loads(report.read_text())["rows"]}
    assert {"pretrained", "individual", "average", "ta", "tsv", "fda:ta"} <= rows.keys()
    split, head = load_split(opened.zoo.task("red"), "test", opened.model.transform), task_head(opened, "red")
    images = split.images(len(split))
    right = library_logits(finetuned, head, images).argmax(dim=1) == split.labels()
    assert rows["individual"]["accuracy"]["red"] == pytest.approx(right.float().mean().item())

    run_id = newest_run()
    command("export", run_id, "--method", "fda:ta", "--out", folder)
    merged = load_file(Store().run_dir(run_id) / "merged" / "fda:ta.safetensors")
    loaded, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8))
    prepared = prepare(picture)[None]
    assert torch.equal(prepared, opened.model.transform(picture)[None])
    with torch.no_grad():
        features = opened.model.load(merged).encode_image(prepared)
        assert torch.allclose(loaded.eval().encode_image(prepared), features, atol=1e-5)
    assert torch.allclose(library_logits(loaded, head, images), answer(opened, "red", merged), atol=1e-5)
    return loaded


def open_clips_own(folder) -> nn.Module:
    return open_clip.create_model_and_transforms(f"local-dir:{folder}")[0]


def test_state_dicts_that_open_clip_saves_go_the_whole_way(tmp_path):
    path = make_zoo(tmp_path)
    loaded = goes_the_whole_way(path, open_clips_own(tmp_path / "red"))
    base = load_file(tmp_path / "base" / "open_clip_model.safetensors")
    own = loaded.state_dict()
    assert all(torch.equal(own[name], base[name]) for name in base if not name.startswith("visual."))
    assert "text tower" not in (tmp_path / "taken-home" / "README.md").read_text()
    written = json.loads((tmp_path / "taken-home" / CONFIG_NAME).read_text())
    assert written == json.loads((tmp_path / "base" / CONFIG_NAME).read_text())


# Task arithmetic's pickles, whose classes are gone when they are read


class ImageEncoder(nn.Module):
    """As `ImageEncoder(args, keep_lang=False)` of task_vectors: without the blocks of the text tower, with its other parts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        del self.model.transformer


class ClassificationHead(nn.Linear):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight.shape[1], weight.shape[0])
        self.normalize = True
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(len(weight)))


@pytest.fixture
def pickled(monkeypatch):
    """Save an object whose class lies in src.modeling, a module that is gone afterwards."""

    def save(value: nn.Module, path) -> None:
        package, module = types.ModuleType("src"), types.ModuleType("src.modeling")
        setattr(module, type(value).__name__, type(value))
        with monkeypatch.context() as while_saving:
            while_saving.setitem(sys.modules, "src", package)
            while_saving.setitem(sys.modules, "src.modeling", module)
            while_saving.setattr(type(value), "__module__", "src.modeling")
            torch.save(value, path)
        assert "src.modeling" not in sys.modules

    return save


def made(config: dict, state: dict[str, torch.Tensor]) -> nn.Module:
    model = open_clip.CLIP(**config).eval()
    model.load_state_dict(state)
    return model


@pytest.fixture
def task_arithmetic(tmp_path, pickled, monkeypatch):
    """The zoo file of a family as task arithmetic publishes it, in folders of no config; its config has a name."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-T-4-quickgelu", QUICK)
    content = yaml.safe_load(make_zoo(tmp_path).read_text())
    states = {name: load_file(tmp_path / name / "open_clip_model.safetensors") for name in ("base", *TASKS)}
    pickled(ImageEncoder(made(QUICK, states["base"])), tmp_path / "zeroshot.pt")
    content["base"] = {"model": "zeroshot.pt", "architecture": "ViT-T-4-quickgelu"}
    for task in content["tasks"]:
        name = task["name"]
        (tmp_path / f"{name}Val").mkdir()
        pickled(ImageEncoder(made(QUICK, states[name])), tmp_path / f"{name}Val" / "finetuned.pt")
        rows = load_file(tmp_path / f"{name}.head.safetensors")["weight"]
        pickled(ClassificationHead(100 * nn.functional.normalize(rows, dim=1)), tmp_path / f"head_{name}Val.pt")
        task |= {"model": f"{name}Val/finetuned.pt", "head": f"head_{name}Val.pt"}
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def finetuned(folder, config=QUICK) -> nn.Module:
    return made(config, load_file(folder / "red" / "open_clip_model.safetensors"))


def changed(path, **base):
    content = yaml.safe_load(path.read_text())
    content["base"] = base
    path.write_text(yaml.safe_dump(content))
    return path


def test_task_arithmetics_pickles_go_the_whole_way_without_a_text_tower(task_arithmetic, tmp_path):
    opened = open_zoo(load_zoo(task_arithmetic))
    assert all(name.startswith("visual.") for name in opened.base)
    assert not opened.model.has_text_tower(opened.base)
    loaded = goes_the_whole_way(task_arithmetic, finetuned(tmp_path))
    text = {name: one for name, one in loaded.state_dict().items() if not name.startswith("visual.")}
    assert sum(one.numel() for one in text.values()) < 2000 and not any(one.any() for one in text.values())
    assert "The base had no text tower" in (tmp_path / "taken-home" / "README.md").read_text()


def test_task_arithmetics_pickles_over_a_whole_base_keep_its_text_tower(task_arithmetic, tmp_path):
    (tmp_path / "base" / CONFIG_NAME).write_text(json.dumps(CONFIG | {"model_cfg": QUICK}))
    loaded = goes_the_whole_way(changed(task_arithmetic, model="base"), finetuned(tmp_path)).state_dict()
    base = load_file(tmp_path / "base" / "open_clip_model.safetensors")
    assert all(torch.equal(loaded[name], base[name]) for name in base if not name.startswith("visual."))


def test_the_preview_sees_pickles_with_an_architecture(task_arithmetic):
    found = preview(load_zoo(task_arithmetic))
    assert found.kind == "open_clip" and not found.problems
    assert len(found.notes) == 2 and all("the head's 2 classes have no names" in note for note in found.notes)
    assert [(row.role, row.architecture, row.blocks) for row in found.models] == [
        ("base", "open_clip", 2),
        ("red", "open_clip", 2),
        ("bright", "open_clip", 2),
    ]
    assert found.memory_bytes is not None and found.seconds is not None


SAVED_AS = {
    "an image encoder's": lambda state: {
        f"model.{name}": one for name, one in state.items() if not name.startswith("transformer.")
    },
    "a data-parallel encoder's": lambda state: {f"module.model.{name}": one for name, one in state.items()},
    "a compiled model's": lambda state: {f"_orig_mod.{name}": one for name, one in state.items()},
    "a compiled data-parallel encoder's": lambda state: {
        f"_orig_mod.module.{name}": one for name, one in state.items()
    },
    "the image tower in its model": lambda state: {name: one for name, one in state.items() if name[:7] == "visual."},
    "the image tower itself": lambda state: {name[7:]: one for name, one in state.items() if name[:7] == "visual."},
    "a classifier's": lambda state: {
        "classification_head.weight": torch.ones(2, 8),
        **{f"image_encoder.model.{name}": one for name, one in state.items()},
    },
}


@pytest.mark.parametrize("wrapper", SAVED_AS)
def test_state_dicts_are_found_under_the_names_of_their_wrappers(tmp_path, wrapper):
    path = make_zoo(tmp_path)
    whole = load_file(tmp_path / "red" / "open_clip_model.safetensors")
    torch.save(SAVED_AS[wrapper](whole), tmp_path / "red.pt")
    content = yaml.safe_load(path.read_text())
    content["tasks"][0]["model"] = "red.pt"
    path.write_text(yaml.safe_dump(content))
    opened = open_zoo(load_zoo(path))
    assert not preview(load_zoo(path)).problems
    assert {name: one.shape for name, one in opened.tasks["red"].header.items()} == {
        name: tuple(one.shape) for name, one in whole.items()
    }
    assert all(torch.equal(opened.tasks["red"][name], whole[name]) for name in whole)


def test_the_base_may_be_such_a_state_dict_too(task_arithmetic, tmp_path):
    base = load_file(tmp_path / "base" / "open_clip_model.safetensors")
    torch.save({f"model.{name}": one for name, one in base.items()}, tmp_path / "base.pt")
    opened = open_zoo(load_zoo(changed(task_arithmetic, model="base.pt", architecture="ViT-T-4-quickgelu")))
    assert opened.model.has_text_tower(opened.base) and all(torch.equal(opened.base[name], base[name]) for name in base)
    for task in opened.tasks.values():
        assert set(task) == set(base) and torch.equal(
            task["transformer.resblocks.0.ln_1.weight"], base["transformer.resblocks.0.ln_1.weight"]
        )


def test_a_tower_of_another_depth_is_refused(tmp_path):
    path = make_zoo(tmp_path)
    state = load_file(tmp_path / "red" / "open_clip_model.safetensors")
    more = {
        f"model.{name.replace('resblocks.1', 'resblocks.2')}": one.clone()
        for name, one in state.items()
        if "visual.transformer.resblocks.1" in name
    }
    save_file(
        {f"model.{name}": one for name, one in state.items()} | more, tmp_path / "red" / "open_clip_model.safetensors"
    )
    with pytest.raises(UserError, match=r"has a tensor visual.transformer.resblocks.2.*that is not in the base"):
        open_zoo(load_zoo(path))


def test_a_zero_shot_head_needs_a_base_with_a_text_tower(task_arithmetic):
    content = yaml.safe_load(task_arithmetic.read_text())
    content["tasks"][0]["head"] = {"zero_shot": {"classes": ["cat", "dog"], "templates": ["a photo of a {}"]}}
    task_arithmetic.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"zeroshot.pt has no whole text tower.*head file"):
        task_head(open_zoo(load_zoo(task_arithmetic)), "red")


def test_another_activation_than_the_pickled_one_is_refused(task_arithmetic, monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-T-4", CONFIG["model_cfg"])
    path = changed(task_arithmetic, model="zeroshot.pt", architecture="ViT-T-4")
    with pytest.raises(UserError, match=r"zeroshot.pt computes with QuickGELU.*with -quickgelu"):
        open_zoo(load_zoo(path))
    assert any("computes with QuickGELU" in problem for problem in preview(load_zoo(path)).problems)


def test_names_of_architectures_that_are_wrong_are_answered_with_the_nearest(tmp_path):
    path = make_zoo(tmp_path)
    for name, near in (("ViT-B/32", "ViT-B-32"), ("vit-l-14", "ViT-L-14"), ("ViT-B-32-quickglu", "ViT-B-32-quickgelu")):
        with pytest.raises(UserError, match=rf"open_clip has no model '{name}': the nearest are .*\b{near}\b"):
            open_zoo(load_zoo(changed(path, model="base", architecture=name)))
    with pytest.raises(UserError, match="leave one out"):
        load_zoo(changed(path, model="base", architecture="ViT-B-32", kind="transformers"))
    with pytest.raises(UserError, match=r"goes into base.architecture"):
        load_zoo(changed(path, model="ViT-B-32"))
    torch.save({"visual.proj": torch.ones(2, 2)}, tmp_path / "zeroshot.pt")
    with pytest.raises(UserError, match=r"zeroshot.pt holds no open_clip_config.json.*base.architecture"):
        open_zoo(load_zoo(changed(path, model="zeroshot.pt")))


# What is built


def test_nothing_takes_memory_before_weights_are_put_in(tmp_path):
    opened = open_zoo(load_zoo(make_zoo(tmp_path)))
    assert all(one.is_meta for one in opened.model.module.parameters())
    x = torch.randn(3, 5, 16)
    block = opened.model.blocks[0]
    values = block(block.of(opened.base), x)
    assert not values.is_meta
    opened.model.to("cpu")
    assert all(one.is_meta for one in opened.model.module.parameters())
    opened.model.load({name: one for name, one in opened.base.items() if name.startswith("visual.")})
    opened.model.to("cpu")
    assert {name for name, one in opened.model.module.named_parameters() if one.is_meta} == {
        name for name in opened.base if not name.startswith("visual.")
    }
    assert torch.allclose(block.module(x), values, atol=1e-6)


@pytest.mark.parametrize("custom", [False, True])
def test_both_towers_compute_what_open_clips_own_model_does(tmp_path, custom):
    config = CONFIG | {"model_cfg": CONFIG["model_cfg"] | {"custom_text": custom}}
    save_model(tmp_path, {})
    (tmp_path / CONFIG_NAME).write_text(json.dumps(config))
    torch.manual_seed(0)
    own = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False).eval()
    model = open_vision_model(tmp_path)
    loaded = model.load(own.state_dict())
    images, texts = torch.randn(2, 3, 8, 8), torch.tensor([[1, 2, 7, 0], [3, 7, 0, 0]])
    with torch.no_grad():
        assert torch.equal(model.features(images), own.encode_image(images))
        assert torch.allclose(loaded.encode_text(texts), own.encode_text(texts), atol=1e-6)
    buffers = dict(loaded.named_buffers())
    assert buffers and buffers.keys() == dict(own.named_buffers()).keys()
    assert all(torch.equal(buffers[name], one) for name, one in own.named_buffers())


def test_an_architecture_is_the_one_that_open_clip_builds_by_this_name():
    model = open_vision_model("unused", "ViT-B-32-quickgelu")
    with torch.device("meta"):
        own = open_clip.create_model("ViT-B-32-quickgelu", load_weights=False, device="meta")
    shapes = {name: one.shape for name, one in own.state_dict().items()}
    assert {name: one.shape for name, one in model.module.state_dict().items()} == shapes
    assert model.transform.identity == str(image_transform_v2(PreprocessCfg(), is_train=False))
    assert (
        model.config["model_cfg"]["quick_gelu"] and model.identity != open_vision_model("unused", "ViT-B-32").identity
    )


WRONG = {
    "a ResNet": ({"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}, {}, "ModifiedResNet"),
    "no layers": ({"vision_cfg": CONFIG["model_cfg"]["vision_cfg"] | {"layers": 0}}, {}, "of one layer at least"),
    "no patches": (
        {"vision_cfg": CONFIG["model_cfg"]["vision_cfg"] | {"patch_size": 0}},
        {},
        "correct its `model_cfg`",
    ),
    "large patches": (
        {"vision_cfg": CONFIG["model_cfg"]["vision_cfg"] | {"patch_size": 9}},
        {},
        "correct its `model_cfg`",
    ),
    "no width": ({"vision_cfg": CONFIG["model_cfg"]["vision_cfg"] | {"width": 0}}, {}, "correct its `model_cfg`"),
    "no text": ({"text_cfg": None}, {}, "correct its `model_cfg`"),
    "a mean of words": ({}, {"mean": "x"}, "correct its `preprocess_cfg`"),
    "two channels": ({}, {"std": [0.5, 0.5]}, "correct its `preprocess_cfg`"),
    "an unknown mode": ({}, {"interpolation": "x", "resize_mode": "x"}, "correct its `preprocess_cfg`"),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("what", WRONG)
def test_a_config_that_cannot_be_carried_out_is_one_sentence(tmp_path, what):
    model, preprocess, says = WRONG[what]
    path = make_zoo(tmp_path)
    config = {"model_cfg": CONFIG["model_cfg"] | model, "preprocess_cfg": CONFIG["preprocess_cfg"] | preprocess}
    (tmp_path / "base" / CONFIG_NAME).write_text(json.dumps(config))
    result = CliRunner().invoke(app, ["zoo", "check", str(path)])
    assert isinstance(result.exception, UserError) and says in str(result.exception)
    assert CONFIG_NAME in str(result.exception) and "\n" not in str(result.exception)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
