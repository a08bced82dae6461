"""How many tokens an anchor of an image model has: as many as the images have that are prepared, not those of its config."""

import pytest
import transformers
from PIL import Image
from safetensors.torch import load_file

from fda.errors import UserError
from fda.requests.preview import preview
from fda.requests.runs import construct_settings, make_spec
from fda.stages.check import try_out
from fda.stages.worker import run_here
from fda.store.files import anchors_file
from fda.store.store import Store
from fda.tasks.inputs import block_inputs
from fda.zoos.kinds import open_model
from fda.zoos.survey import open_zoo, survey
from fda.zoos.zoo import load_zoo
from tests.support import library_zoos


@pytest.fixture
def large(monkeypatch):
    """Configs that speak of images of 56 × 56; patches are of 4 × 4."""
    monkeypatch.setitem(library_zoos.IMAGE, "image_size", 56)
    for name, (kind, fields, headed) in list(library_zoos.PICTURES.items()):
        monkeypatch.setitem(library_zoos.PICTURES, name, (kind, fields | {"image_size": 56}, headed))


def resized(zoo, **changes) -> None:
    """Another image processor in the base's folder."""
    transformers.ViTImageProcessor(**changes).save_pretrained(zoo.parent / "base")


def anchors_of(zoo):
    store = Store()
    settings = construct_settings("fast", steps=1, anchors=4)
    run_id = store.create_run(make_spec(zoo, tasks=("first",), blocks=(1,), construct=settings, device="cpu"))
    assert run_here(store, run_id) == "done", store.run(run_id).message
    return load_file(anchors_file(store.run_dir(run_id), "first", 1))["anchors"]


def test_the_image_processor_decides_and_not_the_config(large, tmp_path, fda_home, capsys):
    zoo = library_zoos.image_zoo(tmp_path, "dinov2")  # 8 × 8 by its processor: four patches and the class token
    found = survey(load_zoo(zoo), str(zoo))
    told = "images of 8 × 8, as its image processor makes; its config speaks of 56 × 56"
    assert (found["tokens"], found["token_source"]) == (5, told)
    opened = open_zoo(load_zoo(zoo))
    assert [tuple(x.shape) for x in block_inputs(opened.model, _loaded(opened))] == [(2, 5, 16)] * 2
    assert anchors_of(zoo).shape == (4, 5, 16)
    assert f"anchors have 5 tokens: {told}" in capsys.readouterr().err
    assert preview(load_zoo(zoo)).problems == ()


def _loaded(opened):
    from fda.tasks.data import load_split

    opened.model.load(opened.base)
    return load_split(opened.zoo.task("first"), "test", opened.model.transform).images(2)


def test_without_a_processor_the_config_decides_and_it_is_said(large, tmp_path, fda_home):
    zoo = library_zoos.image_zoo(tmp_path, "dinov2")
    (zoo.parent / "base" / "preprocessor_config.json").unlink()
    model = open_model(load_zoo(zoo))
    assert (model.tokens, model.token_source) == (
        1 + 14 * 14,
        "images of 56 × 56, as its config says: it has no image processor",
    )


def test_where_the_size_depends_on_the_image_the_data_decide(large, tmp_path, fda_home, capsys):
    zoo = library_zoos.image_zoo(tmp_path, "dinov2")
    for path in tmp_path.glob("data/*/*/*.png"):
        Image.new("RGB", (12, 8), (int(path.stem), 9, 9)).save(path)  # 12 wide
    resized(zoo, do_resize=False)
    assert open_model(load_zoo(zoo)).token_source == "images of 56 × 56, as its image processor makes of square ones"
    try_out(load_zoo(zoo))
    told = "images of 8 × 12, as the data of task 'first' give; its config speaks of 56 × 56"
    assert f"7 tokens an anchor: {told}." in capsys.readouterr().err
    assert anchors_of(zoo).shape == (4, 7, 16)


def test_images_that_a_model_does_not_take_are_told_where_data_are_asked_for(tmp_path, fda_home):
    zoo = library_zoos.image_zoo(tmp_path, "vit")
    resized(zoo, size={"height": 16, "width": 16})
    told = (
        f"the image processor in {zoo.parent / 'base'} makes images of 16 × 16, but the model takes 8 × 8 only: correct the "
        "sizes in its preprocessor_config.json."
    )
    model = open_model(load_zoo(zoo))
    assert (model.tokens, model.token_source) == (5, "images of 8 × 8, as its config says")
    with pytest.raises(UserError) as error:
        _ = model.transform
    assert str(error.value) == told
    assert told in preview(load_zoo(zoo)).problems


@pytest.mark.parametrize("family", ["clip", "vit", "dinov2"])
def test_a_processor_that_agrees_with_the_config_changes_nothing(family, tmp_path):
    make = library_zoos.clip_zoo if family == "clip" else lambda path: library_zoos.image_zoo(path, family)
    model = open_model(load_zoo(make(tmp_path)))
    assert (model.tokens, model.token_source) == (5, "images of 8 × 8, as its image processor makes")


def test_the_demos_anchors_stay_as_they_were():
    model = open_model(load_zoo("demo"))
    tokens, width = model.module.visual.positional_embedding.shape
    assert (model.tokens, model.width) == (tokens, width) and model.token_source.startswith("images of ")
