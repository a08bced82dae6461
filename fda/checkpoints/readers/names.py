"""Weights under other names: the same tensors, called what an architecture calls them.

Checkpoints of one model come with and without the prefix of a wrapper (`vision_model.`, `roberta.`, `model.`), and libraries
rename layers from one version to the next. What an architecture is, and its own renamings, are left to the callers.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from fda.checkpoints.readers.misfits import misfits
from fda.checkpoints.weights import TensorInfo, Weights, joint_fingerprint
from fda.errors import Misfit

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

Shape = tuple[int, ...]


class RenamedWeights(Weights):
    """A view: `names` says what each shown tensor is called in `weights`. With `rest`, further tensors come from there.

    `rows`: shown tensor → how many rows are shown: fewer than it has, or more, the last of which are `rest`'s. `beside`:
    what tensors that are not shown would be called among them → what they are called in `weights`.
    """

    def __init__(
        self,
        weights: Weights,
        names: Mapping[str, str],
        rest: Weights | None = None,
        rows: Mapping[str, int] | None = None,
        beside: Mapping[str, str] | None = None,
    ) -> None:
        self.weights, self.names, self.rest, self.rows = weights, dict(sorted(names.items())), rest, dict(rows or {})
        self.beside = dict(beside or {})
        self.path = weights.path

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        own = {name: self.weights.header[old] for name, old in self.names.items()}
        own |= {name: TensorInfo((rows, *own[name].shape[1:]), own[name].dtype) for name, rows in self.rows.items()}
        return dict(sorted(((dict(self.rest.header) if self.rest is not None else {}) | own).items()))

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Tensors of the original that the view does not show: heads, the other tower."""
        shown = set(self.names.values())
        return tuple(name for name in self.weights if name not in shown)

    @cached_property
    def fingerprint(self) -> str:
        if self.rest is None:
            return self.weights.fingerprint
        return joint_fingerprint(self.weights.fingerprint, self.rest.fingerprint)

    @property
    def bytes(self) -> int:
        return self.weights.bytes

    @property
    def files(self) -> "tuple[Path, ...]":
        return self.weights.files + (self.rest.files if self.rest is not None else ())

    def __getitem__(self, name: str) -> "Tensor":
        if name in self.names:
            tensor = self.weights[self.names[name]]
            rows = self.rows.get(name)
            if rows is None or rows <= len(tensor):
                return tensor if rows is None else tensor[:rows]
            import torch

            return torch.cat([tensor, self.rest[name][len(tensor) : rows].to(tensor.dtype)])
        if self.rest is None:
            raise KeyError(name)
        return self.rest[name]


def fitted(
    weights: Weights,
    expected: Mapping[str, Shape],
    *,
    rename: Callable[[str], str] = lambda name: name,
    optional: Collection[str] = (),
    rest: Weights | None = None,
    grown: Collection[str] = (),
    enough: Callable[[str, int], bool] = lambda name, rows: False,
) -> Weights:
    """The weights under the names an architecture expects (name → shape).

    `rename` is applied to each name first; then one prefix is taken off all names or put before them, whichever fits most
    tensors by name and shape. Tensors that are not expected are not shown (`left_out`). Of those that are missing,
    the `optional` ones are left out or taken from `rest`. Of the `grown` ones, which may have more rows, the first are
    shown; where they have fewer, and these are `enough` (name, rows), the others are taken from `rest`. Misfit that names
    the cause, or the first other missing tensors and those of another shape.
    """
    renamed = {rename(name): name for name in weights}
    off, on = best_prefix(weights, renamed, expected)
    every = {on + new.removeprefix(off): old for new, old in renamed.items() if new.startswith(off)}
    best = {new: old for new, old in every.items() if new in expected}
    beside = {new: old for new, old in every.items() if new not in expected}
    rows, problems = {}, []
    for name, shape in expected.items():
        own = weights.header[best[name]].shape if name in best else ()
        resized = len(own) > 0 and name in grown and own[1:] == tuple(shape[1:]) and own[0] != shape[0]
        if resized and (own[0] > shape[0] or (rest is not None and enough(name, own[0]))):
            rows[name] = shape[0]
        elif (name not in best and name not in optional) or (name in best and own != tuple(shape)):
            problems.append(name)
    if problems:
        raise Misfit(misfits(weights, expected, best, renamed, problems, grown))
    if rest is None and not rows and all(new == old for new, old in best.items()) and len(best) == len(weights):
        return weights
    return RenamedWeights(weights, best, rest, rows, beside)


def named(weights: Weights, name: str, rename: Callable[[str], str] = lambda name: name) -> str | None:
    """What `weights` call the tensor that an architecture calls `name`, with or without a prefix; None if it is not there."""
    found = []
    for own in weights:
        new = rename(own)
        if new == name or new.endswith(f".{name}") or ("." in new and name.endswith(f".{new}")):
            found.append(own)
    return min(found, key=len, default=None)


def best_prefix(weights: Weights, renamed: Mapping[str, str], expected: Mapping[str, Shape]) -> tuple[str, str]:
    """(prefix to take off all names, prefix to put before them) by which most tensors have an expected name and shape.

    Where no shape fits, as of a model of another width, by name alone. `renamed`: new name → the name in `weights`. Of
    several the shortest; `("", "")` if none is better.
    """

    fits = _fits(weights, renamed, expected)
    return max(_prefixes(renamed, expected), key=lambda pair: fits.get(pair, (0, 0)))


def _fits(
    weights: Weights, renamed: Mapping[str, str], expected: Mapping[str, Shape]
) -> dict[tuple[str, str], tuple[int, int]]:
    """(prefix to take off, prefix to put on) → (tensors that then have an expected name and shape, an expected name).

    Goes through all names once, whatever the number of prefixes: a stranger's file may have as many as tensors.
    """
    fits: dict[tuple[str, str], tuple[int, int]] = {}

    def count(pair: tuple[str, str], old: str, new: str) -> None:
        shapes, names = fits.get(pair, (0, 0))
        fits[pair] = shapes + (weights.header[old].shape == tuple(expected[new])), names + 1

    deepest = max((name.count(".") for name in expected), default=0)
    for name, old in renamed.items():
        for short in (name, *_ends(name, deepest + 1)):
            if short in expected:
                count((name.removesuffix(short), ""), old, short)
    for name in expected:
        for short in _ends(name, deepest):
            if short in renamed:
                count(("", name.removesuffix(short)), renamed[short], name)
    return fits


def _ends(name: str, most: int) -> Iterator[str]:
    """What is left of a name without its first part, without its first two …: the `most` shortest."""
    parts = name.rsplit(".", most)
    for first in range(1, len(parts)):
        yield ".".join(parts[first:])


def _prefixes(names: Collection[str], expected: Collection[str]) -> list[tuple[str, str]]:
    """(prefix to take off, prefix to put on) for every way in which some expected names may stand among `names`.

    The names asked for are the deepest of each part of the model: one part may be missing, or be called as a part of another.
    """
    probes: dict[str, str] = {}
    for name in expected:
        part = name.split(".")[0]
        probes[part] = max(probes.get(part, ""), name, key=lambda name: (name.count("."), name))
    found = {("", "")}
    for probe in probes.values():
        found |= {(name.removesuffix(probe), "") for name in names if name.endswith("." + probe)}
        found |= {
            ("", probe.removesuffix(name)) for name in _ends(probe, probe.count(".")) if name in names and "." in name
        }
    return sorted(found, key=lambda pair: (len(pair[0]) + len(pair[1]), pair))
