"""Where a config and the tensors beside it disagree: the tensors win, and a note says so.

Counts that a table's rows tell (tokens, token types, positions, classes) are taken from the tensors. Tensors that the class
in the config has no place for are left out, as the library leaves them out.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from fda.checkpoints.readers.names import RenamedWeights, best_prefix, fitted
from fda.checkpoints.weights import Weights

COUNTS = ("vocab_size", "type_vocab_size", "max_position_embeddings", "num_labels")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Agreed:
    """`config`: with the tensors' counts. `changed`: the fields of config.json that differ in it. `notes`: a sentence each."""

    config: Any
    module: nn.Module = field(repr=False)
    changed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def agreed(
    config: Any,
    weights: Weights,
    build: Callable[[Any], nn.Module],
    rename: Callable[[nn.Module], Callable[[str], str]],
    path: Path,
) -> Agreed:
    """The config whose counts are those of the tensors; reads headers only. `build`: a config → its module on the meta device.

    `rename`: the library's renamings of a module's names. `path`: of the config, for the notes. UserError of `build`.
    """
    module = build(config)
    names = rename(module)
    wrong, changed, notes = _other_rows(module, weights, names), {}, []
    for count in COUNTS:
        before = getattr(config, count, None)
        for name, (own, expected) in list(wrong.items()):
            if not isinstance(before, int) or name not in wrong or before + own - expected < 1:
                continue
            trial = deepcopy(config)
            setattr(trial, count, before + own - expected)
            built = build(trial)
            left = _other_rows(built, weights, names)
            if len(left) >= len(wrong):
                continue
            config, module, wrong = trial, built, left
            changed |= _fields(config, count)
            notes.append(
                f"{path} says {before} for `{count}`, but the tensors have {before + own - expected} ({name}): the tensors win."
            )
            break
    return Agreed(config, module, changed, tuple(notes))


def unused(weights: Weights, module: nn.Module, rename: Callable[[str], str]) -> tuple[str, ...]:
    """Names of floating-point tensors in the checkpoint that a class has no place for; not buffers of older versions."""
    shapes = _shapes(module)
    view = fitted(weights, shapes, rename=rename, optional=shapes, grown=shapes)
    if not isinstance(view, RenamedWeights):
        return ()
    old = [r"rotary_emb\.inv_freq|position_ids|masked_bias|\.attn\.bias"]
    old += getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()
    passed = re.compile("|".join(f"({pattern})" for pattern in old))
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    return tuple(
        name
        for name in view.left_out
        if weights.header[name].dtype.startswith(("F", "BF")) and not passed.search(name) and rename(name) not in tied
    )


def _fields(config: Any, count: str) -> dict[str, Any]:
    """What config.json holds of a count."""
    if count == "num_labels":
        return {"id2label": config.id2label, "label2id": config.label2id}
    return {config.attribute_map.get(count, count): getattr(config, count)}


def _shapes(module: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _other_rows(module: nn.Module, weights: Weights, rename: Callable[[str], str]) -> dict[str, tuple[int, int]]:
    """Name → (rows in the checkpoint, rows expected) of the tensors that differ in their rows alone."""
    expected, renamed = _shapes(module), {rename(name): name for name in weights}
    off, on = best_prefix(weights, renamed, expected)
    found = {}
    for new, old in renamed.items():
        name = on + new.removeprefix(off)
        own, usual = weights.header[old].shape, expected.get(name, ())
        if (
            new.startswith(off)
            and own
            and all(own)
            and len(own) == len(usual)
            and own[1:] == usual[1:]
            and own[0] != usual[0]
        ):
            found[name] = (own[0], usual[0])
    return found
