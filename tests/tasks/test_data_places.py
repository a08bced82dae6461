"""Where data may lie: links are the user's own, and what cannot be read is told by its cause."""

import hashlib
import os
import shutil
from pathlib import Path

import datasets
import pytest
import yaml

from fda.errors import UserError
from fda.tasks.data import load_split
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import image_zoo, text_zoo
from tests.support.tiny_zoo import make_zoo


def with_blobs(folder: Path, blobs: Path) -> None:
    """As the hub's cache keeps a folder: each file a relative link to its content, whose name has no ending."""
    blobs.mkdir(parents=True, exist_ok=True)
    for path in [one for one in folder.rglob("*") if one.is_file()]:
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))


def read(path: Path, roots: list[Path] | None = None) -> int:
    return len(load_split(load_zoo(path, roots=roots).tasks[0], "test", None))


def with_data(path: Path, place: Path) -> Path:
    content = yaml.safe_load(path.read_text())
    content["tasks"][0]["data"]["path"] = str(place)
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("part", ["", "test.parquet"])
def test_a_snapshot_of_the_hubs_cache_is_data(tmp_path, part):
    path = make_zoo(tmp_path / "zoo")
    cache = tmp_path / "hub" / "datasets--org--red"
    snapshot = cache / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    (path.parent / "data" / "red").rename(snapshot)
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "test.*"}]}]}
    (snapshot / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    with_blobs(snapshot, cache / "blobs")
    with_data(path, snapshot / part)
    assert read(path) == 40
    assert read(path, [path.parent, tmp_path / "hub"]) == 40
    with pytest.raises(UserError, match="lies outside the folders that pages may read"):
        read(path, [path.parent, snapshot])


def test_a_folder_of_linked_images_is_data_and_roots_say_where_links_may_lead(tmp_path):
    path = image_zoo(tmp_path / "zoo", "vit")
    with_blobs(path.parent / "data" / "first", tmp_path / "elsewhere")
    assert read(path) == 24
    split = load_split(load_zoo(path).tasks[0], "test", open_zoo(load_zoo(path)).model.transform)
    assert len(split.at(range(24))) == 24
    assert read(path, [tmp_path]) == 24
    with pytest.raises(UserError, match="lies outside the folders that pages may read"):
        read(path, [path.parent])


def test_a_link_behind_a_linked_folder_is_judged_too(tmp_path):
    path = make_zoo(tmp_path / "zoo")
    data, there = path.parent / "data" / "red", path.parent / "there"
    data.rename(there)
    data.mkdir()
    (data / "linked").symlink_to(there)
    (there / "circle").symlink_to(data)
    assert load_zoo(path, roots=[path.parent]).name == "tiny"
    (tmp_path / "secret.parquet").write_bytes(b"")
    (there / "secret.parquet").symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(UserError, match="secret.parquet lies outside"):
        load_zoo(path, roots=[path.parent])


def test_a_readme_leaves_its_folder_by_no_link_and_dots(tmp_path):
    path = make_zoo(tmp_path / "zoo")
    data = path.parent / "data"
    (data / "red" / "deep").symlink_to(data / "bright")
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "deep/../../a.csv"}]}]}
    (data / "red" / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    (data.parent / "a.csv").write_text("image,label\nx,0\n")
    (data / "a.csv").write_text("image,label\nx,0\n")
    with pytest.raises(UserError, match="could not be loaded|outside that folder: do not trust it"):
        read(path)


def test_a_folder_that_save_to_disk_wrote_is_told_how_to_write_it(tmp_path):
    path = make_zoo(tmp_path / "zoo")
    folder = path.parent / "data" / "red"
    rows = datasets.load_dataset(str(folder), split="test")
    shutil.rmtree(folder)
    rows.save_to_disk(str(folder))
    with pytest.raises(UserError, match=f"{folder} was written by `save_to_disk`: write it by `to_parquet` instead"):
        read(path)


@pytest.mark.parametrize(
    "table, says",
    [
        ("sentence,label\na,0\na,b,c,1\n", r"line 3 of .*test-2.csv has 4 fields, its header only 2: wrap texts"),
        (
            "sentence,other\na,0\n",
            r"the split 'test' of .* could not be loaded \(Couldn't cast sentence: large_string .* because column names don't "
            "match.*check `data.path`",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_told_by_its_cause(tmp_path, table, says):
    path = text_zoo(tmp_path, "bert")
    (tmp_path / "data" / "first" / "test-2.csv").write_text(table)
    with pytest.raises(UserError, match=says) as told:
        read(path)
    assert "\n" not in str(told.value) and "An error occurred" not in str(told.value)
