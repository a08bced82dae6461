"""Zoos of hub ids on pages: not offered, and refused in one sentence, while their models are not on this machine."""

import pytest

from fda.errors import UserError
from fda.models.zoo import list_zoos
from fda.ui import zoos
from fda.ui.survey import read_zoo, survey


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    zoos._at_hand.clear()


def test_only_zoos_that_are_at_hand_are_offered():
    assert zoos._at_hand() == ["demo"] and len(list_zoos()) > 1


@pytest.mark.parametrize("read", [read_zoo, survey])
def test_a_page_downloads_nothing_and_says_what_does(read):
    with pytest.raises(UserError, match="not on this machine yet .*python -m fda zoo check clip-vit-b-32"):
        read("clip-vit-b-32")
