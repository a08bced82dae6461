"""Places the labels of a scatter so that none covers another: Plotly itself would print them over one another."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PLOT = (420, 380)  # pixels: the plot size that labels are placed for, between a phone and a laptop
LETTER, LINE, DOT = 6.2, 14.0, 6.0  # pixels: width of a letter and height of a line at size 11, radius of a point

Box = tuple[float, float, float, float]  # left, low, right, high in pixels


@dataclass(frozen=True)
class Window:
    """The ranges of both axes in data units; `across` in powers of ten on a log axis, as in Plotly."""

    across: tuple[float, float]
    up: tuple[float, float]
    log: bool

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        """Pixels from the lower left corner of a plot of size `PLOT`."""
        x = math.log10(x) if self.log else x
        left, right = self.across
        return PLOT[0] * (x - left) / (right - left), self.height(y)

    def height(self, y: float) -> float:
        """Pixels above the lower edge."""
        low, high = self.up
        return PLOT[1] * (y - low) / (high - low)

    def name_of_level(self, y: float, title: str) -> Box:
        """The box of a horizontal line's name, at its left end."""
        return (0.0, self.height(y), LETTER * len(title) + DOT, self.height(y) + LINE + 4)


def place_labels(
    points: Mapping[str, tuple[float, float]],
    whiskers: Mapping[str, tuple[float, float]],
    titles: Mapping[str, str],
    window: Window,
    *,
    first: Sequence[str] = (),
    taken: Sequence[Box] = (),
) -> dict[str, str]:
    """Key → Plotly's text position of its title; titles that would cover another title, point or whisker are left out.

    `whiskers`: (low, high) ends of vertical error bars, NaN for none. `taken`: boxes to keep free. Greedy: the keys in
    `first` come first, preferably above to the left, which a rising line through them leaves free; the rest follow from
    the top down, preferably to the right.
    """
    taken = list(taken)
    for key, (x, y) in points.items():
        across, up = window.pixels(x, y)
        taken.append((across - DOT, up - DOT, across + DOT, up + DOT))
        low, high = (window.height(end) for end in whiskers[key])
        if math.isfinite(low):
            taken.append((across - 1, low, across + 1, high))
    chosen: dict[str, str] = {}
    for key in [*first, *sorted(set(points) - set(first), key=lambda name: -points[name][1])]:
        boxes = _boxes(*window.pixels(*points[key]), LETTER * len(titles[key]))
        if key in first:
            boxes = {"top left": boxes["top left"]} | boxes
        for position, box in boxes.items():
            if _inside(box) and not any(_overlap(box, obstacle) for obstacle in taken):
                chosen[key] = position
                taken.append(box)
                break
    return chosen


def _boxes(x: float, y: float, wide: float) -> dict[str, Box]:
    """Text position → the box of a text of width `wide` (pixels) that Plotly puts there beside a point."""
    sides = {"right": (x + DOT + 2, x + DOT + 2 + wide), "left": (x - DOT - 2 - wide, x - DOT - 2)}
    heights = {
        "middle": (y - LINE / 2, y + LINE / 2),
        "top": (y + DOT / 2, y + DOT / 2 + LINE),
        "bottom": (y - DOT / 2 - LINE, y - DOT / 2),
    }
    return {
        f"{height} {side}": (left, low, right, high)
        for height, (low, high) in heights.items()
        for side, (left, right) in sides.items()
    }


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= PLOT[0] and box[3] <= PLOT[1]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
