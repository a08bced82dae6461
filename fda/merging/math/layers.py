"""Which layer of a model a tensor belongs to, by its name, and the standing of one number among others."""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import NamedTuple

NUMBER = re.compile(r"(?:^|(?<=\.))(\d+)\.")


class Place(NamedTuple):
    """`stack` precedes the layer's number in the tensor's name, `kind` follows it."""

    stack: str
    layer: int
    kind: str


def place_of(name: str) -> Place | None:
    """`blocks.3.mlp.weight` → (`blocks.`, 3, `mlp.weight`): the first number decides. None for a tensor outside layers."""
    match = NUMBER.search(name)
    return Place(name[: match.start()], int(match[1]), name[match.end() :]) if match else None


def depths(layers: Sequence[int]) -> dict[int, float]:
    """Layer → (its place from 1 on) / (number of layers)."""
    order = sorted(set(layers))
    return {layer: (index + 1) / len(order) for index, layer in enumerate(order)}


def standardised(values: Mapping[int, float]) -> dict[int, float]:
    """(value − mean) / population standard deviation; 0 where all are equal."""
    spread = pstdev(values.values())
    mean = fmean(values.values())
    return {key: (value - mean) / spread if spread else 0.0 for key, value in values.items()}
