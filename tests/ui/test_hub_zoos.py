"""Zoos of hub ids on pages: offered and marked, and refused in one sentence where their models are needed and not here yet."""

import pytest

from fda.errors import UserError
from fda.ui import zoos
from fda.ui.survey import read_zoo, survey
from fda.zoos.zoo import list_zoos, own_folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    zoos._state.clear()


def test_every_shipped_zoo_is_offered_and_it_is_said_which_are_on_the_hub():
    labels = zoos.offered()
    assert list(labels) == list(list_zoos()) and len(labels) > 1
    assert [name for name, label in labels.items() if "on the hub" not in label] == ["demo"]


def test_zoos_of_mine_come_after_the_shipped_ones_and_broken_files_do_not_hinder(tmp_path):
    own_folder().mkdir(parents=True)
    (own_folder() / "mine.yaml").write_text("name: mine\nbase: {model: org/base}\ntasks: [{name: a, model: org/a}]\n")
    (own_folder() / "broken.yaml").write_text("name: [")
    (own_folder() / "demo.yaml").write_text("name: mine")  # never instead of the shipped one
    labels = zoos.offered()
    assert list(labels)[-2:] == ["broken", "mine"]
    assert (
        labels["mine"] == "mine (mine) · on the hub"
        and labels["broken"] == "broken (mine) · cannot be read"
        and labels["demo"] == "demo"
    )


@pytest.mark.parametrize("read", [read_zoo, survey])
def test_a_page_that_needs_the_models_says_what_brings_them(read):
    with pytest.raises(UserError, match="not on this machine yet .*python -m fda zoo check clip-vit-b-32"):
        read("clip-vit-b-32")
