"""What is suggested of the folders below the roots: checkpoints, data and families, told by the names in them."""

from pathlib import Path

import huggingface_hub.constants
import pandas
import pytest

from fda.home import fda_home
from fda.zoos import nearby
from fda.zoos.nearby import architecture, columns, family, look_around, splits


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache of the test's own."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_are_told_by_what_libraries_write_into_them(root):
    files(root, "clip/open_clip_config.json", "bert/config.json", "lora/adapter_config.json", "notes/readme.txt")
    files(root, "table/rows.csv", "parts/test-00000-of-00001.parquet", "images/train/0.png", "lines/all.jsonl")
    found = look_around([root])
    assert {path.name for path in found.models} == {"clip", "bert", "lora"}
    assert {path.name for path in found.data} == {"table", "parts", "images", "lines"}
    assert found.families == (root,)


def test_one_model_alone_is_no_family(root):
    files(root, "alone/bert/config.json", "pair/one/config.json", "pair/two/config.json")
    assert look_around([root]).families == (root / "pair",)


def test_a_checkpoint_is_not_searched_for_others_nor_are_hidden_folders_links_the_hubs_cache_and_runs(root, cache):
    files(
        root, "bert/config.json", "bert/checkpoint-100/config.json", ".trash/config.json", "node_modules/x/config.json"
    )
    files(cache, "models--org--name/snapshots/c/config.json")
    files(fda_home() / "runs" / "1", "merged/config.json")
    (root / "again").symlink_to(root / "bert")
    found = look_around([root, root.parent])
    assert [path.relative_to(root) for path in found.models] == [Path("bert")]


def test_the_nearest_are_found_first_and_the_search_ends(root, monkeypatch):
    deep = "/".join("abcde")
    files(root, f"{deep}/config.json", f"{deep}/f/config.json", "z/config.json")
    files(root, "a/b/c/d/x/y/config.json")
    assert [str(path.relative_to(root)) for path in look_around([root]).models] == ["z", deep]
    monkeypatch.setattr(nearby, "MOST_FOLDERS", 3)
    assert [path.name for path in look_around([root]).models] == ["z"]


def test_roots_that_are_not_there_or_lie_in_each_other_do_no_harm(root):
    files(root, "bert/config.json")
    assert look_around([root.parent / "none", root.parent, root]).models == (root / "bert",)


def test_ids_are_those_whose_files_are_whole_in_the_cache(root, cache):
    for name, whole in (("models--org--here", True), ("models--org--begun", False), ("models--alone", True)):
        place = files(cache / name, "snapshots/c1/config.json", "snapshots/c1/model.safetensors")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("c1")
        if whole:
            (place / ".fda").mkdir()
            (place / ".fda" / "c1").write_text("config.json\nmodel.safetensors")
    assert look_around([root]).ids == ("org/here",)
    (cache / "models--org--here" / "snapshots" / "c1" / "model.safetensors").unlink()
    assert look_around([root]).ids == ()


@pytest.mark.parametrize("name", ["base", "pretrained-b32", "ZeroShot", "base_model"])
def test_the_base_of_a_family_is_known_by_its_name(root, name):
    files(root, "cars/config.json", f"{name}/config.json", "sun397/config.json", "data/cars/test.csv")
    base, members = family(root)
    assert base == root / name
    assert [(one.name, one.head, one.data) for one in members] == [
        ("cars", None, root / "data" / "cars"), ("sun397", None, None)
    ]  # fmt: skip


def test_heads_and_data_are_found_in_the_family_or_beside_it_the_nearer_first(root):
    files(root, "models/one/config.json", "models/two/config.json", "models/heads/one.safetensors")
    files(root, "heads/one.safetensors", "heads/two.safetensors", "data/two/test.csv")
    base, (one, two) = family(root / "models")
    assert base is None
    assert (one.head, two.head) == (root / "models/heads/one.safetensors", root / "heads/two.safetensors")
    assert (one.data, two.data) == (None, root / "data" / "two")


def test_a_folder_for_each_task_is_a_family_with_its_base_beside_it(root):
    """As `zoo finetune` writes it, also with the tasks in a folder of their own."""
    for place in ("flat", "deep/models"):
        files(root / place, *(f"{task}/{name}" for task in ("cars", "pets") for name in ("model/config.json",)))
        files(root / place, "cars/head.safetensors", "cars/data/test.csv")
    files(root, "flat/base/config.json", "deep/base/config.json", "deep/data/pets/test.csv")
    assert set(look_around([root]).families) == {root / "flat", root / "deep/models"}
    for place in (root / "flat", root / "deep/models"):
        base, (cars, pets) = family(place)
        assert base == root / place.relative_to(root).parts[0] / "base"
        assert (cars.name, cars.model) == ("cars", place / "cars" / "model")
        assert (cars.head, cars.data) == (place / "cars" / "head.safetensors", place / "cars" / "data")
        assert (pets.name, pets.head) == ("pets", None)
    assert pets.data == root / "deep/data/pets"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("test.csv", "train.csv"), ["test", "train"]),
        (("train-00000-of-00002.parquet", "validation-00000-of-00001.parquet"), ["validation", "train"]),
        (("train/0.png", "test/0.png"), ["test", "train"]),
        (("contest.csv", "tested.parquet", "test.txt"), []),
    ],
)
def test_splits_are_told_by_names(root, names, found):
    assert splits(files(root, *names)) == found


def test_columns_are_told_by_the_head_of_a_table(root):
    pandas.DataFrame({"sentence": ["a"], "label": [0]}).to_parquet(
        files(root, "parquet/a.txt") / "parquet" / "b.parquet"
    )
    (files(root, "csv/test.csv") / "csv" / "test.csv").write_text('text,"a, b",label\nx,y,0\n')
    (files(root, "lines/test.jsonl") / "lines" / "test.jsonl").write_text(
        '{"question": "a", "answer": 1}\n{"other": 0}'
    )
    assert columns(root / "parquet") == ["sentence", "label"]
    assert columns(root / "csv") == columns(root / "csv" / "test.csv") == ["text", "a, b", "label"]
    assert columns(root / "lines") == ["question", "answer"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1"),
        ("a.csv", b"\xff\xfe\x00"),
        ("a.csv", b""),
        ("a.jsonl", b'"abc"'),
        ("a.jsonl", b"[1]"),
        ("a.jsonl", b"[" * 10**5),
        ("a.txt", b"a,b"),
    ],
)
def test_a_table_that_is_none_has_no_columns(root, name, content):
    (root / name).write_bytes(content)
    assert columns(root) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"model_type": "bert"}', "bert"),
        ("{}", None),
        ("[]", None),
        ('{"model_type": 1}', None),
        ("{", None),
        ("", None),
    ],
)
def test_the_architecture_is_what_the_config_says(root, text, found):
    (root / "config.json").write_text(text)
    assert architecture(root) == found


def test_a_folder_that_is_not_there_holds_nothing(root):
    none = root / "none"
    assert splits(none) == columns(none) == [] and architecture(none) is None and family(none) == (None, [])
