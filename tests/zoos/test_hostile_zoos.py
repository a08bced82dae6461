"""Zoos that mean harm or are broken: nothing in them runs, nothing outside is read, and one sentence says what is wrong."""

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.checkpoints.weights import Checkpoint
from fda.cli import app as cli
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.registry import METHODS
from fda.store.files import load_anchors, save_tensors
from fda.tasks.data import load_split
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.tiny_zoo import make_zoo

LEGACY = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}})


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A zoo of its own for every test, to break."""
    return make_zoo(tmp_path / "zoo")


def changed(zoo: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    content = yaml.safe_load(zoo.read_text())
    edit(content)
    zoo.write_text(yaml.safe_dump(content))
    return zoo


@pytest.fixture
def checked(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """`python -m fda …` here: (exit code, stderr)."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fda", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    return run


# Files that would run something


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles of a state dict that make the file `canary` when Python's own unpickler reads them."""
    command = f"touch {canary}"
    head, tail = b"\x80\x02}(" + text("weight"), b"u."
    call = text(command) + b"\x85R"
    state = b"cargparse\nNamespace\n)\x81}(" + text("__setstate__")
    return {
        "reduce": head + b"cos\nsystem\n" + call + tail,
        "build": head + state + b"cos\nsystem\nub" + text(command) + b"b" + tail,
        "nested global": b"\x80\x04}(" + text("weight") + b"\x8c\x05torch\x8c\x09os.system\x93" + call + tail,
    }


def contained(folder: Path, container: str, attack: bytes) -> Path:
    """The attack in a zip of torch, in torch's older format, as a bare pickle, or as numpy's array of objects."""
    path = folder / {"zip": "w.pt", "legacy": "old.pt", "bare": "w.bin", "numpy": "dual_anchors_layer_1.npy"}[container]
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", attack)
            archive.writestr("archive/version", "3")
    elif container == "legacy":
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in LEGACY) + attack + pickle.dumps([], 2))
    elif container == "numpy":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
        path.write_bytes(header.getvalue() + attack)
    else:
        path.write_bytes(attack)
    return path


ATTACKS = list(attacks(Path("x")))
CONTAINERS = ("zip", "legacy", "bare", "numpy")


def with_models(zoo: Path, path: Path, field: str) -> Path:
    """The zoo naming the file in this field."""
    return changed(zoo, lambda c: c["tasks"][0].update({field: str(path)}))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_that_would_run_something_is_refused_wherever_it_is_named(zoo, checked, tmp_path, attack, container):
    canary = tmp_path / "canary"
    path = contained(tmp_path, container, attacks(canary)[attack])
    read = read_published_anchors if container == "numpy" else lambda one: dict(open_weights(one))
    with pytest.raises(UserError, match=f"{path.name} ") as caught:
        read(path)
    assert "\n" not in str(caught.value) and "not opened" in str(caught.value)
    if container == "numpy":
        (tmp_path / "theirs" / "red").mkdir(parents=True)
        path = path.rename(tmp_path / "theirs" / "red" / path.name)
        asked = ("import", tmp_path / "theirs", "--zoo", zoo, "--tasks", "red")
        code, said = checked(*asked)
        assert code == 2 and path.name in said and "not opened" in said and len(said.splitlines()) == 1
    else:
        own = zoo.read_text()
        for field in ("model", "head"):
            zoo.write_text(own)
            code, said = checked("zoo", "check", with_models(zoo, path, field))
            assert code == 2 and path.name in said and "not opened" in said and len(said.splitlines()) == 1
    assert not canary.exists()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_those_files_are_armed(tmp_path, attack, container):
    """Otherwise the test above could not fail."""
    canary = tmp_path / "canary"
    path = contained(tmp_path, container, attacks(canary)[attack])
    try:
        if container == "numpy":
            np.load(path, allow_pickle=True)
        elif container == "bare":
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
    except Exception:
        assert canary.exists()
    assert canary.exists()


def test_an_adapter_and_a_folder_of_the_hub_with_such_a_file(zoo, checked, tmp_path):
    canary = tmp_path / "canary"
    for name, config in (("pytorch_model.bin", None), ("adapter_model.bin", {"peft_type": "LORA", "r": 2})):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        contained(folder, "bare", attacks(canary)["reduce"]).rename(folder / name)
        if config:
            (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["c_fc"]}))
        code, said = checked("zoo", "check", with_models(zoo, folder, "model"))
        assert code == 2 and name in said and len(said.splitlines()) == 1 and not canary.exists()


# Paths


def outside(zoo: Path) -> Path:
    """A copy of the zoo's parts beside its folder, where pages must not read."""
    make_zoo(zoo.parent.parent / "outside")
    return zoo.parent.parent / "outside"


FIELDS = {
    "base.model": (lambda c, path: c["base"].update(model=path), "base"),
    "model": (lambda c, path: c["tasks"][0].update(model=path), "red"),
    "a model's file": (lambda c, path: c["tasks"][0].update(model=path), "red/open_clip_model.safetensors"),
    "head": (lambda c, path: c["tasks"][0].update(head=path), "red.head.safetensors"),
    "data.path": (lambda c, path: c["tasks"][0]["data"].update(path=path), "data/red"),
    "a table": (lambda c, path: c["tasks"][0]["data"].update(path=path), "data/red/test.parquet"),
}
WAYS = {
    "absolute": lambda zoo, there: str(there),
    "dots": lambda zoo, there: os.path.relpath(there, zoo.parent),
    "dots within": lambda zoo, there: f"red/../../outside/{there.relative_to(zoo.parent.parent / 'outside')}",
    "link": lambda zoo, there: linked(zoo.parent / "link", there),
    "link to a folder above": lambda zoo, there: f"{linked(zoo.parent / 'up', there.parent)}/{there.name}",
}


def linked(link: Path, there: Path) -> str:
    link.symlink_to(there)
    return link.name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", FIELDS)
def test_pages_read_no_path_out_of_the_roots(zoo, field, way):
    put, part = FIELDS[field]
    there = outside(zoo) / part
    path = WAYS[way](zoo, there)
    changed(zoo, lambda content: put(content, path))
    with pytest.raises(UserError, match="lies outside the folders that pages may read"):
        load_zoo(zoo, roots=[zoo.parent])
    assert load_zoo(zoo, roots=[zoo.parent, there.parents[len(Path(part).parts)]]).name == "tiny"
    assert load_zoo(zoo).name == "tiny", "the command line reads what its user can read"


def test_a_link_out_of_the_roots_beside_an_index_or_a_config(zoo, tmp_path):
    away = outside(zoo)
    shards = zoo.parent / "shards"
    (shards / "deep").mkdir(parents=True)
    names = load_file(zoo.parent / "red" / "open_clip_model.safetensors")
    index = {"weight_map": dict.fromkeys(names, "deep/one.safetensors")}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    (shards / "deep" / "one.safetensors").symlink_to(away / "red" / "open_clip_model.safetensors")
    for path in (shards, shards / "model.safetensors.index.json"):
        with pytest.raises(UserError, match="lies outside the folders that pages may read"):
            load_zoo(with_models(zoo, path, "model"), roots=[zoo.parent])
    with pytest.raises(UserError, match="outside its folder: do not trust this checkpoint"):
        index["weight_map"] = dict.fromkeys(names, "../../outside/red/open_clip_model.safetensors")
        (shards / "model.safetensors.index.json").write_text(json.dumps(index))
        dict(open_weights(shards))


# Data


def test_no_script_runs_where_data_lie(zoo, checked, tmp_path):
    canary = tmp_path / "canary"
    for name in ("red.py", "dataset.py", "data.py"):
        (zoo.parent / "data" / "red" / name).write_text(f"open({str(canary)!r}, 'w')\n")
    code, said = checked("zoo", "check", zoo)
    assert not canary.exists()
    assert code == 2 and "red.py" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("place", ["../../../outside/data/red/test.parquet", "http://127.0.0.1:9/test.parquet", "{}"])
def test_a_readme_names_no_data_elsewhere(zoo, place):
    there = outside(zoo) / "data" / "red" / "test.parquet"
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "test", "path": place.format(there)}]}]}
    (zoo.parent / "data" / "red" / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    loaded = load_zoo(zoo)
    with pytest.raises(UserError) as caught:
        load_split(loaded.task("red"), "test", None)
    assert "\n" not in str(caught.value)
    assert ("could not be loaded" if "http" in place else "outside that folder: do not trust it") in str(caught.value)


def test_a_table_names_no_image_elsewhere(zoo):
    there = outside(zoo) / "secret.png"
    place = zoo.parent / "data" / "red"
    for path in (there, place / "own.png"):
        Image.new("RGB", (8, 8)).save(path)
    for path, refused in ((str(there), True), ("../../../outside/secret.png", True), (str(place / "own.png"), False)):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
        row = {"image": [{"bytes": None, "path": path}], "label": [0]}
        table = datasets.Dataset.from_dict(row, features=features.copy())
        table.to_parquet(place / "test.parquet") if not refused else _write_as_it_is(table, place / "test.parquet")
        if refused:
            with pytest.raises(UserError, match="names the image .*secret.png, outside"):
                load_split(load_zoo(zoo).task("red"), "test", None)
        else:
            assert len(load_split(load_zoo(zoo).task("red"), "test", None)) == 1


def _write_as_it_is(table: datasets.Dataset, path: Path) -> None:
    """`to_parquet` would put the file's bytes into the table."""
    parquet.write_table(table.data.table, path)


# Zoo files


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines)


def merged_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (bomb(12), "repeats its parts"),
        (merged_bomb(40), "repeats its parts"),
        ("a: &a [*a]\n", "repeats its parts"),
        ("a: &a {b: *a}\n", "repeats its parts"),
        ("adapt: " + "[" * 100_000, "is not YAML"),
        ("adapt: " + "{a: " * 5_000 + "1" + "}" * 5_000, "is not YAML"),
        ("name: " + "9" * 10_000, r"\(line 1\) holds a value of type int with 10,000 characters, and 64 are read"),
        ("name: 2001-99-99", "is not YAML"),
        ("name: !!python/object/apply:os.system ['touch canary']", "is not YAML"),
        ("name: !!binary '***'", "the field"),
        ("? [a, b]\n: 1", "is not YAML"),
        ("1: 2", "the field"),
        ("x" * 3_000_000, "is larger than 2 MB"),
        ("name: a\n--- \nname: b", "is not YAML"),
        ("name: \x00", "is not YAML"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_zoo_files_that_would_blow_up(tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "zoo.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load_zoo(path)
    assert "\n" not in str(caught.value) and "zoo.yaml" in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "canary").exists()


def test_aliases_within_measure_stay(zoo):
    templates = "    head: {zero_shot: {classes: &names ['no', 'yes'], templates: ['a {}']}}\n"
    zoo.write_text(
        "name: tiny\nbase: {model: base}\ntasks:\n"
        f"  - name: red\n    model: red\n{templates}"
        "  - name: bright\n    model: bright\n    head: {zero_shot: {classes: *names, templates: ['a {}']}}\n"
    )
    assert load_zoo(zoo).task("bright").head.zero_shot.classes == ("no", "yes")


# Safetensors


def raw(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def f32(start: int, end: int, *shape: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


BROKEN = {
    "a length beyond the file": raw({"a": f32(0, 8, 2)}, bytes(8), length=10_000),
    "a length of all bits": b"\xff" * 8 + b"{}",
    "a length of nothing": raw({"a": f32(0, 8, 2)}, bytes(8), length=0),
    "overlapping tensors": raw({"a": f32(0, 8, 2), "b": f32(4, 12, 2)}, bytes(12)),
    "a hole between tensors": raw({"a": f32(0, 8, 2), "b": f32(12, 20, 2)}, bytes(20)),
    "data beyond the tensors": raw({"a": f32(0, 8, 2)}, bytes(12)),
    "tensors beyond the data": raw({"a": f32(0, 8, 2)}, bytes(4)),
    "an end before its start": raw({"a": f32(8, 0, 2)}, bytes(8)),
    "a negative place": raw({"a": f32(-8, 0, 2)}, bytes(8)),
    "a size below zero": raw({"a": f32(0, 8, -2)}, bytes(8)),
    "a header that is a list": raw([1, 2], bytes(8)),
    "a header that is no JSON": raw(b'{"a": ', bytes(8)),
    "a header without end": raw(b'{"a":' * 50_000, bytes(8)),
    "a header that is no text": raw(b'{"\xff\xfe": 1}', bytes(8)),
    "a dtype of another width": raw({"a": f32(0, 8, 2) | {"dtype": "F64"}}, bytes(8)),
    "a dtype that there is not": raw({"a": f32(0, 8, 2) | {"dtype": "F33"}}, bytes(8)),
    "no dtype": raw({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_safetensors_file_is_named(zoo, checked, tmp_path, name):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(BROKEN[name])
    with pytest.raises(UserError, match=r"broken.safetensors"):
        dict(open_weights(path))
    code, said = checked("zoo", "check", with_models(zoo, path, "model"))
    assert code == 2 and "broken.safetensors" in said and len(said.splitlines()) == 1


def test_a_cut_file_is_named_wherever_it_was_cut(zoo, tmp_path):
    whole = (zoo.parent / "red" / "open_clip_model.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut.safetensors"):
            dict(open_weights(path))


@pytest.mark.parametrize("content", ["zip", "npy", "gguf", "hdf5", "html", "lfs", "text"])
def test_another_format_under_the_name_is_read_as_what_it_is_or_named(zoo, checked, tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content == "zip":  # PyTorch's own file, rightly read though wrongly named
        state = load_file(zoo.parent / "red" / "open_clip_model.safetensors")
        torch.save(state, path)
        found = open_weights(path)
        assert set(found) == set(state) and all(torch.equal(found[name], state[name]) for name in state)
        return
    if content == "npy":
        np.save(tmp_path / "a.npy", np.ones(3))
        path.write_bytes((tmp_path / "a.npy").read_bytes())
    else:
        path.write_bytes(
            {
                "gguf": b"GGUF\x03\0\0\0",
                "hdf5": b"\x89HDF\r\n\x1a\n",
                "html": b"<!DOCTYPE html><p>404",
                "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "text": b"hello, this is a text",
            }[content]
        )
    code, said = checked("zoo", "check", with_models(zoo, path, "model"))
    assert code == 2 and "model.safetensors" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(("part", "says"), [("base", "is said to be I32"), ("red", "is I32 where the base has F32")])
def test_weights_labelled_as_integers_are_refused(zoo, checked, part, says):
    """Their bits would be merged as numbers of 10⁹. A label of the same kind and width cannot be told from the truth."""
    path = zoo.parent / part / "open_clip_model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = next(key for key, one in header.items() if key.startswith("visual") and one.get("dtype") == "F32")
    header[name]["dtype"] = "I32"
    path.write_bytes(raw(header, content[8 + length :]))
    assert load_file(path)[name].dtype == torch.int32
    code, said = checked("zoo", "check", zoo)
    assert code == 2 and f"{path}: tensor {name} {says}" in said and len(said.splitlines()) == 1
    with pytest.raises(UserError, match=says):
        open_zoo(load_zoo(zoo))


# Numbers that are none, and bits that nobody can see


@pytest.mark.parametrize("method", ["average", "ta", "ties", "tsv", "wudi", "iso_c", "dare", "magmax", "slerp"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_named_with_their_file(tmp_path, method, value):
    state = {"a.weight": torch.randn(8, 8), "b.bias": torch.randn(8)}
    for name, file in (("base", state), ("task0", state), ("task1", {k: v.clone() for k, v in state.items()})):
        file = {key: tensor + 0.1 * torch.randn(tensor.shape) for key, tensor in file.items()}
        if name == "task1":
            file["a.weight"][3, 2] = value
        save_file(file, tmp_path / f"{name}.safetensors")
    base, *tasks = (Checkpoint(tmp_path / f"{name}.safetensors") for name in ("base", "task0", "task1"))
    with pytest.raises(UserError, match=r"task1.safetensors: tensor a.weight holds values that are not finite"):
        merge(METHODS[method], base, tasks)
    if method != "slerp":  # which never reads the base's numbers
        with pytest.raises(UserError, match=r"task1.safetensors: tensor a.weight holds values that are not finite"):
            merge(METHODS[method], tasks[1], [base, tasks[0]])


def test_a_bit_that_changed_since_anchors_were_made_is_noticed(zoo, tmp_path):
    """Nothing in a safetensors file tells of a changed bit in its numbers; the fingerprint that anchors carry does."""
    path = zoo.parent / "red" / "open_clip_model.safetensors"
    made_with = Checkpoint(path).fingerprint
    run = tmp_path / "run"
    save_tensors(
        run / "anchors" / "red" / "0.safetensors",
        {"anchors": torch.ones(2, 5, 16)},
        {"base_fingerprint": "b", "checkpoint_fingerprint": made_with},
    )
    assert load_anchors(run, "red", 0, base="b", finetuned=made_with).shape == (2, 5, 16)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="was made from another checkpoint"):
        load_anchors(run, "red", 0, base="b", finetuned=Checkpoint(path).fingerprint)
