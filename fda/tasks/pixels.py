"""Converts any image, or array of numbers, to 8-bit RGB without loss of meaning.

Ordinary images (1-bit, 8-bit grey, palettes, colours) go through PIL's `convert("RGB")`, as in open_clip, torchvision and
transformers, which drops transparency. Wider numbers are scaled by the range of their type. Where the type does not define
black and white (32-bit integers, floats), the range of all such images of a split decides, so that equal pixels stay equal.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from PIL import Image

from fda.errors import UserError

Depth = Literal["16 bits", "integers", "floats"]
BITS_PER_SAMPLE = 258  # TIFF tag
CHANNELS = (1, 3, 4)
# by numpy's kind of a dtype, and by PIL's mode
DEPTHS: Mapping[str, Depth] = {"u": "integers", "i": "integers", "f": "floats", "I": "integers", "F": "floats"}


@dataclass(frozen=True)
class Range:
    """The smallest and the largest pixel value of all images of one depth."""

    low: float
    high: float

    def joined(self, other: "Range") -> "Range":
        return Range(float(np.minimum(self.low, other.low)), float(np.maximum(self.high, other.high)))  # keeps NaN


class Pixels:
    """Converts the values of one column to RGB images, all by the same scale.

    `feature`: the column's feature in `datasets`. `every`: iterates all its values; called once per depth that needs their
    range.
    """

    def __init__(self, feature: Any, every: Callable[[], Iterator[Any]]) -> None:
        self.feature, self.every = feature, every
        self._factors: dict[Depth, float] = {}

    def rgb(self, value: Any) -> Image.Image:
        """TypeError if the value is no image, ValueError for a mode that PIL cannot convert, UserError as `factor`."""
        image = as_pixels(value, self.feature)
        if not isinstance(image, Image.Image | np.ndarray):
            raise TypeError
        kind = depth(image)
        return to_rgb(image, None if kind is None else self._factor(kind))

    def _factor(self, kind: Depth) -> float:
        if kind not in self._factors:
            self._factors[kind] = factor(kind, Range(0, 65535) if kind == "16 bits" else self._range(kind))
        return self._factors[kind]

    def _range(self, kind: Depth) -> Range:
        """The range of all images of this depth, of which the column has at least one."""
        images = (as_pixels(value, self.feature) for value in self.every())
        same_depth = (image for image in images if isinstance(image, Image.Image | np.ndarray) and depth(image) == kind)
        return reduce(Range.joined, map(pixel_range, same_depth))


def as_pixels(value: Any, feature: Any) -> Any:
    """Nested lists of numbers as an array of the column's type; other values unchanged."""
    if not isinstance(value, list):
        return value
    while not hasattr(feature, "dtype") and hasattr(feature, "feature"):
        feature = feature.feature
    kind = str(getattr(feature, "dtype", ""))
    if not kind.startswith(("int", "uint", "float", "bool")):
        return value
    try:
        return np.asarray(value, dtype=kind)
    except ValueError:  # rows of different lengths
        return value


def depth(image: Image.Image | np.ndarray) -> Depth | None:
    """The depth of an image that needs scaling; None for 8 bits and fewer."""
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint16:
            return "16 bits"
        return DEPTHS.get(image.dtype.kind) if image.dtype != np.uint8 else None
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return "16 bits"
    return DEPTHS.get(image.mode)


def pixel_range(image: Image.Image | np.ndarray) -> Range:
    pixels = np.asarray(image)
    return Range(float(pixels.min()), float(pixels.max())) if pixels.size else Range(0.0, 0.0)


def factor(kind: Depth, seen: Range) -> float:
    """The factor that scales pixels of this depth to 0 … 255. UserError if the range `seen` does not define white."""
    if kind == "16 bits":
        return 255 / 65535
    whole = kind == "integers"
    if seen.low >= 0:  # false for NaN
        if not whole and seen.high <= 1:
            return 255.0
        if seen.high <= 255:
            return 1.0
        if whole and seen.high <= 65535:
            return 255 / 65535
    kinds = "integers of 32 bits" if whole else "floats"
    fitting = "0 … 255 or 0 … 65535" if whole else "0 … 1 or 0 … 255"
    raise UserError(
        f"the images hold {kinds} from {seen.low:g} to {seen.high:g}, which do not say what is black and what is white: save "
        f"them as 8-bit images, or with numbers in {fitting}."
    )


def to_rgb(image: Image.Image | np.ndarray, scale: float | None = None) -> Image.Image:
    """An RGB image. `scale`: the `factor` of an image with a depth, else None. UserError for an array of another shape."""
    if scale is None and isinstance(image, Image.Image):
        return image.convert("RGB")
    pixels = _channels_last(np.asarray(image))
    if scale is not None:
        bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
        if depth(image) == "16 bits" and bits in ((12,), 12):  # TIFF: PIL does not scale 12 bits
            scale = 255 / 4095
        pixels = np.rint(pixels.astype(np.float64) * scale).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB")


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    """(height, width) or (height, width, 3 or 4)."""
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in CHANNELS, pixels.shape[2] in CHANNELS
        if first and not last:
            pixels, last = np.moveaxis(pixels, 0, 2), True
        elif first:
            last = False
        if last:
            return pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.ndim == 2:
        return pixels
    raise UserError(
        f"an array of shape {tuple(pixels.shape)} is no image: give (height, width) or (height, width, channels)."
    )
