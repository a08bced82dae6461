"""Views of weights under the names that an architecture expects.

Checkpoints of one model come with and without a prefix (`vision_model.`, `roberta.`, `model.`), and libraries rename layers
between versions. Callers supply the architecture's names and renamings.
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
    """A view of `weights`: `names` maps each shown name to the name there. Tensors without such a name come from `rest`.

    `rows`: shown name → number of rows to show; fewer than the tensor has, or more, with the last ones from `rest`. `beside`:
    for tensors that are not shown, the name that they would have in the view → their name in `weights`.
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
        header = {name: self.weights.header[old] for name, old in self.names.items()}
        for name, rows in self.rows.items():
            header[name] = TensorInfo((rows, *header[name].shape[1:]), header[name].dtype)
        return dict(sorted(((dict(self.rest.header) if self.rest is not None else {}) | header).items()))

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """Names of tensors in `weights` that the view does not show: heads, the other tower."""
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
            if rows is None:
                return tensor
            if rows <= len(tensor) or self.rest is None:
                return tensor[:rows]
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
    """Return the weights under the names that an architecture expects (name → shape).

    Applies `rename` to each name, then removes one prefix from all names or adds one, whichever makes most tensors fit by name
    and shape. Tensors that are not expected are not shown (`left_out`). Missing `optional` tensors are left out, or taken from
    `rest`. `grown` tensors may have more rows than expected, of which the first are shown, or fewer if `enough(name, rows)`;
    the others then come from `rest`. Misfit with the cause, or with the first tensors that are missing or have another shape.
    """
    renamed = {rename(name): name for name in weights}
    off, on = best_prefix(weights, renamed, expected)
    every = {on + new.removeprefix(off): old for new, old in renamed.items() if new.startswith(off)}
    shown = {new: old for new, old in every.items() if new in expected}
    beside = {new: old for new, old in every.items() if new not in expected}
    rows, problems = {}, []
    for name, shape in expected.items():
        if name not in shown:
            if name not in optional:
                problems.append(name)
            continue
        stored, usual = weights.header[shown[name]].shape, tuple(shape)
        if stored == usual:
            continue
        resized = name in grown and bool(stored) and bool(usual) and stored[1:] == usual[1:]
        if resized and (stored[0] > usual[0] or (rest is not None and enough(name, stored[0]))):
            rows[name] = usual[0]
        else:
            problems.append(name)
    if problems:
        raise Misfit(misfits(weights, expected, shown, renamed, problems, grown))
    if rest is None and not rows and all(new == old for new, old in shown.items()) and len(shown) == len(weights):
        return weights
    return RenamedWeights(weights, shown, rest, rows, beside)


def named(weights: Weights, name: str, rename: Callable[[str], str] = lambda name: name) -> str | None:
    """Return the name in `weights` of the tensor that an architecture calls `name`, with or without a prefix, or None."""
    matches = []
    for old in weights:
        new = rename(old)
        if new == name or new.endswith(f".{name}") or ("." in new and name.endswith(f".{new}")):
            matches.append(old)
    return min(matches, key=len, default=None)


def best_prefix(weights: Weights, renamed: Mapping[str, str], expected: Mapping[str, Shape]) -> tuple[str, str]:
    """Return the (prefix to remove, prefix to add) that gives most tensors an expected name and shape.

    Where no shape fits, as for a model of another width, names alone decide. `renamed`: new name → name in `weights`. Of
    several pairs the shortest; `("", "")` if none is better.
    """
    fits = _fits(weights, renamed, expected)
    return max(_prefixes(renamed, expected), key=lambda pair: fits.get(pair, (0, 0)))


def _fits(
    weights: Weights, renamed: Mapping[str, str], expected: Mapping[str, Shape]
) -> dict[tuple[str, str], tuple[int, int]]:
    """(prefix to remove, prefix to add) → (number of tensors with an expected name and shape, with an expected name).

    Scans the names once for all prefixes: an untrusted file may have as many prefixes as tensors.
    """
    fits: dict[tuple[str, str], tuple[int, int]] = {}

    def count(pair: tuple[str, str], old: str, new: str) -> None:
        shapes, names = fits.get(pair, (0, 0))
        fits[pair] = shapes + (weights.header[old].shape == tuple(expected[new])), names + 1

    deepest = max((name.count(".") for name in expected), default=0)
    for name, old in renamed.items():
        for suffix in (name, *_suffixes(name, deepest + 1)):
            if suffix in expected:
                count((name.removesuffix(suffix), ""), old, suffix)
    for name in expected:
        for suffix in _suffixes(name, deepest):
            if suffix in renamed:
                count(("", name.removesuffix(suffix)), renamed[suffix], name)
    return fits


def _suffixes(name: str, most: int) -> Iterator[str]:
    """The name without its first part, without its first two, …: the `most` shortest of these, longest first."""
    parts = name.rsplit(".", most)
    for first in range(1, len(parts)):
        yield ".".join(parts[first:])


def _prefixes(names: Collection[str], expected: Collection[str]) -> list[tuple[str, str]]:
    """Candidate pairs (prefix to remove, prefix to add), shortest first: those that make a probe one of the `names`.

    Probes are the deepest expected name of each part of the model, since a part may be missing, or share names with another.
    """
    probes: dict[str, str] = {}
    for name in expected:
        part = name.split(".")[0]
        probes[part] = max(probes.get(part, ""), name, key=lambda name: (name.count("."), name))
    pairs = {("", "")}
    for probe in probes.values():
        pairs |= {(name.removesuffix(probe), "") for name in names if name.endswith("." + probe)}
        suffixes = _suffixes(probe, probe.count("."))
        pairs |= {("", probe.removesuffix(name)) for name in suffixes if name in names and "." in name}
    return sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), pair))
