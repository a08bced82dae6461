"""How figures mark what a method reads: heading, hatch and symbol beside the colour.

They keep readers from comparing, unawares, a method that reads real inputs with one that reads none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fda.figures.theme import PALETTES, Theme

Kind = Literal["reference", "weights", "anchors", "inputs"]


@dataclass(frozen=True)
class KindStyle:
    """`hatch` is a pattern shape of Plotly's bars, `symbol` one of its marker symbols."""

    heading: str
    hatch: str
    symbol: str


STYLES: dict[Kind, KindStyle] = {
    "reference": KindStyle("For reference", "", "circle-open"),
    "weights": KindStyle("From weights alone", "", "circle"),
    "anchors": KindStyle("On anchors", "/", "diamond"),
    "inputs": KindStyle("Reads real inputs", "x", "square"),
}


def kind_colour(kind: Kind, theme: Theme) -> str:
    palette = PALETTES[theme]
    return {"anchors": palette.accent, "inputs": palette.series[4]}.get(kind, palette.plain)


def grouped(methods: Sequence[str], kinds: Mapping[str, Kind]) -> list[tuple[str, list[str]]]:
    """(heading, methods) of each kind that occurs, kinds in the order of `STYLES`, methods in the order given."""
    groups = [
        (style.heading, [method for method in methods if kinds[method] == kind]) for kind, style in STYLES.items()
    ]
    return [(heading, of_kind) for heading, of_kind in groups if of_kind]
