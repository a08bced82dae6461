"""Small files that ask for hours or gigabytes. What reading them costs is counted in operations and bytes, not by the clock."""

import io
import json
import pickle
import random
import re
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from fda.checkpoints.json_files import CONFIG_BYTES, read_json
from fda.checkpoints.readers import budget as budgets
from fda.checkpoints.readers.adapters import read_config
from fda.checkpoints.readers.misfits import nearest
from fda.checkpoints.readers.names import best_prefix
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.checkpoints.readers.shards import ShardedCheckpoint
from fda.checkpoints.readers.spans import Cursor, Span
from fda.checkpoints.weights import Checkpoint, TensorInfo
from fda.children import Limits, Passed, run_child
from fda.errors import UserError
from fda.requests.helper_runs import preview_spec, result_file, survey_spec
from fda.stages import helpers
from fda.stages.worker import run_here
from fda.store.store import Store
from fda.zoos import yaml_text
from fda.zoos.configs import vocabulary
from fda.zoos.stamps import stamps
from fda.zoos.yaml_text import read_yaml
from fda.zoos.zoo import load_zoo

MIB = 2**20


@contextmanager
def at_most(mib: float | None) -> Iterator[None]:
    """What is allocated by Python within, at its peak; None: not looked at, which would take a while."""
    if mib is None:
        yield
        return
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * MIB
    finally:
        tracemalloc.stop()


def refused(
    path: Path, says: str, read: Callable = lambda path: list(open_weights(path)), *, mib: float | None = None
) -> str:
    with at_most(mib), pytest.raises(UserError, match=says) as caught:
        read(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


# Pickles


def text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def zipped(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")
    return path


def pickles() -> dict[str, bytes]:
    """Each at most 40 KB, and millions of steps or hundreds of megabytes if every opcode is carried out."""
    call, proto = b"h\x01h\x00", b"\x80\x02"
    shared = proto + b"(" + b"K\x01" * 2000 + b"tq\x00"  # a tuple of 2000, remembered
    numbers = b"".join(b"K\x01M" + struct.pack("<H", number) + b"\x86" for number in range(1500))
    pairs = proto + b"](" + numbers + b"eq\x00"
    fields = b"}(" + b"".join(text(b"%04d" % number) + b"K\x01" for number in range(600)) + b"uq\x00"
    storage = io.BytesIO()
    torch.save(torch.ones(500).untyped_storage(), storage, _use_new_zipfile_serialization=False)
    within = b"B" + struct.pack("<I", len(storage.getvalue())) + storage.getvalue()
    partial, ordered = b"cfunctools\npartial\nq\x010", b"ccollections\nOrderedDict\nq\x010"
    encode, load = b"c_codecs\nencode\nq\x01", b"ctorch.storage\n_load_from_bytes\nq\x01"
    return {
        "calls that keep a shared tuple": shared + partial + (call + b"R0") * 1800 + b".",
        "calls kept on the stack": shared + partial + (call + b"R") * 2000 + b".",
        "ordered dicts of a shared list": pairs + ordered + (call + b"\x85R0") * 800 + b".",
        "sets of a shared list": pairs + b"cbuiltins\nset\nq\x010" + (call + b"\x85R0") * 800 + b".",
        "states that are given again": proto + fields + b"0cargparse\nNamespace\n)\x81" + b"h\x00b" * 3000 + b".",
        "a long text that is encoded": proto
        + text(b"a" * 8000)
        + b"q\x00"
        + encode
        + text(b"latin1")
        + b"q\x020"
        + (call + b"h\x02\x86R") * 3000
        + b".",
        "a storage that is read again": proto + load + within + b"\x85q\x000" + (call + b"R") * 3000 + b".",
        "objects made of a shared tuple": shared + b"cargparse\nNamespace\nq\x010" + (call + b"\x81") * 2000 + b".",
    }


@pytest.mark.parametrize(("name", "suffix"), [*((name, ".bin") for name in pickles()), (next(iter(pickles())), ".pt")])
def test_a_pickle_that_uses_one_part_over_and_over_is_stopped_by_its_budget(tmp_path, monkeypatch, name, suffix):
    content = pickles()[name]
    assert len(content) < 40_000
    spent, usual = [], budgets.Budget.spend

    def spend(self, operations: int = 1, bytes: int = 0) -> None:
        spent.append((operations, bytes))
        usual(self, operations, bytes)

    monkeypatch.setattr(budgets.Budget, "spend", spend)
    path = tmp_path / f"model{suffix}"
    zipped(path, content) if suffix == ".pt" else path.write_bytes(content)
    refused(path, r"than any checkpoint of its size, and was not opened|thousands of tuples as keys")
    size = path.stat().st_size
    operations, taken = (sum(one) for one in zip(*spent, strict=True))
    assert operations <= budgets.FEWEST_OPERATIONS + budgets.OPERATIONS_PER_BYTE * size + 10_000
    assert taken <= budgets.FEWEST_BYTES + budgets.BYTES_PER_BYTE * size + MIB


def test_a_compressed_pickle_is_not_unfolded(tmp_path):
    """74 KB of it were 74 million empty lists: 5 GB."""
    for content in (b"\x80\x02" + b"]" * 10_000_000 + b".", b"\x80\x02" + b"}" * 5_000_000 + b"."):
        path = zipped(tmp_path / "model.pt", content, zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 50_000
        refused(path, "is compressed or encrypted, which torch.save never does", mib=8)


def test_a_member_that_says_it_is_longer_than_the_file_is_not_allocated(tmp_path):
    path = zipped(tmp_path / "model.pt", b"\x80\x02}.")
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**28, 2**28)
    path.write_bytes(content)
    refused(path, "is cut off", mib=8)


def test_empty_containers_are_paid_for(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x80\x04" + b"\x8f" * 200_000 + b".")  # each 216 bytes
    refused(path, "grows larger when it is read than any checkpoint of its size")


def test_lines_of_the_oldest_pickles_are_read_once(monkeypatch):
    """Each of them copied up to a megabyte of what came after it."""
    content = b"".join(b"p%d\n" % number for number in range(50_000))
    cursor, copied, read = Cursor(Span(content, 0, len(content))), [], Span.read

    def counted(span, offset=0, length=None):
        copied.append(length)
        return read(span, offset, length)

    monkeypatch.setattr(Span, "read", counted)
    lines = [cursor.readline() for _ in range(50_000)]
    assert lines[:2] == [b"p0\n", b"p1\n"] and lines[-1] == b"p49999\n" and cursor.left == 0
    assert len(copied) == -(-len(content) // Cursor.CHUNK)
    tail = Cursor(Span(b"no end", 0, 6))
    assert tail.readline() == b"no end" and tail.readline() == b""
    long = Cursor(Span(b"x" * (Cursor.CHUNK + 5) + b"\n", 0, Cursor.CHUNK + 6))
    assert len(long.readline()) == Cursor.CHUNK and long.readline() == b"xxxxx\n"


def test_tuples_that_share_one_hash_are_not_many_keys(tmp_path):
    keys = b"".join(b"K\x01J" + struct.pack("<i", number) + b"\x86N" for number in range(6000))
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x80\x02}(" + keys + b"u.")
    refused(path, "uses thousands of tuples as keys")


@pytest.mark.parametrize("number", [b"I" + b"9" * 10_000 + b"\n", b"L" + b"9" * 10_000 + b"L\n"])
def test_numbers_of_thousands_of_digits(tmp_path, number):
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x80\x02" + number + b".")
    refused(path, "is not a whole PyTorch checkpoint")


def tower(levels: int, width: int, name: str) -> nn.Module:
    inner = nn.Linear(1, 1)
    for _ in range(levels):
        outer = nn.Module()
        for place in range(width):
            outer._modules[f"{name}{place}"] = inner
        inner = outer
    return inner


@pytest.mark.parametrize(("levels", "width", "length"), [(3, 4, 4000), (16, 3, 50), (60, 2, 1), (1, 2, 2000)])
def test_long_names_are_not_joined_along_every_path(tmp_path, levels, width, length):
    path = tmp_path / "model.pt"
    torch.save(tower(levels, width, "n" * length), path, _use_new_zipfile_serialization=False)
    refused(path, "holds a module (that contains itself|whose tensors' names)")


def test_views_of_one_storage_are_not_read_a_thousand_times(tmp_path):
    """2,000 tensors over one storage of a megabyte: a file of 1.3 MB would be read as 2 GB."""
    big = torch.zeros(2**18)
    path = tmp_path / "model.pt"
    torch.save({f"w{place}": big for place in range(2000)}, path)
    said = refused(path, "tensors are 2,097,152,000 bytes, which overlap in a file of")
    assert "2,000 tensors" in said
    ends = {f"w{place}": big[:: 2**18 - 1] for place in range(2000)}  # two numbers each, a megabyte apart
    torch.save(ends, path)
    refused(path, "tensors are 2,097,152,000 bytes")
    torch.save({f"w{place}": big for place in range(12)}, path)  # layers that are shared, as ALBERT's
    assert len(open_weights(path)) == 12


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (10**9, 10**9, 10**9)])
def test_arrays_that_say_they_are_larger_than_they_are(tmp_path, shape):
    path = tmp_path / "model.pkl"
    content = pickle.dumps({"w": np.zeros(3, np.float32)}, 2)
    path.write_bytes(content.replace(b"K\x03\x85", pickle.dumps(shape, 2)[2:-1], 1))
    refused(path, "is not a whole PyTorch checkpoint")
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    path = tmp_path / "dual_anchors.npy"
    path.write_bytes(header.getvalue() + bytes(12))
    refused(path, "is not a whole .npy file", read_published_anchors, mib=8)


HEADERS = {
    "longer than the file": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{",
    "long": b"\x93NUMPY\x02\x00" + struct.pack("<I", 200_000) + b"(" * 199_999 + b"\n",
    "nested": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 8999 + b"\n",
    "a long number": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"{'descr':'<f4','fortran_order':False,'shape':("
    + b"9" * 8950 + b",)}"[:4] + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_arrays(tmp_path, name):
    path = tmp_path / "dual_anchors.npy"
    path.write_bytes(HEADERS[name])
    refused(path, "is not a whole .npy file", read_published_anchors, mib=8)


def test_a_model_of_100000_tensors_is_within_the_budget(tmp_path):
    """The largest that there are: else the bounds above could be zero."""
    path = tmp_path / "model.pt"
    storage = torch.zeros(1)
    state = {f"model.layers.{one // 1000}.mlp.experts.{one % 1000}.w": storage for one in range(20_000)}
    torch.save({"state_dict": state, "optimizer": {"state": {one: {"step": 1} for one in range(20_000)}}}, path)
    assert len(open_weights(path)) == 20_000
    size = 5 * path.stat().st_size
    assert (
        budgets.budget_of(size).operations > 5 * 20_000 * 60 and budgets.budget_of(size).bytes >= budgets.MOST_BYTES / 4
    )


# YAML


def numbers() -> dict[str, str]:
    return {
        "to base 60": "1" + ":1" * 80_000,
        "to base 60 with a point": "1" + ":1" * 80_000 + ".5",
        "to base 60 by its tag": '!!int "1' + ":1" * 2_000 + '"',
        "decimal": "9" * 4_000,
        "hexadecimal": "0x" + "f" * 30_000,
        "octal": "0" + "7" * 30_000,
        "binary": "0b" + "1" * 30_000,
        "with lines between": "1" + "_0" * 15_000,
        "with a point": "1." + "0" * 30_000,
        "a time": "2001-01-01 00:00:00." + "0" * 30_000,
        "bytes": "!!binary " + "QUJD" * 5_000,
    }


@pytest.mark.parametrize("name", numbers())
def test_numbers_of_a_zoo_file_are_short(tmp_path, monkeypatch, name):
    made = []
    for kind in ("int", "float", "timestamp", "binary"):
        usual = yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
        monkeypatch.setitem(
            yaml_text._Loader.yaml_constructors,
            f"tag:yaml.org,2002:{kind}",
            lambda loader, node, usual=usual: made.append(node) or usual(loader, node),
        )
    path = tmp_path / "zoo.yaml"
    path.write_text(f"name: x\nadapt: {{steps: {numbers()[name]}}}\n")
    said = refused(
        path, r"zoo.yaml \(line 2\) holds a value of type \w+ with [\d,]+ characters, and 64 are read", load_zoo
    )
    assert not made and len(said) < 400


@pytest.mark.parametrize(
    "number", ["1e999", "-.inf", ".nan", "0x" + "f" * 60, "59:59:59:59:59:59", "1_000", "2001-01-01"]
)
def test_short_numbers_are_read(number):
    assert read_yaml(f"a: {number}", "x")["a"] is not None


def long_texts() -> dict[str, tuple[str, str]]:
    same_hash = ", ".join(f"{number * (2**61 - 1)}: 1" for number in range(3000))
    return {
        "keys of one hash": (f"adapt: {{{same_hash}}}", r"holds a field that is no text: correct the field `0`"),
        "a list": ("adapt: [" + "x," * 150_000 + "]", "has more than 100,000 entries"),
        "mappings": ("adapt: [" + "{}," * 150_000 + "]", "has more than 100,000 entries"),
        "question marks": ("? " * 100_000, "is not YAML"),
        "directives": ("".join(f"%TAG !{one}! a\n" for one in range(4000)) + "--- a\n", "is too long"),
        "half a character": ('name: "\\ud800"', "is not YAML|half a character"),
        "a date in a long text": (
            "name: 2001-01-01\ndescription: " + "x" * 70_000,
            "holds a value that no field takes",
        ),
        "deep in a long text": ("name: " + "[" * 70_000, "is not YAML"),
    }


@pytest.mark.parametrize("name", long_texts())
def test_zoo_files_that_are_large_or_strange(tmp_path, name):
    content, says = long_texts()[name]
    path = tmp_path / "zoo.yaml"
    path.write_text(content)
    refused(path, says, load_zoo)


def test_a_long_zoo_file_is_read_in_a_process_of_its_own(tmp_path, monkeypatch):
    classes = [f"class number {one} of many" for one in range(3000)]
    content = {"name": "x", "base": {"model": "org/b"}, "description": "ä", "adapt": {"a": [1, 1.5, None, True]}}
    content["tasks"] = [
        {"name": "t", "model": "org/t", "head": {"zero_shot": {"classes": classes, "templates": ["{}"]}}}
    ]
    text = yaml.safe_dump(content, allow_unicode=True)
    assert len(text) > yaml_text.LONG
    monkeypatch.setattr(yaml_text, "parsed", None)  # not here
    assert read_yaml(text, "x") == content
    path = tmp_path / "zoo.yaml"
    path.write_text(yaml.safe_dump(content | {"adapt": {}}, allow_unicode=True), encoding="utf-8")
    assert load_zoo(path).tasks[0].head.zero_shot.classes == tuple(classes)


# Safetensors


def header_of(names: list[str]) -> bytes:
    content = json.dumps(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * at, 4 * at + 4]} for at, name in enumerate(names)}
    ).encode()
    return len(content).to_bytes(8, "little") + content + bytes(4 * len(names))


class Counted(dict):
    """Names, and how often one of them was looked up or gone through."""

    looks = 0

    def __contains__(self, name: object) -> bool:
        Counted.looks += 1
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            Counted.looks += 1
            yield name


def test_names_that_each_suggest_a_prefix_of_their_own_are_gone_through_once():
    """Every prefix was tried on every name: 300,000 tensors, 9·10¹⁰ steps."""
    names = Counted({f"p{one}.blocks.0.weight": f"p{one}.blocks.0.weight" for one in range(20_000)})
    weights = type("", (), {"header": dict.fromkeys(names, TensorInfo((1,), "F32"))})()
    expected = Counted({"blocks.0.weight": (1,), "blocks.0.bias": (1,), "norm.weight": (1,)})
    Counted.looks = 0
    assert best_prefix(weights, names, expected) == ("p0.", "")
    assert Counted.looks < 10 * 20_000


def test_the_nearest_of_very_many_names_is_found_by_few_comparisons(monkeypatch):
    import difflib

    compared, usual = [], difflib.get_close_matches

    def counted(name, names, n):
        compared.append(len(list(names)))
        return usual(name, names, n)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    names = [f"x{one}.y" for one in range(50_000)] + ["model.layers.0.mlp.fc.weights"]
    assert nearest("model.layers.0.mlp.fc.weight", names) == "model.layers.0.mlp.fc.weights"
    assert compared == [1000]


def test_headers_larger_than_any_model_s_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(header_of(["n" * 2000]))
    refused(path, "has 1 tensors, the longest name of 2,000 characters", lambda path: Checkpoint(path).header)
    from fda.checkpoints import weights as checkpoints

    monkeypatch.setattr(checkpoints, "MOST_TENSORS", 10)
    path.write_bytes(header_of([f"n{one}" for one in range(11)]))
    refused(path, "has 11 tensors", lambda path: Checkpoint(path).header)
    monkeypatch.setattr(checkpoints, "LONGEST_HEADER", 100)
    refused(path, r"has a header of \d+ bytes, more than any checkpoint", lambda path: Checkpoint(path).header)


def test_a_file_of_many_tensors_is_opened_once_and_its_tensors_are_copies(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_file({f"n{one}": torch.full((2,), float(one)) for one in range(2500)}, path)
    from fda.checkpoints import weights as checkpoints

    opened, usual = [], checkpoints.safe_open
    monkeypatch.setattr(checkpoints, "safe_open", lambda *args, **more: opened.append(args) or usual(*args, **more))
    weights, expected = Checkpoint(path), load_file(path)
    assert weights.header["n7"] == TensorInfo((2,), "F32") and len(weights) == 2500
    weights["n7"].add_(1)
    assert all(torch.equal(weights[name], expected[name]) for name in list(expected)[:50])
    assert torch.equal(weights["n7"], torch.full((2,), 7.0)) and len(opened) == 2


# JSON


def bad_json() -> dict[str, bytes]:
    return {
        "deep": b'{"model_type": ' + b"[" * 200_000,
        "deep objects": b'{"a":' * 100_000,
        "long number": b'{"model_type": "bert", "a": ' + b"9" * 10_000 + b"}",
        "large": b'{"a": "' + b"x" * (CONFIG_BYTES + 1) + b'"}',
        "no text": b'{"a": "\xff"}',
        "list": b"[]",
        "number": b"1",
    }


@pytest.mark.parametrize("name", bad_json())
def test_configs_beside_weights(tmp_path, name):
    from fda.architectures.transformers_config import read_config as read_model_config
    from fda.tasks.labels import _of_config
    from fda.zoos.nearby import architecture
    from fda.zoos.seen import model_type

    for file in ("config.json", "adapter_config.json", "tokenizer.json", "vocab.json", "model.safetensors.index.json"):
        (tmp_path / file).write_bytes(bad_json()[name])
    assert architecture(tmp_path) is None and model_type(tmp_path) is None and _of_config(str(tmp_path)) is None
    if name != "large":
        assert vocabulary(tmp_path) == {} or name == "no text"
    refused(
        tmp_path / "config.json",
        "is not the config of a transformers model",
        lambda path: read_model_config(path.parent),
    )
    refused(tmp_path / "adapter_config.json", "is no config of a PEFT adapter", read_config)
    index = tmp_path / "model.safetensors.index.json"
    refused(index, "is not the index of a sharded checkpoint", lambda path: ShardedCheckpoint(path).index)


def test_a_pipe_in_place_of_a_config_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    "more",
    [
        {"lora_alpha": 10**400},
        {"lora_alpha": 1e308},
        {"alpha_pattern": {"a": 10**400}},
        {"alpha_pattern": [1]},
        {"modules_to_save": ["a"] * 200_000},
        {"alpha_pattern": {f"l{one}": 1 for one in range(50_000)}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_configs_of_adapters(tmp_path, more):
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4} | more))
    says = "lora_alpha|modules_to_save or alpha_pattern is no list of at most|is not the name of a layer"

    def read(path: Path) -> None:
        from fda.checkpoints.readers.adapters import _alpha

        _alpha("a", read_config(path), path)

    refused(path, says, read)


# Processes of their own


def test_a_child_that_passes_a_limit_is_ended_and_the_limit_is_named():
    grow = "import time\nkept = []\nwhile True: kept.append(bytearray(b'x' * 2**22)); time.sleep(0.002)"
    with pytest.raises(Passed, match=r"^it was not read within 0.1 GiB of memory: try again\.$"):
        run_child(("-c", grow), Limits(60, 2**27), what="it", instead="try again")
    with pytest.raises(Passed, match=r"^it was not read within 1 s: try again\.$"):
        run_child(("-c", "while True: pass"), Limits(1), what="it", instead="try again")
    done = run_child(("-c", "print(input()); 1 / 0"), Limits(60), what="it", instead="try again", text="é\n")
    assert done.stdout == "é\n" and done.returncode == 1 and "ZeroDivisionError" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another process can be set on Linux alone")
def test_a_child_whose_parent_dies_ends_by_itself():
    told = "import resource, os; print(resource.getrlimit(resource.RLIMIT_CPU)[0] // os.cpu_count())"
    done = run_child(("-c", f"import time; time.sleep(0.3); {told}"), Limits(7), what="it", instead="x")
    assert done.stdout.strip() == "7"


@pytest.mark.parametrize(("make", "command"), [(survey_spec, "show"), (preview_spec, "check")])
def test_the_run_of_a_survey_has_limits(tiny_zoo, monkeypatch, make, command):
    store = Store()
    spec = make(tiny_zoo, load_zoo(tiny_zoo))
    run_id = store.create_run(spec)
    monkeypatch.setattr(helpers, "reading_limits", lambda _: Limits(600, 2**26))
    assert run_here(store, run_id) == "failed" and not result_file(store.run_dir(run_id)).exists()
    says = rf"zoo.yaml was not read within \d\.\d GiB of memory: run `python -m fda zoo {command}"
    assert re.search(says, store.run(run_id).message)


def test_the_limit_of_a_survey_follows_the_size_of_the_files(tiny_zoo):
    spec = survey_spec(tiny_zoo, load_zoo(tiny_zoo))
    sizes = sum(size for _, size, _ in stamps(tiny_zoo, spec.zoo))
    assert helpers.reading_limits(spec) == Limits(600, 3 * 2**30 + 8 * sizes) and sizes > 2**14


# Whatever else


def small_files(folder: Path) -> dict[str, Path]:
    state = {"a": torch.ones(3, 2), "b": torch.ones(2).half(), "c": {"d": 1.5}}
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "legacy.bin", _use_new_zipfile_serialization=False)
    (folder / "plain.pkl").write_bytes(pickle.dumps({"a": np.ones((3, 2), np.float32)}, 4))
    save_file({"a": torch.ones(3, 2), "b": torch.ones(2)}, folder / "one.safetensors")
    np.save(folder / "anchors.npy", np.ones((2, 3, 4), np.float32))
    np.save(folder / "objects.npy", np.array({"input": np.ones((2, 3, 4), np.float32)}, object), allow_pickle=True)
    index = {"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "zoo.yaml").write_text(
        "name: mine\nbase: {model: org/base}\ntasks:\n"
        "- {name: a, model: org/a@main:b, data: {path: o/d, split: 'train[:9%]'}}\n"
        "adapt: {steps: 1_000, rate: 1e-3, more: [&x 1:30, *x, 0x1f, 2001-01-01, !!str 5]}\n"
    )
    return {path.name: path for path in sorted(folder.iterdir())}


def mutated(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(changed))
        kind = chance.randrange(5)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place] = chance.choice(b"\x00\xff(R.:}{]&*9")
        elif kind == 2:
            changed[place:place] = changed[place : place + chance.randrange(1, 40)]
        elif kind == 3:
            del changed[place : place + chance.randrange(1, 8)]
        else:
            del changed[max(place, 1) :]
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_a_file_that_was_changed_at_random_is_read_or_refused_by_a_sentence(tmp_path, seed):
    chance, outcomes = random.Random(seed), {"read": 0, "refused": 0}

    def read(path: Path) -> None:
        if path.suffix == ".npy":
            read_published_anchors(path)
        elif path.suffix == ".yaml":
            load_zoo(path)
        else:
            dict(open_weights(path))

    (tmp_path / "whole").mkdir()
    for name, whole in small_files(tmp_path / "whole").items():
        content = whole.read_bytes()
        if name != "zoo.yaml":
            read(whole)
        path = tmp_path / name
        (tmp_path / "one.safetensors").write_bytes((tmp_path / "whole" / "one.safetensors").read_bytes())
        for _ in range(60):
            path.write_bytes(mutated(content, chance))
            try:
                read(path)
                outcomes["read"] += 1
            except UserError as error:
                outcomes["refused"] += 1
                assert "\n" not in str(error) and len(str(error)) <= 1000
    assert outcomes["refused"] > 100 and outcomes["read"] > 20
