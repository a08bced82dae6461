"""Reconcile a config with the tensors beside it: where they disagree, the tensors win, and a note says so.

Counts that are the rows of a tensor (tokens, token types, positions, classes) come from the tensors. Tensors that the config's
class does not have are left out, as the library does.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from fda.checkpoints.readers.names import best_prefix
from fda.checkpoints.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COUNTS = ("vocab_size", "type_vocab_size", "max_position_embeddings", "num_labels")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Agreed:
    """`config`: with the tensors' counts; `module`: built from it. `changed`: the changed fields. `notes`: a sentence each."""

    config: Any
    module: "PreTrainedModel" = field(repr=False)
    changed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def agreed(
    config: Any,
    weights: Weights,
    build: Callable[[Any], "PreTrainedModel"],
    rename: Callable[["PreTrainedModel"], Callable[[str], str]],
    path: Path,
) -> Agreed:
    """Return the config with the counts of the tensors; reads headers only. `build`: a config → its module on the meta device.

    `rename`: a module → the library's renamings. `path`: of the config, for the notes. UserError of `build`.

    Tries for each count whether the value that explains a tensor's rows makes more tensors fit.
    """
    module = build(config)
    names = rename(module)
    misfits, changed, notes = _other_rows(module, weights, names), {}, []
    for count in COUNTS:
        before = getattr(config, count, None)
        for name, (rows, expected) in list(misfits.items()):
            if not isinstance(before, int) or name not in misfits or before + rows - expected < 1:
                continue
            after = before + rows - expected
            trial = deepcopy(config)
            setattr(trial, count, after)
            built = build(trial)
            remaining = _other_rows(built, weights, names)
            if len(remaining) >= len(misfits):
                continue
            config, module, misfits = trial, built, remaining
            changed |= _fields(config, count)
            notes.append(f"{path} says {before} for `{count}`, but the tensors have {after} ({name}): the tensors win.")
            break
    return Agreed(config, module, changed, tuple(notes))


def unused(weights: Weights, module: nn.Module, rename: Callable[[str], str]) -> tuple[str, ...]:
    """Return the names of floating-point tensors that the module does not have, without buffers of older library versions."""
    shapes = _shapes(module)
    renamed = {rename(name): name for name in weights}
    off, on = best_prefix(weights, renamed, shapes)
    known = {name for new, name in renamed.items() if new.startswith(off) and on + new.removeprefix(off) in shapes}
    patterns = [r"rotary_emb\.inv_freq|position_ids|masked_bias|\.attn\.bias"]
    patterns += getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()
    ignored = re.compile("|".join(f"({pattern})" for pattern in patterns))
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    unknown = (name for name in weights if name not in known and weights.header[name].dtype.startswith(("F", "BF")))
    return tuple(name for name in unknown if not ignored.search(name) and rename(name) not in tied)


def _fields(config: Any, count: str) -> dict[str, Any]:
    """The fields of config.json that express a count, with their values."""
    if count == "num_labels":
        return {"id2label": config.id2label, "label2id": config.label2id}
    return {config.attribute_map.get(count, count): getattr(config, count)}


def _shapes(module: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _other_rows(module: nn.Module, weights: Weights, rename: Callable[[str], str]) -> dict[str, tuple[int, int]]:
    """Name → (rows in the checkpoint, rows expected) of the tensors whose shapes differ in the number of rows only."""
    expected, renamed = _shapes(module), {rename(name): name for name in weights}
    off, on = best_prefix(weights, renamed, expected)
    rows = {}
    for new, old in renamed.items():
        name = on + new.removeprefix(off)
        shape, usual = weights.header[old].shape, expected.get(name, ())
        if not new.startswith(off) or not shape or not all(shape) or len(shape) != len(usual):
            continue
        if shape[1:] == usual[1:] and shape[0] != usual[0]:
            rows[name] = (shape[0], usual[0])
    return rows
