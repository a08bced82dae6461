"""`merge` and `merge_to_file`: dtypes, buffers, order, checks, and files that are whole or not there."""

import json
import struct
from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import DTYPE_NAMES
from fda.errors import UserError
from fda.merging.merge import merge, merge_to_file
from fda.merging.method import Hyperparameter, Method
from fda.merging.registry import METHODS
from tests.support.states import DATA_FREE, QUICK, SHAPES, floats, random_states, run


def tasks_for(name):
    return 2 if name == "slerp" else 3


class Lazy(Mapping):
    """Weights that count how often each tensor is read."""

    def __init__(self, state):
        self.state, self.reads = state, dict.fromkeys(state, 0)

    def __getitem__(self, name):
        self.reads[name] += 1
        return self.state[name]

    def __iter__(self):
        return iter(self.state)

    def __len__(self):
        return len(self.state)


@pytest.mark.parametrize("name", DATA_FREE)
def test_the_result_has_the_bases_order_and_dtypes_and_its_buffers(name):
    base, finetuned = random_states(tasks_for(name))
    merged = merge(METHODS[name], base, finetuned)
    assert [(key, tensor.shape, tensor.dtype) for key, tensor in merged.items()] == [
        (key, torch.Size(shape), dtype) for key, (shape, dtype) in SHAPES.items()
    ]
    for key in ("position_ids", "0.mask"):
        assert torch.equal(merged[key], base[key])
        assert not torch.equal(finetuned[0][key], base[key])


@pytest.mark.parametrize("name", DATA_FREE)
def test_half_precision_is_computed_in_fp32_and_cast_back(name):
    base, finetuned = random_states(tasks_for(name))
    merged = merge(METHODS[name], base, finetuned, **QUICK.get(name, {}))
    upcast = run(name, floats(base), [floats(state) for state in finetuned])
    for key, dtype in (("0.half.weight", torch.float16), ("0.brain.bias", torch.bfloat16)):
        assert torch.equal(merged[key], upcast[key].to(dtype))


def test_computing_in_half_precision_would_be_seen():
    base = {"w": torch.full((4,), 1.0, dtype=torch.float16)}
    finetuned = [{"w": torch.full((4,), 1 + 2.0**-10, dtype=torch.float16)} for _ in range(3)]
    assert merge(METHODS["ta"], base, finetuned, scale=0.3)["w"].tolist() == [1 + 2.0**-10] * 4


@pytest.mark.parametrize("name", DATA_FREE)
def test_the_file_holds_what_merge_returns(name, tmp_path):
    base, finetuned = random_states(tasks_for(name))
    path = tmp_path / "deep" / "merged.safetensors"
    merge_to_file(METHODS[name], base, finetuned, path, {"method": name, "tasks": 3})
    merged, loaded = merge(METHODS[name], base, finetuned), load_file(path)
    assert set(loaded) == set(merged)
    for key, tensor in merged.items():
        assert loaded[key].dtype == tensor.dtype and torch.equal(loaded[key], tensor), key
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"method": name, "tasks": "3"}
    assert [entry.name for entry in path.parent.iterdir()] == ["merged.safetensors"]


def test_the_file_has_the_header_that_the_library_writes_and_is_aligned(tmp_path):
    base, finetuned = random_states(2)
    merge_to_file(METHODS["ta"], base, finetuned, tmp_path / "ours", {"method": "ta"})
    save_file(merge(METHODS["ta"], base, finetuned), tmp_path / "theirs", metadata={"method": "ta"})
    ours, theirs = (tmp_path / "ours").read_bytes(), (tmp_path / "theirs").read_bytes()
    assert len(ours) == len(theirs)
    assert sorted(Checkpoint(tmp_path / "ours").header.items()) == sorted(
        Checkpoint(tmp_path / "theirs").header.items()
    )
    (length,) = struct.unpack("<Q", ours[:8])
    entries = json.loads(ours[8 : 8 + length])
    entries.pop("__metadata__")
    assert (8 + length) % 8 == 0
    for entry in entries.values():  # every tensor starts at a multiple of its item size
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        count = torch.Size(shape).numel()
        assert start % ((end - start) // count) == 0


def test_every_dtype_survives_the_file(tmp_path):
    base = {name: torch.tensor([0, 1, 1]).to(dtype) for dtype, name in DTYPE_NAMES.items()} | {
        "empty": torch.zeros(0, 3)
    }
    merge_to_file(METHODS["pretrained"], base, [], tmp_path / "merged", {})
    loaded = load_file(tmp_path / "merged")
    for name, tensor in base.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].shape == tensor.shape
        assert loaded[name].tolist() == tensor.tolist()


def test_lazy_checkpoints_are_merged_like_state_dicts(tmp_path):
    base, finetuned = random_states(3)
    for index, state in enumerate((base, *finetuned)):
        save_file(state, tmp_path / f"{index}.safetensors")
    lazy = [Checkpoint(tmp_path / f"{index}.safetensors") for index in range(4)]
    merge_to_file(METHODS["dare_ties"], lazy[0], lazy[1:], tmp_path / "merged.safetensors", {})
    merged = merge(METHODS["dare_ties"], base, finetuned)
    loaded = load_file(tmp_path / "merged.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in merged.items())


def test_tensors_are_read_pass_by_pass():
    base, finetuned = random_states(2)
    for name, passes in (("average", 1), ("ties", 4), ("dare_ties", 4), ("tsv", 1), ("breadcrumbs", 1)):
        lazy = [Lazy(state) for state in finetuned]
        merge(METHODS[name], base, lazy)
        for weights in lazy:
            assert {key: count for key, count in weights.reads.items() if count} == dict.fromkeys(floats(base), passes)


def test_a_merge_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    base, finetuned = random_states(3)
    path = tmp_path / "merged.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(UserError, match="exactly two tasks"):
        merge_to_file(METHODS["slerp"], base, finetuned, path, {})
    del finetuned[1]["logit_scale"]
    with pytest.raises(KeyError):
        merge_to_file(METHODS["ta"], base, finetuned, path, {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_method_that_changes_a_shape_is_a_programmers_error(tmp_path):
    wrong = Method("wrong", "", "", "", 0, merge=lambda base, finetuned: iter([("w", torch.zeros(2))]))
    with pytest.raises(ValueError, match=r"has shape \(2,\), not \(3,\)"):
        merge_to_file(wrong, {"w": torch.zeros(3)}, [], tmp_path / "x", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["individual", "fda:ta"])
def test_what_is_no_weight_space_method_is_a_programmers_error(name, tmp_path):
    with pytest.raises(ValueError, match="not a weight-space method"):
        merge(METHODS[name], {}, [])
    with pytest.raises(ValueError, match="not a weight-space method"):
        merge_to_file(METHODS[name], {}, [], tmp_path / "x", {})


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("ta", {"lambda_": 0.3}, "ta has no hyperparameter 'lambda_': it has scale, weights."),
        ("average", {"scale": 1.0}, "average has no hyperparameter 'scale': it has none."),
        ("ties", {"density": 20}, "ties: density must be between 0 and 1, not 20."),
        ("dare", {"rate": -0.1}, "dare: rate must be between 0 and 1, not -0.1."),
        ("wudi", {"steps": -1}, "wudi: steps must be at least 0, not -1."),
    ],
)
def test_hyperparameters_are_checked(name, hyperparameters, message):
    base, finetuned = random_states(2)
    with pytest.raises(UserError) as error:
        merge(METHODS[name], base, finetuned, **hyperparameters)
    assert str(error.value) == message


def test_a_hyperparameter_may_be_open_on_either_side():
    hyper = Hyperparameter("x", float, 1.0, "", None, None, "")
    free = Method("free", "", "", "", 0, merge=lambda base, finetuned, x=1.0: iter(()), hyperparameters=(hyper,))
    assert merge(free, {}, [], x=1e9) == {}
