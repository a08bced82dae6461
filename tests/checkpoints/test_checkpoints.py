"""Reading checkpoints and finding out whether they fit together."""

import json

import pytest
import torch
from safetensors.torch import save_file

from fda.architectures.open_clip_model import open_vision_model
from fda.checkpoints.weights import Checkpoint, weights_file
from fda.errors import UserError
from fda.zoos.survey import open_zoo, survey
from fda.zoos.zoo import load_zoo
from tests.support.tiny_zoo import make_zoo, save_model


def test_a_checkpoint_reads_what_was_saved(tmp_path):
    state = {"b": torch.randn(3, 2), "a": torch.arange(4)}
    save_model(tmp_path, state)
    checkpoint = Checkpoint(tmp_path)
    assert list(checkpoint) == ["a", "b"]
    assert checkpoint.header["b"].shape == (3, 2) and checkpoint.header["b"].count == 6
    assert torch.equal(checkpoint["b"], state["b"])
    with pytest.raises(KeyError):
        checkpoint["c"]


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="holds no weights"):
        weights_file(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    whole = path.read_bytes()
    for damaged in (whole[:-50], b"", b"not safetensors at all", b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"model.safetensors is not a whole safetensors file"):
            list(Checkpoint(path))


def test_blocks_of_an_open_clip_model_are_pure_functions(tiny_zoo):
    opened = open_zoo(load_zoo(tiny_zoo))
    first = opened.model.blocks[0]
    assert len(opened.model.blocks) == 2 and len(first.names) == 12
    assert (first.width, first.tokens) == (16, 5)
    opened.model.load(opened.tasks["red"])
    x = torch.randn(3, 5, 16)
    assert torch.allclose(first(first.of(opened.tasks["red"]), x), first.module(x), atol=1e-6)
    assert not torch.allclose(first(first.of(opened.base), x), first.module(x), atol=1e-3)


def test_a_checkpoint_of_another_shape_is_named(tmp_path):
    path = make_zoo(tmp_path)
    zoo = load_zoo(path)
    state = {name: Checkpoint(tmp_path / "red")[name] for name in Checkpoint(tmp_path / "red")}
    name = "visual.transformer.resblocks.0.attn.out_proj.weight"
    cases = (
        (state | {name: torch.zeros(16, 8)}, r"out_proj.weight has shape \[16, 8\] but \[16, 16\] in the base"),
        ({k: v for k, v in state.items() if k != name}, "has no tensor .*out_proj.weight"),
        (state | {"head.weight": torch.zeros(2)}, "has a tensor head.weight that is not in the base"),
    )
    for changed, sentence in cases:
        save_model(tmp_path / "red", changed)
        with pytest.raises(UserError, match=sentence):
            open_zoo(zoo)


def test_configs_that_open_clip_cannot_build(tmp_path):
    with pytest.raises(UserError, match="holds no open_clip_config.json"):
        open_vision_model(tmp_path)
    for config in ("{", json.dumps({}), json.dumps({"model_cfg": {"embed_dim": 8}})):
        (tmp_path / "open_clip_config.json").write_text(config)
        with pytest.raises(UserError, match="open_clip"):
            open_vision_model(tmp_path)


def test_survey_norms_and_cosines_match_flat_task_vectors(tiny_zoo):
    zoo = load_zoo(tiny_zoo)
    found = survey(zoo, str(tiny_zoo))
    opened = open_zoo(zoo)
    flat = [torch.cat([(c[n] - opened.base[n]).flatten() for n in opened.base]).double() for c in opened.tasks.values()]
    cosine = torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0).item()
    assert found["cosines"]["all"][0][1] == pytest.approx(cosine, abs=1e-6)
    squares = sum(norm**2 for norm in found["tasks"][0]["norms"]) + found["tasks"][0]["norm_outside_blocks"] ** 2
    assert squares**0.5 == pytest.approx(flat[0].norm().item(), rel=1e-5)
    assert found["tasks"][0]["norm_outside_blocks"] == 0
    assert [len(block["tensors"]) for block in found["blocks"]] == [12, 12]
    assert found["tasks"][0]["classes"] == 2
    json.dumps(found)
