"""A zoo of one's own as a form fills it in: what of it is refused and in which words, and that no field is lost on the way."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fda.errors import UserError
from fda.home import model_roots
from fda.zoos.own_zoo import (
    Draft,
    TaskDraft,
    content_of,
    draft_of,
    draft_of_family,
    draft_of_folder,
    save,
    shown,
    unused_name,
    zoo_text,
)
from fda.zoos.zoo import Zoo, list_zoos, load_zoo, own_folder, own_zoos, read_zoo_file


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A model root with a family: a base, two finetuned models, heads, data in three splits. FDA_HOME lies outside."""
    root = tmp_path / "mine"
    for name in ("base", "red", "bright"):
        (root / "family" / name).mkdir(parents=True)
        (root / "family" / name / "config.json").write_text("{}")
    (root / "family" / "heads").mkdir()
    (root / "family" / "heads" / "red.safetensors").touch()
    for split in ("train", "validation", "test"):
        (root / "data" / "red").mkdir(parents=True, exist_ok=True)
        (root / "data" / "red" / f"{split}.parquet").touch()
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(root))
    return root.resolve()


@pytest.fixture
def draft(root) -> Draft:
    tasks = (TaskDraft("red", "family/red"), TaskDraft("bright", "family/bright"))
    return Draft("mine", "family/base", tasks=tasks)


def with_task(draft: Draft, **fields) -> Draft:
    return replace(draft, tasks=(replace(draft.tasks[0], **fields), *draft.tasks[1:]))


def refused(draft: Draft) -> str:
    with pytest.raises(UserError) as error:
        content_of(draft)
    return str(error.value)


def test_what_is_saved_is_a_zoo_by_its_name_even_where_fda_home_is_no_model_root(draft, root):
    assert own_folder() not in model_roots()
    saved = save(draft)
    zoo = load_zoo("mine", roots=model_roots())
    assert zoo.task_names == ("red", "bright") and zoo.base.model == str(root / "family" / "base")
    assert own_zoos() == {"mine": own_folder() / "mine.yaml"}
    assert [path.name for path in own_folder().iterdir()] == ["mine.yaml"], "no part of a file stays"
    assert saved.written == (own_folder() / "mine.yaml").read_text()


def test_a_zoo_of_ones_own_that_is_a_link_out_of_the_roots_is_refused(draft, tmp_path):
    save(draft)
    outside = tmp_path / "outside.yaml"
    (own_folder() / "mine.yaml").rename(outside)
    (own_folder() / "mine.yaml").symlink_to(outside)
    with pytest.raises(UserError, match="outside"):
        load_zoo("mine", roots=model_roots())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": ""}, "the zoo's name is missing"),
        ({"name": "../mine"}, "the zoo's name, ../mine, cannot be a file's name"),
        ({"name": "demo"}, "demo is the name of a shipped zoo"),
        ({"model": " "}, "the base model is missing"),
        ({"model": "family/none/at/all"}, "the base model, family/none/at/all, is neither there nor a hub id"),
        ({"model": "none"}, "the base model, none, is neither there nor a hub id"),
        ({"model": "/etc"}, "/etc lies outside the folders that pages may read"),
        ({"model": "../outside"}, "lies outside"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all lies outside"),
        ({"model": "~nobody-of-this-name/base"}, "~nobody-of-this-name/base"),
        ({"model": "a" * 300}, "is neither there nor a hub id"),
        ({"model": "a\0b"}, "cannot be a path"),
        ({"tasks": ()}, "there is no task"),
    ],
)
def test_a_field_that_is_wrong_is_named(draft, root, changed, says):
    (root.parent / "outside").mkdir()
    assert says in refused(replace(draft, **changed))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": ""}, "the name of task 1 is missing"),
        ({"name": "re d"}, "the name of task 1, re d, cannot be"),
        ({"name": "bright"}, "two tasks are called bright"),
        ({"model": ""}, "the model of red is missing"),
        ({"model": "none"}, "the model of red, none, is neither there nor a hub id"),
        ({"head": "file"}, "the head of red is missing"),
        ({"head": "file", "head_file": "org/name"}, "the head of red, org/name, is not there"),
        ({"head": "zero_shot", "classes": "cat\n\n"}, "two class names"),
        ({"head": "zero_shot", "classes": "cat\ndog", "templates": ""}, "a template"),
        ({"data": "none"}, "the data of red, none, is neither there nor"),
        ({"data": "data/red", "input": ""}, "the input of red"),
        ({"data": "data/red", "input": "a, b, c"}, "the input of red"),
        ({"data": "data/red", "split": " "}, "the test split of red is missing"),
        ({"data": "data/red", "metric": "beauty"}, "tasks.0.data.metric"),
    ],
)
def test_a_field_of_a_task_that_is_wrong_is_named_with_its_task(draft, changed, says):
    assert says in refused(with_task(draft, **changed))


def test_a_checkpoint_with_a_link_out_of_the_roots_is_refused(draft, root, tmp_path):
    (tmp_path / "weights").touch()
    (root / "family" / "red" / "model.safetensors").symlink_to(tmp_path / "weights")
    assert "outside" in refused(draft)


def test_ids_stay_ids_and_a_folder_that_is_there_goes_before_an_id(draft, root):
    content = content_of(replace(draft, model="org/base@v1:folder"))
    assert content["base"]["model"] == "org/base@v1:folder"
    assert content["tasks"][0]["model"] == str(root / "family" / "red")


def test_only_what_differs_from_the_usual_is_written(draft):
    content = content_of(with_task(draft, data="org/data"))
    assert content["tasks"][0]["data"] == {"path": "org/data", "split": "test", "input": "image", "label": "label"}
    assert list(content) == ["name", "base", "tasks"] and list(content["base"]) == ["model"]
    assert "data" not in content["tasks"][1]


def test_every_field_comes_back_from_the_file(root):
    """Also those that no form asks for: whoever opens his file, changes one word and saves it, loses nothing."""
    content = {
        "name": "whole",
        "description": "Two tasks, größer",
        "base": {"model": str(root / "family" / "base"), "kind": "transformers"},
        "tasks": [
            {
                "name": "red",
                "model": str(root / "family" / "red"),
                "title": "Red?",
                "description": "whether it is red",
                "head": str(root / "family" / "heads" / "red.safetensors"),
                "data": {
                    "path": str(root / "data" / "red"),
                    "name": "small",
                    "split": "validation",
                    "validation_split": "train",
                    "train_split": "train",
                    "input": ["question", "sentence"],
                    "label": "answer",
                    "samples": 100,
                    "seed": 3,
                    "bad_rows": "skip",
                    "metric": "matthews",
                },
            },
            {
                "name": "bright",
                "model": "org/bright",
                "head": {"zero_shot": {"classes": ["dark", "not: dark"], "templates": ["a {} photo", "{}"]}},
                "data": {"path": "org/data", "split": "test", "input": "img", "label": "label"},
            },
        ],
        "family": "roberta-base",
        "part": "mlp",
        "adapt": {"epochs": 3},
        "cited": "roberta",
    }
    path = root / "whole.yaml"
    path.write_text(yaml.safe_dump(content))
    draft = draft_of(read_zoo_file(path), path.parent)
    assert draft.tasks[0].model == "family/red", "paths are shown from their root"
    assert draft.tasks[0].input == "question, sentence" and draft.tasks[1].classes == "dark\nnot: dark"
    again = yaml.safe_load(zoo_text(content_of(draft)))
    assert again == content
    assert Zoo.model_validate(again) == Zoo.model_validate(content)


def test_the_architecture_of_weights_without_a_config_comes_back_from_the_file(draft, root):
    content = content_of(replace(draft, kind="open_clip", architecture=" ViT-B-32-quickgelu "))
    base = {"model": str(root / "family" / "base"), "kind": "open_clip", "architecture": "ViT-B-32-quickgelu"}
    assert content["base"] == base
    path = root / "short.yaml"
    path.write_text(yaml.safe_dump(content | {"base": {key: base[key] for key in ("model", "architecture")}}))
    assert content_of(draft_of(read_zoo_file(path), root)) == content
    assert "architecture" not in content_of(replace(draft, architecture="left over"))["base"]


def test_paths_of_a_file_are_seen_from_its_folder(root):
    path = root / "family" / "zoo.yaml"
    tasks = [{"name": "red", "model": "red", "data": {"path": "../data/red"}}]
    path.write_text(yaml.safe_dump({"name": "near", "base": {"model": "base"}, "tasks": tasks}))
    draft = draft_of(read_zoo_file(path), path.parent)
    assert (draft.model, draft.tasks[0].model, draft.tasks[0].data) == ("family/base", "family/red", "data/red")


def test_the_shipped_zoos_are_drafts_that_make_the_same_zoo_under_another_name(monkeypatch):
    monkeypatch.delenv("FDA_MODEL_ROOTS", raising=False)
    for path in list_zoos().values():
        draft = replace(draft_of(read_zoo_file(path), path.parent), name="mine")
        assert Zoo.model_validate(content_of(draft)).model_dump() == load_zoo(path).model_dump() | {"name": "mine"}


def test_a_path_is_shown_from_its_root_only_where_that_means_the_same(root, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / "family" / "base").mkdir(parents=True)
    monkeypatch.setenv("FDA_MODEL_ROOTS", f"{root}:{other}")
    assert shown(root / "family" / "base") == "family/base"
    assert shown(other / "family" / "base") == str(other.resolve() / "family" / "base")
    assert shown(root) == str(root)


def test_a_saved_zoo_is_replaced_by_who_read_it_and_by_nobody_else(draft):
    first = save(draft)
    with pytest.raises(UserError, match="there is a zoo called mine already"):
        save(draft)
    second = save(replace(first, tasks=first.tasks[:1]))
    assert load_zoo("mine").task_names == ("red",)
    with pytest.raises(UserError, match="already"):  # written over meanwhile
        save(first)
    assert (own_folder() / "mine.yaml").read_text() == second.written
    save(replace(second, name="copy"))
    assert set(own_zoos()) == {"mine", "copy"}


def test_a_name_is_free_if_no_zoo_of_either_kind_has_it(draft):
    assert unused_name() == "my-zoo" and unused_name("demo") == "demo-2"
    save(replace(draft, name="my-zoo"))
    assert unused_name() == "my-zoo-2"


def test_a_disk_that_cannot_be_written_is_one_sentence(draft):
    own_folder().parent.mkdir(parents=True, exist_ok=True)
    own_folder().touch()  # a file where the folder belongs: so it is for root too
    with pytest.raises(UserError, match="could not be written"):
        save(draft)


def test_a_family_of_models_is_a_draft_with_its_heads_and_data(root):
    draft = draft_of_family(root / "family", "mine")
    assert (draft.name, draft.model) == ("mine", "family/base")
    bright, red = draft.tasks
    assert (bright.name, bright.model, bright.head, bright.data) == ("bright", "family/bright", "checkpoint", "")
    assert (red.head, red.head_file) == ("file", "family/heads/red.safetensors")
    assert (red.data, red.split, red.validation_split, red.train_split) == ("data/red", "test", "validation", "train")
    assert content_of(draft)["tasks"][1]["data"]["path"] == str(root / "data" / "red")


@pytest.mark.parametrize(
    ("architecture", "whose"),
    [("clip", "vision"), ("llama", "llama"), ("roberta", "roberta-base"), ("distilbert", "roberta-base")],
)
def test_a_familys_settings_and_columns_are_what_its_files_say(root, architecture, whose):
    (root / "family" / "base" / "config.json").write_text(f'{{"model_type": "{architecture}"}}')
    (root / "data" / "bright").mkdir()
    (root / "data" / "bright" / "test.csv").write_text("idx,question,sentence,labels\n0,a,b,1\n")
    draft = draft_of_family(root / "family", "mine")
    assert draft.family == whose
    bright, red = draft.tasks
    assert (bright.input, bright.label) == ("question", "labels")
    assert (red.input, red.label) == ("image", "label"), "where nothing is known, what is usual"


def test_a_family_without_a_base_leaves_the_base_to_be_given(root):
    (root / "family" / "base").rename(root / "family" / "other")
    draft = draft_of_family(root / "family", "mine")
    assert draft.model == "" and [task.name for task in draft.tasks] == ["bright", "other", "red"]
    assert "the base model is missing" in refused(draft)


def test_a_typed_folder_is_a_draft_or_is_told_for_what_it_is(root):
    drafted = draft_of_folder("family")
    assert (drafted.name, drafted.model) == ("family", "family/base")
    assert [task.name for task in drafted.tasks] == ["bright", "red"]
    with pytest.raises(UserError, match="family/red is one model, but a zoo is a base and what was finetuned"):
        draft_of_folder("family/red")
    with pytest.raises(UserError, match="the folder of checkpoints, gone, is not there"):
        draft_of_folder("gone")
    with pytest.raises(UserError, match="lies outside the folders"):
        draft_of_folder("/etc")
    (root / "zoo.yaml").touch()
    with pytest.raises(UserError, match="zoo.yaml is a zoo already"):
        draft_of_folder("zoo.yaml")


def test_a_folders_zoo_file_that_is_a_link_out_of_the_roots_is_refused(root, tmp_path):
    (tmp_path / "elsewhere.yaml").write_text("name: secret\n")
    (root / "zoo.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(UserError, match="lies outside the folders"):
        load_zoo(str(root), roots=[root])
