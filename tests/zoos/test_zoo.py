"""The zoo file: what is read, and the one sentence for everything that is wrong."""

from pathlib import Path

import pytest
import yaml

from fda.errors import UserError
from fda.home import ASSETS, require_readable
from fda.zoos.zoo import list_zoos, load_zoo


@pytest.fixture
def broken(tiny_zoo, tmp_path):
    """A function that changes the tiny zoo's content and gives the path of the changed file."""

    def change(edit) -> Path:
        content = yaml.safe_load(tiny_zoo.read_text())
        content["base"]["model"] = str(tiny_zoo.parent / "base")
        for task in content["tasks"]:
            task["model"] = str(tiny_zoo.parent / task["model"])
            task["head"] = str(tiny_zoo.parent / task["head"])
            task["data"]["path"] = str(tiny_zoo.parent / task["data"]["path"])
        edit(content)
        path = tmp_path / "broken.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return change


def test_paths_become_absolute(tiny_zoo):
    zoo = load_zoo(tiny_zoo)
    assert Path(zoo.base.model) == tiny_zoo.parent / "base"
    assert Path(zoo.task("red").data.path) == tiny_zoo.parent / "data" / "red"
    assert zoo.task_names == ("red", "bright")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda c: c.pop("base"), "the field `base` is missing"),
        (lambda c: c["tasks"][1].pop("model"), "the field `tasks.1.model` is missing"),
        (lambda c: c["tasks"][0]["data"].pop("path"), "the field `tasks.0.data.path` is missing"),
        (lambda c: c.update(bases=1), "the field `bases` is not one a zoo has"),
        (lambda c: c["base"].update(kind="keras"), "the field `base.kind` is wrong"),
        (lambda c: c.update(tasks=[]), "the field `tasks` is wrong"),
        (lambda c: c["tasks"][0].update(name="../evil"), "letters, digits"),
        (lambda c: c["tasks"][0].update(name="bright"), "two tasks are called 'bright'"),
        (lambda c: c["tasks"][0].update(model="gone"), r"tasks.0 \(red\).model: gone does not exist"),
        (lambda c: c["tasks"][1]["data"].update(path="gone"), r"tasks.1 \(bright\).data.path: gone does not exist"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(broken, edit, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        load_zoo(broken(edit))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_zoo(tmp_path):
    with pytest.raises(UserError, match="neither a zoo file nor a shipped zoo"):
        load_zoo(tmp_path / "none.yaml")
    for text, sentence in (("a: [1", r"\(line 1\) is not YAML"), ("", "holds no fields"), ("- 1", "holds no fields")):
        path = tmp_path / "zoo.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=sentence):
            load_zoo(path)


@pytest.mark.parametrize("text", ["a" * 300, "~nobody-of-this-name/zoo.yaml", "zoo\0.yaml", "org/" + "a" * 300])
def test_what_can_be_no_path_is_one_sentence_as_a_zoo_and_inside_one(tiny_zoo, broken, text):
    with pytest.raises(UserError):
        load_zoo(text)
    zoo = broken(lambda content: content["tasks"][0]["data"].update(path=text))
    with pytest.raises(UserError):
        load_zoo(zoo)


def test_pages_read_only_below_the_roots(tiny_zoo, broken, tmp_path, monkeypatch):
    root = tiny_zoo.parent
    assert load_zoo(tiny_zoo, roots=[root]).name == "tiny"
    with pytest.raises(UserError, match="lies outside the folders"):
        load_zoo(tiny_zoo, roots=[tmp_path])
    with pytest.raises(UserError, match="lies outside the folders"):  # a zoo file inside that names a model outside
        load_zoo(broken(lambda c: None), roots=[tmp_path])
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(UserError, match="lies outside the folders"):
        require_readable(tmp_path / "link" / "zoo.yaml", [tmp_path])
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(tmp_path))
    assert require_readable(ASSETS / "zoos") == (ASSETS / "zoos").resolve()


def test_the_demo_zoo_is_shipped():
    assert load_zoo("demo").name == "demo"
    assert "demo" in list_zoos()
