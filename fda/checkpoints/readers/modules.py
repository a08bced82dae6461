"""Find the tensors of a pickled object and name them: state dicts, training checkpoints, whole modules.

A pickled `nn.Module` is read as the tree of its parameters, buffers and submodules; its class is never imported. Tensors have
the names of the module's own state dict.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fda.checkpoints.readers.budget import Budget, Exceeded
from fda.checkpoints.readers.pickles import Held, Name
from fda.checkpoints.readers.rebuild import NumpyArray, StoredTensor
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from fda.checkpoints.readers.torch_files import PickledCheckpoint

Stored = StoredTensor | NumpyArray
# Keys under which training programs save the state dict, in the order in which they are tried.
_WITHIN = ("state_dict", "model_state_dict", "model", "module")
# Levels; modules and tensors; characters of all names. These bounds stop modules that contain themselves, or one part again and
# again, and one long name joined along every path. A module takes 300 bytes of a pickle, with its names and tensors.
# 100,000 experts are 400,000 modules and tensors, with 40 MB of names.
_DEEPEST, _MOST, _MOST_CHARACTERS = 64, 1_000_000, 100_000_000
_FEWEST, _FEWEST_CHARACTERS = 10_000, 1_000_000
_LONGEST_NAME = 1024


def tensors_in(root: Any, path: Path) -> dict[str, Stored]:
    """Return name → tensor. UserError if the object holds none.

    A prefix that all names share is removed: `module.` of data-parallel training, and `model.` of an image encoder that holds
    an open_clip model, as in task arithmetic's checkpoints.
    """
    tensors = _tensors(root, path)
    if not tensors:
        raise UserError(f"{path} holds no tensors by name: give a file that holds a state dict or a module.")
    tensors = _without("module.", tensors)
    return _without("model.", tensors) if isinstance(root, Held) else tensors


def _tensors(root: Any, path: Path) -> dict[str, Stored]:
    for _ in range(_DEEPEST):
        if isinstance(root, Held) and _is_module(root):
            return dict(_walk(root, "", path, 0, _budget_of(path.stat().st_size)))
        if isinstance(root, Held):
            root = root.items  # a subclass of dict
        if not isinstance(root, dict):
            return {}
        inner = next((root[key] for key in _WITHIN if isinstance(root.get(key), dict | Held)), None)
        if inner is None:
            return {name: value for name, value in root.items() if isinstance(name, str) and _is_tensor(value)}
        root = inner
    return {}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StoredTensor) or (isinstance(value, NumpyArray) and value.objects is None)


def _is_module(value: Held) -> bool:
    return all(isinstance(value.state.get(key), dict) for key in ("_parameters", "_buffers", "_modules"))


def _walk(module: Held, prefix: str, path: Path, depth: int, budget: Budget) -> Iterator[tuple[str, Stored]]:
    """Yield (name, tensor) as nn.Module.state_dict does: parameters, persistent buffers, then the submodules."""
    if depth > _DEEPEST:
        raise UserError(f"{path} holds a module that contains itself without end: give a file that holds a state dict.")
    _pay(path, budget, sum(len(module.state[part]) for part in ("_parameters", "_buffers", "_modules")), 0)
    transient = module.state.get("_non_persistent_buffers_set", ())
    transient = transient if isinstance(transient, set | frozenset) else ()
    for name, value in [*module.state["_parameters"].items(), *module.state["_buffers"].items()]:
        if isinstance(name, str) and _is_tensor(value) and name not in transient:
            yield _joined(prefix, name, path, budget), value
    for name, child in module.state["_modules"].items():
        if isinstance(name, str) and isinstance(child, Held) and _is_module(child):
            yield from _walk(child, f"{_joined(prefix, name, path, budget)}.", path, depth + 1, budget)


def _budget_of(size: int) -> Budget:
    return Budget(min(_FEWEST + size // 4, _MOST), min(_FEWEST_CHARACTERS + 20 * size, _MOST_CHARACTERS))


def _joined(prefix: str, name: str, path: Path, budget: Budget) -> str:
    """Join prefix and name, and spend that from the budget. UserError if the name is too long or the budget overdrawn."""
    length = len(prefix) + len(name)
    if length > _LONGEST_NAME:
        raise UserError(
            f"{path} holds a module whose tensors' names are longer than {_LONGEST_NAME} characters: give a file that holds a "
            "state dict."
        )
    _pay(path, budget, 1, length)
    return prefix + name


def _pay(path: Path, budget: Budget, operations: int, characters: int) -> None:
    try:
        budget.spend(operations, characters)
    except Exceeded:
        raise UserError(
            f"{path} holds a module that contains itself without end: give a file that holds a state dict."
        ) from None


def _without(prefix: str, tensors: dict[str, Stored]) -> dict[str, Stored]:
    if all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def classes_in(checkpoint: "PickledCheckpoint") -> frozenset[str]:
    """Return the class names of all modules in a pickled module, as the file gives them; none for a state dict."""

    def walk(module: Any) -> Iterator[str]:
        if isinstance(module, Held) and _is_module(module):
            yield module.of.name
            for child in module.state["_modules"].values():
                yield from walk(child)

    _ = checkpoint.header  # raises for a module that contains itself
    return frozenset(walk(checkpoint.root))


def is_head(checkpoint: "PickledCheckpoint") -> bool:
    """Whether the file holds a classification head of task arithmetic's checkpoints (`head_MNIST.pt` and the like)."""
    return isinstance(checkpoint.root, Held) and checkpoint.root.of.name == "ClassificationHead"


def head_tensors(checkpoint: "PickledCheckpoint") -> dict[str, "Tensor"]:
    """Return a pickled classification head as a head file has it: `weight`, and `logit_scale` or `bias`.

    The pickled class computes logits = features · weightᵀ + bias, on L2-normalised features if `normalize`; the rows of a
    zero-shot weight all have the length of the logit scale. UserError for a normalising head that one scale cannot express.
    """
    weight, bias = checkpoint["weight"].float(), checkpoint["bias"].float() if "bias" in checkpoint else None
    bias = bias if bias is not None and bias.any() else None
    if not checkpoint.root.state.get("normalize"):
        return {"weight": weight} | ({} if bias is None else {"bias": bias})
    lengths = weight.norm(dim=1)
    if bias is not None or not lengths.min() > 0 or (lengths.max() - lengths.min()) > 1e-3 * lengths.max():
        raise UserError(
            f"{checkpoint.path} is a head that normalises features but has a bias or rows of different lengths: "
            "give a zero-shot head, or one that does not normalise."
        )
    return {"weight": weight / lengths[:, None], "logit_scale": lengths.mean()}


def class_of(checkpoint: "PickledCheckpoint") -> Name | None:
    """Return the class of a pickled module, as the file names it; None for a state dict."""
    return checkpoint.root.of if isinstance(checkpoint.root, Held) else None
