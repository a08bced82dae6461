"""Hub ids that are paths: what is no id by the hub's grammar reaches no file, and no ref leads out of the cache."""

import os
import random
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from fda.errors import UserError
from fda.home import require_readable
from fda.zoos.hub import cached_folder, missing_models, snapshot_folder
from fda.zoos.hub_ids import inside, is_hub_id, split_id
from fda.zoos.nearby import look_around
from fda.zoos.own_zoo import Draft, TaskDraft, content_of
from fda.zoos.zoo import listed_zoos, load_zoo, own_folder, zoo_path

COMMIT = "a" * 40
ZOO = "name: mine\nbase: {{model: '{}'}}\ntasks: [{{name: a, model: org/a}}]\n"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FDA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


IDS = [
    "org/name",
    "o/n",
    "org/name@main",
    "org/name@refs/pr/1",
    "org/name@v1.0-rc.1",
    f"org/name@{COMMIT}",
    "a_b/c.d-e",
]
IDS += ["org/name:folder", "org/name:a/b.c/d", "org/name@main:a/b", "_a/_b", "org/name:.hidden"]


@pytest.mark.parametrize("text", IDS)
def test_ids_of_the_hub_are_ids(text):
    assert is_hub_id(text)


NO_IDS = [
    "",
    "name",
    "/org/name",
    "org//name",
    "org/name/",
    "-org/name",
    "org-/name",
    "org/.name",
    "org/name.",
    "org/na--me",
]
NO_IDS += ["org/name.git", "org/na..me", "org/nämé", "org/" + "n" * 96, "../name", "org/..", "org/name\n", "org/name\0"]
NO_IDS += [
    f"org/name@{revision}" for revision in ("", "/etc/passwd", "//x", "..", "a/../b", "../../x", "a..b", "a//b", "a/")
]
NO_IDS += [
    f"org/name@{revision}"
    for revision in (".a", "a/.b", "a.lock", "a.lock/b", "a.", "-a", "a b", "a\tb", "a~1", "a^", "a?")
]
NO_IDS += [
    f"org/name@{revision}" for revision in ("a*", "a[b", "a\\b", "a@{1}", "\udcff", "é", "r" * 201, "a\x7f", "@")
]
NO_IDS += [
    f"org/name:{folder}"
    for folder in ("", "/etc", "..", ".", "a/..", "../a", "a//b", "a/", "a\\b", "a:b", "\udcff", "a b")
]
NO_IDS += [
    "org/name:" + "f" * 201,
    "org/name@main:/etc",
    "org/name@/etc:a",
    "org/name:a@b/../c",
    "~/org",
    "org/~",
    "C:/x",
]


@pytest.mark.parametrize("text", NO_IDS, ids=ascii)
def test_what_the_hub_or_git_would_not_take_is_no_id(text):
    assert not is_hub_id(text)


def test_names_are_ids_just_where_the_library_of_the_hub_takes_them():
    chance, taken = random.Random(0), 0
    for _ in range(20_000):
        text = "".join(chance.choice("ab0_.-/é") for _ in range(chance.randint(1, 8)))
        try:
            validate_repo_id(text)
            valid = "/" in text
        except HFValidationError:
            valid = False
        assert is_hub_id(text) == valid, text
        taken += valid
    assert taken > 300


@pytest.mark.parametrize(
    "part", ["..", ".", "/etc/passwd", "a/../../b", "a\\b", "\udcff", "a\0", "x" * 256, "é", "a b"], ids=ascii
)
def test_nothing_is_joined_to_a_place_outside_the_cache(tmp_path, part):
    assert inside(tmp_path, "a/b", "", "c") == tmp_path / "a" / "b" / "c"
    with pytest.raises(UserError, match="is no place in the hub's cache"):
        inside(tmp_path, part)


def snapshot(cache: Path, ref: bytes, *, commit: str = COMMIT) -> None:
    place = cache / "models--org--base"
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_bytes(ref)


def test_a_ref_leads_to_a_snapshot_and_nowhere_else(cache, tmp_path):
    snapshot(cache, COMMIT.encode())
    assert snapshot_folder("org/base") == cache / "models--org--base" / "snapshots" / COMMIT
    secret = tmp_path / "secret"
    secret.mkdir()
    for text in (str(secret).encode(), b"../../..", b"..", b"\xff\xfe", b"", b"\0", b"x" * 10_000, b"a/../../.."):
        (cache / "models--org--base" / "refs" / "main").write_bytes(text)
        assert snapshot_folder("org/base") is None and cached_folder("org/base") is None


def test_the_note_of_whole_files_names_files_of_the_snapshot_alone(cache, tmp_path):
    snapshot(cache, COMMIT.encode())
    (tmp_path / "secret").write_text("x")
    note = cache / "models--org--base" / ".fda" / COMMIT
    note.parent.mkdir()
    for text in (str(tmp_path / "secret"), "../../../../secret", "\xff"):
        note.write_text(text, encoding="latin-1")
        assert cached_folder("org/base") is None


REVISIONS = [
    "@/{there}",
    "@/../{there}",
    "@../../{there}",
    "@main:/{there}",
    "@main:../../{there}",
    "@\udcff",
    ":\udcff",
    "@\0",
]


@pytest.mark.parametrize("way", REVISIONS, ids=ascii)
@pytest.mark.parametrize("exists", [True, False])
def test_a_revision_reads_no_path_and_tells_nothing_of_it(cache, tmp_path, way, exists):
    """The file would hold the name of a folder, as a ref does; with a text that is no UTF-8 it once broke every page."""
    there = tmp_path / "there"
    if exists:
        there.write_bytes(b"\xff\xfe")
    model = f"org/base{way.format(there=there)}"
    content = {"name": "mine", "base": {"model": model}, "tasks": [{"name": "a", "model": "org/a"}]}
    from fda.zoos.zoo import resolved, validated

    with pytest.raises(UserError) as caught:
        resolved(validated(content, "this zoo"), tmp_path / "zoos", [tmp_path / "zoos"])
    said = str(caught.value)
    assert "\n" not in said and ("cannot be a path" in said or "lies outside" in said or "does not exist" in said)
    if not exists:
        there.write_bytes(b"x")
        with pytest.raises(UserError) as again:
            resolved(validated(content, "this zoo"), tmp_path / "zoos", [tmp_path / "zoos"])
        assert str(again.value) == said


def test_every_field_of_the_form_refuses_a_path_that_is_dressed_as_an_id(cache):
    for model in ("org/name@/etc/passwd", "org/name@../../etc/passwd", "org/name:../../etc"):
        with pytest.raises(UserError, match=r"neither there nor a hub id|lies outside the folders"):
            content_of(Draft("mine", model, tasks=(TaskDraft("a", "org/a"),)))
        with pytest.raises(UserError, match=r"neither there nor a hub id|lies outside the folders"):
            content_of(Draft("mine", "org/name", tasks=(TaskDraft("a", "org/a", data=model),)))


@pytest.mark.parametrize(
    ("field", "value"), [("name", "../x"), ("name", "a/b"), ("name", "a\\b"), ("name", "C:"), ("name", ".x")]
)
@pytest.mark.parametrize("more", ["", "\n"])
def test_configurations_of_data_are_no_paths(tmp_path, field, value, more):
    _refused(
        tmp_path, {field: value + more}, "the field `tasks.0.data.name` is wrong: the name of a configuration has no /"
    )


@pytest.mark.parametrize(
    "value", ["../x", "a/b", "test[../x]", "a:b", "", "test[", "é\udcff", "x" * 200, "+", "train++test"], ids=ascii
)
@pytest.mark.parametrize("field", ["split", "validation_split", "train_split"])
def test_splits_are_no_paths(tmp_path, field, value):
    _refused(tmp_path, {field: value}, f"the field `tasks.0.data.{field}` is wrong: the name of a split has letters")


@pytest.mark.parametrize(
    "split", ["test", "train[90%:]", "train[:1000]", "train[:10%]+test", "validation_matched", "test-1.a"]
)
def test_splits_as_datasets_writes_them_are_taken(split):
    from fda.zoos.zoo import TaskData

    assert TaskData(path="x", split=split, name="mnli").split == split
    assert all(TaskData(path="x", name=name).name == name for name in ("20220301.en", "en-US", "main", "a b", "cnn=1"))


def _refused(tmp_path: Path, data: dict, says: str) -> None:
    from fda.zoos.zoo import validated

    content = {
        "name": "mine",
        "base": {"model": "org/b"},
        "tasks": [{"name": "a", "model": "org/a", "data": {"path": "o/d"} | data}],
    }
    with pytest.raises(UserError) as caught:
        validated(content, "this zoo")
    assert says in str(caught.value) and "\n" not in str(caught.value)


# What is refused does not tell whether it is there


@pytest.mark.parametrize("form", ["{}", "../outside/deep/{}", "link/deep/{}"])
def test_a_refused_path_gives_one_sentence_whether_or_not_it_is_there(tmp_path, monkeypatch, form):
    root, outside = tmp_path / "root", tmp_path / "outside" / "deep"
    root.mkdir()
    outside.mkdir(parents=True)
    (root / "link").symlink_to(outside.parent)
    monkeypatch.chdir(root)
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(root))
    monkeypatch.setenv("FDA_HOME", str(root / "home"))
    path = form.format(outside / "x.yaml" if form == "{}" else "x.yaml")
    asked = {
        "a zoo": lambda: load_zoo(path, roots=[root]),
        "its place": lambda: zoo_path(path, [root]),
        "the form's model": lambda: content_of(Draft("mine", path, tasks=(TaskDraft("a", "org/a"),))),
        "the form's head": lambda: content_of(
            Draft("m", "o/n", tasks=(TaskDraft("a", "o/a", head="file", head_file=path),))
        ),
        "a readable file": lambda: require_readable(path, [root]),
    }
    said: dict[str, list[str]] = {name: [] for name in asked}
    for there in (False, True):
        if there:
            (outside / "elsewhere").write_text("name: x")
            (outside / "x.yaml").symlink_to(outside / "elsewhere")  # nor where a link leads
        for name, ask in asked.items():
            with pytest.raises(UserError) as caught:
                ask()
            assert "lies outside the folders that pages may read" in str(caught.value) or (
                "form" in name
                and "link" in form
                and "there" in str(caught.value)  # seen from the assets it would be below them
            )
            said[name].append(str(caught.value))
    for name, (absent, present) in said.items():
        assert absent == present and "elsewhere" not in present, name


# One bad entry breaks no list


def bad_zoos() -> dict[str, bytes]:
    return {
        "text": b"\xff\xfe\x00",
        "unfinished": b"name: [",
        "empty": b"",
        "list": b"- 1",
        "revision": ZOO.format("org/base@/etc/passwd").encode(),
        "long": ZOO.format("org/base:" + "f" * 5000).encode(),
        "number": b"name: 1" + b":1" * 80_000,
        "half": b'name: "\\ud800"',
        "field": b"name: x\nnone: 1\n",
        "fine": ZOO.format("org/base").encode(),
    }


def test_one_bad_zoo_never_breaks_the_list(cache, capsys, monkeypatch):
    snapshot(cache, b"\xff\xfe")
    own_folder().mkdir(parents=True)
    for name, content in bad_zoos().items():
        (own_folder() / f"{name}.yaml").write_bytes(content)
    (own_folder() / "folder.yaml").mkdir()
    (own_folder() / "nowhere.yaml").symlink_to("none")
    (own_folder() / "demo.yaml").write_text("name: mine")  # of a shipped one's name
    os.mkfifo(own_folder() / "pipe.yaml")
    (own_folder() / os.fsdecode(b"\xff.yaml")).write_text("x")
    found = listed_zoos()
    assert found["demo"].name == "demo" and found["fine"].name == "mine"
    problems = {name for name, zoo in found.items() if isinstance(zoo, UserError)}
    assert problems == bad_zoos().keys() - {"fine"}
    assert all(f"{name}.yaml" in str(found[name]) or "base.model" in str(found[name]) for name in problems)
    assert missing_models(found["fine"]) == ["org/base", "org/a"]  # its ref is damaged
    from fda.cli import app as cli

    cli.zoo_list()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found) and any(line.startswith("fine (mine): ") for line in lines)
    assert sum("(mine): cannot be read: " in line for line in lines) == len(problems)
    from fda.ui import zoos

    zoos._state.clear()
    labels = zoos.offered()
    assert labels.keys() == found.keys() and labels["fine"] == "fine (mine) · on the hub"
    assert {name for name, label in labels.items() if label.endswith("(mine) · cannot be read")} == problems


def test_a_damaged_model_in_the_cache_and_names_that_are_no_text_break_no_list(cache, tmp_path):
    snapshot(cache, b"\xff\xfe")
    for name in (b"\xff", b"fine"):
        folder = tmp_path / "models" / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    near = look_around([tmp_path / "models"])
    assert near.models == (tmp_path / "models" / "fine",) and near.ids == ()


def test_an_id_stays_one_where_a_folder_of_that_name_is(tmp_path, monkeypatch, cache):
    """The folder in which the dashboard was started is not below the roots then."""
    (tmp_path / "start" / "org" / "base").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    path = tmp_path / "root" / "zoo.yaml"
    path.write_text(ZOO.format("org/base"))
    with pytest.raises(UserError, match="org/base lies outside the folders that pages may read"):
        load_zoo(path, roots=[tmp_path / "root"])
    loaded = load_zoo(path)
    assert missing_models(loaded) == ["org/base", "org/a"] and split_id(loaded.base.model).name == "org/base"
