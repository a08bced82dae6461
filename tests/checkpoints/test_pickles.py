"""Pickled checkpoints: all containers are read as torch reads them, and nothing in a hostile one ever runs."""

import argparse
import collections
import io
import os
import pickle
import random
import struct
import sys
import types
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from torch import nn
from torchvision import transforms

from fda.checkpoints.readers.convert import convert_to_safetensors
from fda.checkpoints.readers.modules import head_tensors
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.checkpoints.readers.spans import Span
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.errors import UserError
from fda.tasks.heads import Head
from tests.support.tiny_zoo import CONFIG


def states() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    big = torch.randn(40, 30, generator=generator)
    return {
        "half": torch.randn(3, 2, generator=generator).half(),
        "brain": torch.randn(5, generator=generator).bfloat16(),
        "double": torch.randn(2, 2, generator=generator).double(),
        "integer": torch.arange(6).reshape(2, 3),
        "byte": torch.arange(7, dtype=torch.uint8),
        "flag": torch.tensor([True, False]),
        "number": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "transposed": big.T,
        "part": big[3:20:2, 5:9],
        "same": big,
        "parameter": nn.Parameter(torch.randn(4, generator=generator)),
    }


def write(path: Path, value, container: str) -> Path:
    """Save as torch or pickle themselves do."""
    if container == "zip":
        torch.save(value, path)
    elif container == "legacy":
        torch.save(value, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(value, int(container[-1])))
    return path


CONTAINERS = ["zip", "legacy", "pickle 2", "pickle 3", "pickle 4", "pickle 5"]


def assert_equal(weights, expected):
    assert list(weights) == sorted(expected)
    for name, tensor in expected.items():
        assert weights.header[name].shape == tuple(tensor.shape)
        assert weights[name].dtype == tensor.dtype and weights[name].is_contiguous()
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_what_was_saved(tmp_path, container):
    expected = states() | ({"tiny": torch.ones(3).to(torch.float8_e4m3fn)} if container == "zip" else {})
    path = write(tmp_path / "model.bin", expected, container)
    weights = open_weights(path)
    assert isinstance(weights, PickledCheckpoint)
    assert [weights.header[name].dtype for name in ("half", "brain", "integer", "flag")] == [
        "F16",
        "BF16",
        "I64",
        "BOOL",
    ]
    assert_equal(weights, {name: tensor.detach() for name, tensor in expected.items()})
    assert weights.bytes == path.stat().st_size and len(weights.fingerprint) == 64
    with pytest.raises(KeyError):
        weights["absent"]


def test_a_header_reads_no_tensor_and_a_tensor_only_its_own_bytes(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    torch.save({f"layer{i}": torch.randn(512, 512) for i in range(8)}, path)
    amounts = []
    read = Span.read

    def counted(span, offset=0, length=None):
        data = read(span, offset, length)
        amounts.append(len(data))
        return data

    monkeypatch.setattr(Span, "read", counted)
    weights = PickledCheckpoint(path)
    assert len(weights.header) == 8 and sum(amounts) < 20_000
    amounts.clear()
    weights["layer3"]
    assert amounts == [512 * 512 * 4]


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle 4"])
@pytest.mark.parametrize("wrap", ["state_dict", "model", "module."])
def test_a_state_dict_is_found_where_training_programs_put_it(tmp_path, container, wrap):
    expected = {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3)}
    if wrap.endswith("."):
        value = collections.OrderedDict((wrap + name, tensor) for name, tensor in expected.items())
        value._metadata = {"": {"version": 1}}
    else:
        value = {wrap: expected, "epoch": 3, "accuracy": np.float64(0.5), "args": argparse.Namespace(lr=0.1)}
    assert_equal(open_weights(write(tmp_path / "last.pt", value, container)), expected)


@pytest.mark.parametrize("container", ["zip", "pickle 2", "pickle 4"])
def test_a_dict_of_numpy_arrays_is_a_state_dict(tmp_path, container):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.asfortranarray(np.ones((3, 2))),
        "c": np.int64(3),
    }
    weights = open_weights(write(tmp_path / "weights.pkl", arrays, container))
    assert_equal(weights, {name: torch.from_numpy(arrays[name].copy()) for name in "ab"})


# Whole modules, whose classes are gone when they are read


class ImageEncoder(nn.Module):
    """As the image encoders of task arithmetic's checkpoints: an open_clip model with its transforms."""

    def __init__(self) -> None:
        super().__init__()
        self.model = open_clip.CLIP(**CONFIG["model_cfg"])
        self.train_preprocess = transforms.Compose(
            [transforms.Resize(8, interpolation=transforms.InterpolationMode.BICUBIC), partial(round, ndigits=2)]
        )
        self.cache_dir = Path("somewhere")
        self.kept = None
        del self.model.transformer


class ClassificationHead(nn.Linear):
    def __init__(self, normalize: bool, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__(weight.shape[1], weight.shape[0])
        self.normalize = normalize
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return super().forward(x / x.norm(dim=-1, keepdim=True) if self.normalize else x)


@pytest.fixture
def strange_module(monkeypatch):
    """A module that exists only while files are written."""
    module = types.ModuleType("src_of_a_stranger")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for of in (ImageEncoder, ClassificationHead):
        monkeypatch.setattr(of, "__module__", module.__name__)
        setattr(module, of.__name__, of)
    return module


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle 4"])
def test_a_pickled_image_encoder_gives_open_clips_names_without_its_class(tmp_path, strange_module, container):
    encoder = ImageEncoder()
    assert "attn_mask" in dict(encoder.model.named_buffers())
    expected = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    path = write(tmp_path / "finetuned.pt", encoder, container)
    del sys.modules[strange_module.__name__]
    weights = open_weights(path)
    assert str(weights.root.of) == "src_of_a_stranger.ImageEncoder"
    assert_equal(weights, expected)
    assert "visual.transformer.resblocks.0.attn.in_proj_weight" in weights and "attn_mask" not in weights
    assert strange_module.__name__ not in sys.modules
    converted = convert_to_safetensors(path, tmp_path / "finetuned.safetensors")
    assert converted.what == "module src_of_a_stranger.ImageEncoder"
    assert_equal(open_weights(converted.path), expected)


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("parallel", [False, True])
def test_a_whole_model_of_transformers_gives_its_state_dict(tmp_path, container, parallel):
    """Its tensors carry attributes of the library, so they are saved by another call than plain ones."""
    sizes = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 9,
    }
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))
    path = write(tmp_path / "bert.pt", nn.DataParallel(model) if parallel else model, container)
    assert b"_rebuild_from_type_v2" in path.read_bytes()
    assert_equal(open_weights(path), model.state_dict())


@pytest.mark.parametrize("normalize", [True, False])
def test_a_pickled_head_becomes_a_head_file(tmp_path, strange_module, normalize):
    rows = nn.functional.normalize(torch.randn(5, 8), dim=1)
    made = ClassificationHead(normalize, 100 * rows if normalize else rows, torch.randn(5) * (not normalize))
    path = write(tmp_path / "head_MNIST.pt", made, "zip")
    convert_to_safetensors(path, tmp_path / "head.safetensors")
    read = open_weights(tmp_path / "head.safetensors")
    assert set(read) == ({"weight", "logit_scale"} if normalize else {"weight", "bias"})
    head = Head(*(read.get(name) for name in ("weight", "bias", "logit_scale")))
    features = torch.randn(4, 8)
    assert torch.allclose(head.logits(features), made(features), atol=1e-4)


def test_a_head_that_cannot_be_said_with_one_scale_is_refused(tmp_path, strange_module):
    path = write(tmp_path / "head.pt", ClassificationHead(True, torch.randn(5, 8), torch.zeros(5)), "zip")
    with pytest.raises(UserError, match=r"head.pt is a head that normalises features but has a bias or rows"):
        head_tensors(PickledCheckpoint(path))


def test_modules_that_contain_themselves_or_one_part_over_and_over(tmp_path):
    ring = nn.Sequential(nn.Linear(2, 2))
    ring.add_module("again", ring)
    tower = nn.Linear(2, 2)
    for _ in range(40):
        tower = nn.ModuleList([tower, tower])
    for name, module in (("ring.pt", ring), ("tower.pt", tower)):
        (tmp_path / name).write_bytes(pickle.dumps(module))
        with pytest.raises(UserError, match=rf"{name} holds a module that contains itself without end"):
            list(open_weights(tmp_path / name))


# Hostile files


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def attacks(command: str) -> dict[str, bytes]:
    """Pickles that run a shell command when Python's own unpickler reads them."""
    program = text(f"import os; os.system({command!r})")
    run = text(command) + b"\x85R."
    unlisted = b"ccProfile\nrun\n"  # runs a program given as text, and is on nobody's list of dangers
    namespace = b"\x80\x02cargparse\nNamespace\n)\x81}(" + text("__setstate__")
    inner = pickle.dumps(Reduced(command), 2)
    from_bytes = b"\x80\x02ctorch.storage\n_load_from_bytes\n"
    return {
        "reduce": b"\x80\x02cposix\nsystem\n" + run,
        "reduce of os": b"\x80\x02cos\nsystem\n" + run,
        "reduce of a name on no list": b"\x80\x02" + unlisted + program + b"\x85R.",
        "eval": b"\x80\x02cbuiltins\neval\n" + text(f"__import__('os').system({command!r})") + b"\x85R.",
        "nested name": b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93" + run,
        "nested name of protocol 2": b"\x80\x04ctorch\nos.system\n" + run,
        "name from the stack": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + run,
        "inst": b"(" + text(command) + b"iposix\nsystem\n.",
        "obj": b"(cposix\nsystem\n" + text(command) + b"o.",
        "build": namespace + b"cposix\nsystem\nub" + text(command) + b"b.",
        "build with a name on no list": namespace + unlisted + b"ub" + program + b"b.",
        "call of a kept call": b"\x80\x02cfunctools\npartial\ncposix\nsystem\n\x85R" + run,
        "call of a kept call on no list": b"\x80\x02cfunctools\npartial\n" + unlisted + b"\x85R" + program + b"\x85R.",
        "map": b"\x80\x02cbuiltins\nset\ncbuiltins\nmap\ncposix\nsystem\n](" + text(command) + b"e\x86R\x85R.",
        "in a tensor of a type": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nctorch\nTensor\n"
        + text(command)
        + b"\x85}tR.",
        "unpickled inside": b"\x80\x02cpickle\nloads\n" + sized(inner) + b"\x85R.",
        "a storage's bytes": from_bytes + sized(inner) + b"\x85R.",
        "a storage's long bytes": from_bytes + sized(inner + bytes(5000)) + b"\x85R.",
        "beside tensors": pickle.dumps({"weight": torch.ones(2), "more": [1, (Reduced(command),)]}, 2),
        "as a key": pickle.dumps({Reduced(command): 1}, 4),
        "before a tensor": b"\x80\x02cposix\nsystem\n" + run[:-1] + b"0" + pickle.dumps({"a": torch.ones(2)}, 2)[2:],
    }


def sized(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


class Reduced:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def in_container(path: Path, attack: bytes) -> None:
    if path.suffix == ".pt":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", attack)
            archive.writestr("archive/version", "3")
    elif path.suffix == ".npy":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
        path.write_bytes(header.getvalue() + attack)
    else:
        path.write_bytes(attack)


NAMES = list(attacks("true"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".pt", ".bin", ".npy"])
def test_nothing_in_a_hostile_file_runs(tmp_path, name, suffix):
    canary = tmp_path / "canary"
    attack = attacks(f"touch {canary}")[name]
    path = tmp_path / f"model{suffix}"
    in_container(path, attack)
    with pytest.raises(UserError, match=rf"model\{suffix} .* and was not opened: ") as caught:
        read_published_anchors(path) if suffix == ".npy" else list(open_weights(path))
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("name", [name for name in NAMES if "storage" not in name])
def test_the_hostile_files_are_armed(tmp_path, name):
    """Otherwise the test above could not fail."""
    canary = tmp_path / "canary"
    try:
        pickle.loads(attacks(f"touch {canary}")[name])
    except Exception:
        assert canary.exists()
    assert canary.exists()


def test_what_a_file_names_is_not_even_imported(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    (tmp_path / "harmful_when_imported.py").write_text(f"open({str(canary)!r}, 'w')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.bin"
    tensors = pickle.dumps({"weight": torch.ones(2)}, 2)[2:-1]
    path.write_bytes(b"\x80\x02" + tensors + text("extra") + b"charmful_when_imported\nThing\n)\x81}bs.")
    weights = open_weights(path)
    assert list(weights) == ["weight"] and torch.equal(weights["weight"], torch.ones(2))
    assert not canary.exists() and "harmful_when_imported" not in sys.modules
    assert pickle.loads(path.read_bytes())["extra"] is not None and canary.exists()  # others do import it


def test_a_torchscript_program_and_a_compressed_archive_are_refused(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "program.pt")
    with pytest.raises(UserError, match=r"is a TorchScript archive, .*torch.jit.load\('program.pt'"):
        list(open_weights(tmp_path / "program.pt"))
    torch.save(torch.jit.load(tmp_path / "program.pt", map_location="cpu").state_dict(), tmp_path / "weights.pt")
    assert list(open_weights(tmp_path / "weights.pt")) == ["bias", "weight"]
    with pytest.raises(UserError, match="is a TorchScript archive"):
        convert_to_safetensors(tmp_path / "program.pt", tmp_path / "new.safetensors")
    torch.save({"a": torch.ones(3)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as old, zipfile.ZipFile(tmp_path / "packed.pt", "w", 8) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(UserError, match=r"packed.pt is compressed"):
        list(open_weights(tmp_path / "packed.pt"))


# A tuple of two tuples of two tuples …, one object at each level: to hash, compare or print it is to go through 2ⁿ parts. Here
# n is 20, so that a reader that does so fails and does not hang.
NESTED = b"K\x01" + 20 * b"2\x86"


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def stored(of: bytes) -> bytes:
    return tuple_of(text("storage"), of, text("0"), text("cpu"), b"K\x01") + b"Q"


def endless() -> dict[str, bytes]:
    float_storage = stored(b"ctorch\nFloatStorage\n")
    shaped = tuple_of(float_storage, b"K\x00", NESTED + b"\x85", b"K\x01\x85", b"\x89N")
    typed = tuple_of(float_storage, b"K\x00", b"K\x01\x85", b"K\x01\x85", b"\x89N", NESTED)
    legacy = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}))
    saved = io.BytesIO()
    torch.save(torch.ones(2).untyped_storage(), saved, _use_new_zipfile_serialization=False)
    within = saved.getvalue()
    for _ in range(8):  # each reads the one before twice
        load = b"\x80\x02ctorch.storage\n_load_from_bytes\nq\x00"
        within = load + sized(within) + b"q\x01\x85R0h\x00h\x01\x85R."
    return {
        "key": b"\x80\x02}" + NESTED + b"K\x01s.",
        "keys": b"\x80\x02}(" + NESTED + b"K\x01u.",
        "key of a dict made at once": b"\x80\x02(" + NESTED + b"K\x01d.",
        "key of an ordered dict": b"\x80\x02ccollections\nOrderedDict\n(](" + NESTED + b"K\x01latR.",
        "element": b"\x80\x04\x8f(" + NESTED + b"\x90.",
        "element of a set that is called for": b"\x80\x02cbuiltins\nset\n(" + NESTED + b"l\x85R.",
        "element of a frozen set": b"\x80\x04(" + NESTED + b"\x91.",
        "element of a frozen set that is called for": b"\x80\x02cbuiltins\nfrozenset\n(" + NESTED + b"l\x85R.",
        "set in a set": b"\x80\x04((K\x01\x91\x91.",
        "long number": b"\x80\x02}\x8a\x09" + bytes(8) + b"\x01K\x01s.",
        "key of a storage": legacy + b"\x80\x02(" + NESTED + b"l." + bytes(8),
        "list as a key of a storage": legacy + pickle.dumps([[1]], 2) + bytes(8),
        "storage": b"\x80\x02" + stored(NESTED) + b".",
        "shape": b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + shaped + b"Rs.",
        "dtype of a tensor": b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n" + typed + b"R.",
        "dtype of an array": b"\x80\x02cnumpy\ndtype\n" + NESTED + b"\x85R.",
        "class of an array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n" + NESTED + b"\x85R.",
        "storage within a storage": within,
    }


@pytest.mark.parametrize("name", endless())
def test_what_would_take_without_end_to_hash_or_to_print_is_refused_at_once(tmp_path, name):
    path = tmp_path / "model.bin"
    path.write_bytes(endless()[name])
    with pytest.raises(UserError, match=r"model.bin") as caught:
        list(open_weights(path))
    assert len(str(caught.value)) < 300 + len(str(path)) and "\n" not in str(caught.value)
    assert "holds no tensors" not in str(caught.value)
    assert ("as a key" in str(caught.value)) == (
        name.startswith(("key", "element", "set", "long")) and name[-7:] != "storage"
    )


def test_small_tuples_may_be_keys(tmp_path):
    value = {(1, "a", (2.5, None)): 1, 7: {frozenset({1, 2})}.pop(), b"x": {(1, 2), 3}, "weight": torch.ones(2)}
    assert_equal(open_weights(write(tmp_path / "model.pt", value, "zip")), {"weight": torch.ones(2)})


# Damaged files


@pytest.mark.parametrize("shape", [(0, 10**30), (-1,), (True,), ("a",), 65 * (1,)])
def test_a_shape_that_no_tensor_has_is_named_with_its_tensor(tmp_path, shape):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(3)}, path)
    shaped = pickle.dumps(shape, 2)[2:-1]
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "changed.pt", "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info).replace(b"K\x03\x85", shaped))
    with pytest.raises(UserError, match=r"changed.pt: tensor w has a shape, stride or offset that no tensor has"):
        dict(open_weights(tmp_path / "changed.pt"))


def test_a_tensor_that_claims_more_than_its_storage_is_named(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(3)}, path)
    content = path.read_bytes()
    shape = b"K\x03\x85q"
    assert content.count(shape) == 1
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "changed.pt", "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info).replace(shape, b"K\x7f\x85q"))
    with pytest.raises(UserError, match=r"changed.pt: tensor a has shape \[127\], but its storage holds 3 elements"):
        list(open_weights(tmp_path / "changed.pt"))


def test_files_without_tensors_are_named(tmp_path):
    for index, value in enumerate(({}, {"a": 1}, [torch.ones(2)], 3, {"model": {"model": {}}})):
        path = write(tmp_path / f"{index}.pt", value, "zip")
        with pytest.raises(UserError, match=rf"{index}.pt holds no tensors by name"):
            list(open_weights(path))


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle 4"])
def test_a_cut_file_is_no_whole_checkpoint(tmp_path, container):
    path = write(tmp_path / "model.bin", states(), container)
    whole = path.read_bytes()
    for length in (0, 1, 2, 11, 100, len(whole) // 2, len(whole) - 4000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"model.bin"):
            list(open_weights(path))
    path.write_bytes(whole)
    weights = open_weights(path)
    assert len(weights) == 12
    path.write_bytes(whole[: len(whole) // 8])
    with pytest.raises(UserError, match=r"model.bin changed while it was read"):
        for name in weights:
            weights[name]


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle 2", "pickle 4"])
def test_flipped_bits_give_a_sentence_or_tensors_and_nothing_else(tmp_path, container):
    small = {"a": torch.ones(3, 2), "b": torch.ones(2).half(), "c": {"d": 1.5}}
    path = write(tmp_path / "model.bin", small, container)
    whole = path.read_bytes()
    chance = random.Random(0)
    sentences = 0
    for _ in range(400):
        flipped = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            weights = open_weights(path)
            for name in weights:
                assert weights[name].shape == weights.header[name].shape
        except UserError as error:
            sentences += 1
            assert "model.bin" in str(error)
    assert sentences > 100
