"""Readers of every hub format but pickles and adapters: shards, other names, wrong files, published anchors, conversion."""

import json
import os
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForSequenceClassification, CLIPVisionConfig, LlamaConfig

from fda.architectures.open_clip_model import open_vision_model
from fda.cancel import Cancel, Cancelled
from fda.checkpoints.readers.convert import convert_to_safetensors
from fda.checkpoints.readers.names import fitted
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.checkpoints.readers.shards import ShardedCheckpoint
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.weights import Checkpoint
from fda.errors import UserError
from tests.support.tiny_zoo import CONFIG

INDEX = "model.safetensors.index.json"


def tiny_llama() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return AutoModel.from_config(LlamaConfig(**sizes, vocab_size=20, max_position_embeddings=16))


def shapes(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def assert_equal(weights, expected):
    assert list(weights) == sorted(expected)
    assert {name: info.shape for name, info in weights.header.items()} == shapes(expected)
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name


# Shards


@pytest.fixture
def sharded(tmp_path):
    """A folder that transformers saved in several shards, and the state dict."""
    model = tiny_llama()
    model.save_pretrained(tmp_path / "model", max_shard_size="4KB")
    return tmp_path / "model", model.state_dict()


def test_shards_read_as_one_checkpoint(sharded):
    folder, state = sharded
    weights = open_weights(folder)
    assert isinstance(weights, ShardedCheckpoint) and len(weights.shards) > 2
    assert_equal(weights, state)
    assert weights.bytes == sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert set(weights.files) == {folder / INDEX, *folder.glob("*.safetensors")}
    with pytest.raises(KeyError):
        weights["absent"]
    before = weights.fingerprint
    shard = next(iter(weights.shards.values())).path
    changed = {name: tensor + 1 for name, tensor in load_file(shard).items()}
    save_file(changed, shard)
    assert open_weights(folder).fingerprint != before


def test_pickled_shards_read_as_one_checkpoint(tmp_path):
    state = tiny_llama().state_dict()
    names = sorted(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[:7], "pytorch_model-00002-of-00002.bin": names[7:]}
    for shard, own in parts.items():
        torch.save({name: state[name] for name in own}, tmp_path / shard)
    index = {"metadata": {}, "weight_map": {name: shard for shard, own in parts.items() for name in own}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert_equal(open_weights(tmp_path), state)


@pytest.mark.parametrize(
    ("shard", "sentence"),
    [
        ("../secret.safetensors", "names the shard '../secret.safetensors', outside its folder"),
        ("a/../../secret.safetensors", "outside its folder"),
        ("/etc/passwd", "names the shard '/etc/passwd', outside its folder"),
        ("..\\secret.safetensors", "outside its folder"),
        ("C:secret.safetensors", "outside its folder"),
        ("model-00009-of-00009.safetensors", "is missing, which model.safetensors.index.json names"),
        (3, "is not the index of a sharded checkpoint"),
        ("", "is not the index of a sharded checkpoint"),
    ],
)
def test_an_index_that_names_another_file(sharded, shard, sentence):
    folder, _ = sharded
    save_file({"norm.weight": torch.zeros(16)}, folder.parent / "secret.safetensors")
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["norm.weight"] = shard
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError) as caught:
        list(open_weights(folder))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_index_and_shards_that_do_not_belong_together(sharded):
    folder, _ = sharded
    whole = (folder / INDEX).read_text()
    places = json.loads(whole)["weight_map"]
    last = max(places.values())
    moved = next(name for name, shard in places.items() if shard != last)
    for changed, sentence in (
        ({**places, moved: last}, rf"holds the tensor {moved}, but {INDEX} says it is in {last}"),
        ({**places, "more.weight": last}, rf"{last} has no tensor more.weight, which {INDEX} says is in it"),
        (
            {name: shard for name, shard in places.items() if name != moved},
            rf"the tensor {moved}, but {INDEX} does not name",
        ),
    ):
        (folder / INDEX).write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(UserError, match=sentence):
            list(open_weights(folder))
    for damaged in ("", "[]", "{", json.dumps({"weight_map": {}}), json.dumps({"weight_map": [1]}), "[" * 100_000):
        (folder / INDEX).write_text(damaged)
        with pytest.raises(UserError, match="is not the index of a sharded checkpoint"):
            list(open_weights(folder))
    (folder / INDEX).unlink()
    with pytest.raises(UserError, match=r"holds model-00001-of-\d+.safetensors but no index"):
        open_weights(folder)


# Files that are something else, or damaged


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "finetuned.pt"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a git-lfs pointer"),
        (b"\n <!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"<html><body>429</body></html>", "is a web page"),
        (b"GGUF\x03\x00\x00\x00", "is a GGUF file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file"),
        (b"", "is not a whole"),
        (bytes(100), "is not a whole"),
        (b"not found", "is not a whole"),
    ],
)
def test_a_file_that_is_something_else_is_told_by_its_name_and_what_to_do(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} {sentence}.*(download|give|copy)"):
        list(open_weights(tmp_path / name))


def test_a_reader_is_chosen_by_content_not_by_name(tmp_path):
    state = {"a": torch.randn(3)}
    save_file(state, tmp_path / "really_safe.bin")
    torch.save(state, tmp_path / "really_pickled.safetensors")
    safe, pickled = open_weights(tmp_path / "really_safe.bin"), open_weights(tmp_path / "really_pickled.safetensors")
    assert isinstance(safe, Checkpoint) and isinstance(pickled, PickledCheckpoint)
    assert_equal(safe, state)
    assert_equal(pickled, state)


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x04"])
def test_a_header_whose_length_looks_like_a_pickle(tmp_path, start):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    header = header.ljust(int.from_bytes(start, "little"))
    (tmp_path / "model.bin").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert_equal(open_weights(tmp_path / "model.bin"), {"a": torch.zeros(1)})


def test_folders_and_paths_without_weights(tmp_path):
    with pytest.raises(UserError, match=r"holds no weights: expected one of open_clip_model.safetensors"):
        open_weights(tmp_path)
    with pytest.raises(UserError, match=r"gone could not be read \(No such file or directory\): check the path"):
        open_weights(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("nothing here, really nothing")
    with pytest.raises(UserError, match=r"notes.txt is no checkpoint: give a safetensors file"):
        open_weights(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 20]},
        {"dtype": "F16", "shape": [3, 2], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [3, 2], "data_offsets": [4, 28]},
        {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 24]},
        {"dtype": "F31", "shape": [3, 2], "data_offsets": [0, 24]},
    ],
)
def test_a_safetensors_header_that_does_not_fit_its_data(tmp_path, entry):
    header = json.dumps({"a": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    with pytest.raises(
        UserError, match=r"model.safetensors is not a whole safetensors file .*: copy or download it again"
    ):
        list(open_weights(path))


def test_flipped_bits_of_a_safetensors_header_give_a_sentence_or_tensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(3, 2), "b": torch.ones(2)}, path)
    whole, chance, sentences = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole) - 32)] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            weights = open_weights(path)
            for name in weights:
                assert weights[name].shape == weights.header[name].shape
        except UserError as error:
            sentences += 1
            assert "model.safetensors" in str(error)
    assert sentences > 100


# Other names


def clip_state():
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    return AutoModel.from_config(CLIPVisionConfig(**sizes, image_size=8, patch_size=4)).state_dict()


@pytest.mark.parametrize("prefix", ["", "vision_model.", "clip.vision_model."])
def test_both_key_styles_of_a_clip_image_tower(tmp_path, prefix):
    state = clip_state()
    save_file({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    assert_equal(fitted(weights, shapes(state)), state)
    assert fitted(weights, shapes(state)).fingerprint == weights.fingerprint


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_names_are_put_under_a_prefix_too(tmp_path, prefix):
    state = {"vision_model." + name: tensor for name, tensor in clip_state().items()}
    save_file(
        {prefix + name.removeprefix("vision_model."): t for name, t in state.items()}, tmp_path / "model.safetensors"
    )
    assert_equal(fitted(open_weights(tmp_path), shapes(state)), state)


def test_the_right_tower_is_taken_and_the_rest_left_out(tmp_path):
    state = clip_state()
    saved = {"vision_model." + name: tensor for name, tensor in state.items()}
    saved |= {"text_model." + name: torch.randn(5) for name in state if "encoder" in name}
    save_file(saved | {"logit_scale": torch.ones(())}, tmp_path / "model.safetensors")
    view = fitted(open_weights(tmp_path), shapes(state))
    assert_equal(view, state)
    assert "logit_scale" in view.left_out and len(view.left_out) == sum("encoder" in name for name in state) + 1


def test_a_classifier_has_its_base_models_names(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(**sizes, vocab_size=20, max_position_embeddings=16)
    tuned = BertForSequenceClassification(config)
    tuned.save_pretrained(tmp_path)
    view = fitted(open_weights(tmp_path), shapes(tuned.bert.state_dict()))
    assert_equal(view, tuned.bert.state_dict())
    assert view.left_out == ("classifier.bias", "classifier.weight")


def test_missing_and_wrongly_shaped_tensors_are_named(tmp_path):
    state = clip_state()
    name = "encoder.layers.1.mlp.fc1.weight"
    save_file({key: tensor for key, tensor in state.items() if key != name}, tmp_path / "model.safetensors")
    lacking = open_weights(tmp_path)
    with pytest.raises(
        UserError, match=rf"model.safetensors has no tensor {name}; the nearest name there is encoder.layers"
    ):
        fitted(lacking, shapes(state))
    assert name not in fitted(lacking, shapes(state), optional={name})
    save_file({**state, name: torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=rf"tensor {name} has shape \[2, 3\] where \[24, 16\] is expected"):
        fitted(open_weights(tmp_path), shapes(state))
    save_file({key: tensor + 1 for key, tensor in state.items()}, tmp_path / "rest.safetensors")
    rest = open_weights(tmp_path / "rest.safetensors")
    filled = fitted(lacking, shapes(state), optional={name}, rest=rest)
    assert torch.equal(filled[name], rest[name]) and list(filled) == sorted(state)
    assert filled.fingerprint not in (lacking.fingerprint, rest.fingerprint)


# Conversion


def test_conversion_keeps_every_tensor_and_needs_no_pickle_afterwards(tmp_path):
    state = {
        "a": torch.randn(3, 2).half(),
        "b": torch.arange(4),
        "c": torch.randn(5).bfloat16(),
        "d": torch.tensor(True),
    }
    torch.save(state, tmp_path / "model.pt")
    converted = convert_to_safetensors(tmp_path / "model.pt", tmp_path / "new" / "model.safetensors")
    assert (converted.tensors, converted.what) == (4, "state dict")
    assert_equal(Checkpoint(converted.path), state)
    assert converted.bytes == converted.path.stat().st_size
    first = converted.path.read_bytes()
    convert_to_safetensors(tmp_path / "model.pt", converted.path, overwrite=True)
    assert converted.path.read_bytes() == first


def test_conversion_is_whole_or_not_at_all(tmp_path):
    torch.save({"a": torch.randn(64, 64), "b": torch.randn(64, 64)}, tmp_path / "model.pt")
    target = tmp_path / "new" / "model.safetensors"

    at_once = Cancel(lambda: True)
    with pytest.raises(Cancelled):
        convert_to_safetensors(tmp_path / "model.pt", target, cancel=at_once)
    assert list(target.parent.iterdir()) == []
    convert_to_safetensors(tmp_path / "model.pt", target)
    before = target.read_bytes()
    with pytest.raises(Cancelled):
        convert_to_safetensors(tmp_path / "model.pt", target, overwrite=True, cancel=at_once)
    assert target.read_bytes() == before and list(target.parent.iterdir()) == [target]


def test_conversions_that_are_refused(tmp_path):
    torch.save({"a": torch.randn(2), "b": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "complex.pt")
    torch.save({"a": torch.randn(2)}, tmp_path / "model.pt")
    target = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match=r"model.bin does not end with .safetensors"):
        convert_to_safetensors(tmp_path / "model.pt", tmp_path / "model.bin")
    with pytest.raises(UserError, match=r"complex.pt"):
        convert_to_safetensors(tmp_path / "complex.pt", target)
    assert not target.exists()
    target.write_bytes(b"precious")
    with pytest.raises(UserError, match=r"model.safetensors exists already"):
        convert_to_safetensors(tmp_path / "model.pt", target)
    assert target.read_bytes() == b"precious"


# Published anchors


def test_published_anchors_of_images_change_their_axes(tmp_path):
    anchors = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)  # tokens, anchors, d
    np.save(tmp_path / "dual_anchors_layer_1.npy", anchors)
    read = read_published_anchors(tmp_path / "dual_anchors_layer_1.npy")
    assert read.shape == (3, 5, 4) and read.dtype == torch.float32 and read.is_contiguous()
    assert torch.equal(read[2, 4], torch.from_numpy(anchors[4, 2]))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("size", [4, 400])  # short arrays lie in the pickle, long ones are read from the file
def test_published_anchors_of_text(tmp_path, size, order):
    anchors = np.random.default_rng(0).normal(size=(3, 5, size)).astype(np.float32)  # anchors, tokens, d
    anchors = np.asarray(anchors, order=order)
    saved = {"input": anchors, "gt": 2 * anchors, "attention_mask": np.zeros((3, 1, 5, 5), np.float32)}
    np.save(tmp_path / "a.npy", saved)
    assert torch.equal(read_published_anchors(tmp_path / "a.npy"), torch.from_numpy(np.ascontiguousarray(anchors)))
    single = np.random.default_rng(0).normal(size=(7, size)).astype(np.float64)  # anchors, d: of one token each
    np.save(tmp_path / "b.npy", single)
    assert torch.equal(read_published_anchors(tmp_path / "b.npy"), torch.from_numpy(single)[:, None].float())


def test_files_without_published_anchors(tmp_path):
    path = tmp_path / "a.npy"
    for value, sentence in (
        ({"gt": np.ones((2, 2), np.float32)}, "a.npy holds gt, but no anchors"),
        ({"input": np.ones(3, np.float32)}, r"a.npy holds an array of shape \[3\]"),
        ({"input": np.array(["x"])}, r"a.npy holds a numpy array of 'U1'"),
        (np.ones((2, 3, 4), np.int64), "a.npy holds an array of int64"),
        (np.ones((2, 3, 4, 5), np.float32), "where anchors have three axes"),
        (np.array([{"input": 1}, None]), "a.npy is not a whole .npy file"),
    ):
        np.save(path, value)
        with pytest.raises(UserError, match=sentence):
            read_published_anchors(path)
    np.save(path, np.ones((4, 5, 6), np.float32))
    whole = path.read_bytes()
    for damaged in (
        whole[:-1],
        whole[:20],
        whole[:7],
        b"\x93NUMPY",
        whole.replace(b"}", b"["),
        whole.replace(b"'", b"("),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="a.npy is not a whole .npy file"):
            read_published_anchors(path)
    torch.save({}, path)
    with pytest.raises(UserError, match="a.npy is no .npy file"):
        read_published_anchors(path)


# open_clip configs of strangers


@pytest.mark.parametrize(
    ("tower", "field"),
    [("text_cfg", "hf_model_name"), ("vision_cfg", "timm_model_name"), ("vision_cfg", "hf_model_name")],
)
def test_an_open_clip_config_that_would_reach_for_the_network_is_refused(tmp_path, monkeypatch, tower, field):
    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"][tower][field] = "stranger/model"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("open_clip.create_model", lambda *_, **__: os.abort())
    with pytest.raises(
        UserError, match=rf"open_clip_config.json: `{tower}.{field}` names 'stranger/model', a tower of another"
    ):
        open_vision_model(tmp_path)
