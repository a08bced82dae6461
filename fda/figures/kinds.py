"""What a method reads, as figures show it: a heading, a hatch and a symbol beside the colour, so that no one compares a
method that reads real inputs with one that reads none unawares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fda.figures.theme import PALETTES, Theme

Kind = Literal["reference", "weights", "anchors", "inputs"]


@dataclass(frozen=True)
class KindLook:
    """`hatch` is plotly's pattern shape of bars, `symbol` its marker symbol."""

    heading: str
    hatch: str
    symbol: str


LOOKS: dict[Kind, KindLook] = {
    "reference": KindLook("For reference", "", "circle-open"),
    "weights": KindLook("From weights alone", "", "circle"),
    "anchors": KindLook("On anchors", "/", "diamond"),
    "inputs": KindLook("Reads real inputs", "x", "square"),
}


def kind_colour(kind: Kind, theme: Theme) -> str:
    palette = PALETTES[theme]
    return {"anchors": palette.accent, "inputs": palette.series[4]}.get(kind, palette.plain)


def grouped(methods: Sequence[str], kinds: Mapping[str, Kind]) -> list[tuple[str, list[str]]]:
    """(heading, methods) of each kind that occurs, kinds in the order of `LOOKS`, methods in the order given."""
    groups = [(look.heading, [one for one in methods if kinds[one] == kind]) for kind, look in LOOKS.items()]
    return [(heading, own) for heading, own in groups if own]
