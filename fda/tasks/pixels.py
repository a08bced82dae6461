"""Any image, or array of numbers, as an 8-bit RGB image without loss of meaning.

Ordinary images (bits, 8-bit grey, palettes, colours) are what PIL's `convert("RGB")` makes of them, as open_clip, torchvision
and transformers prepare them: transparency is dropped. Wider numbers are scaled by the range of their type. Where the type does
not tell black and white (32-bit integers, floats), the range of all such images of a split decides, so that equal pixels stay
equal. Which split that is, is left to `fda.tasks.data`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from fda.errors import UserError

Depth = Literal["16 bits", "integers", "floats"]
BITS_PER_SAMPLE = 258  # a tag of TIFF
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Range:
    """The smallest and the largest number of all images of one depth."""

    low: float
    high: float

    def joined(self, other: "Range") -> "Range":
        return Range(float(np.minimum(self.low, other.low)), float(np.maximum(self.high, other.high)))  # keeps NaN


def is_image(value: Any) -> bool:
    return isinstance(value, Image.Image | np.ndarray)


def depth(image: Image.Image | np.ndarray) -> Depth | None:
    """What has to be scaled; None for 8 bits and less."""
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint16:
            return "16 bits"
        return (
            {"u": "integers", "i": "integers", "f": "floats"}.get(image.dtype.kind) if image.dtype != np.uint8 else None
        )
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return "16 bits"
    return {"I": "integers", "F": "floats"}.get(image.mode)


def pixel_range(image: Image.Image | np.ndarray) -> Range:
    pixels = np.asarray(image)
    return Range(float(pixels.min()), float(pixels.max())) if pixels.size else Range(0.0, 0.0)


def factor(kind: Depth, seen: Range) -> float:
    """What pixels of this depth are multiplied by to lie in 0 … 255. UserError where `seen` leaves open what is white."""
    if kind == "16 bits":
        return 255 / 65535
    whole = kind == "integers"
    if seen.low >= 0:  # not so for NaN
        if not whole and seen.high <= 1:
            return 255.0
        if seen.high <= 255:
            return 1.0
        if whole and seen.high <= 65535:
            return 255 / 65535
    held = "integers of 32 bits" if whole else "floats"
    fitting = "0 … 255 or 0 … 65535" if whole else "0 … 1 or 0 … 255"
    raise UserError(
        f"the images hold {held} from {seen.low:g} to {seen.high:g}, which do not say what is black and what is white: save "
        f"them as 8-bit images, or with numbers in {fitting}."
    )


def to_rgb(image: Image.Image | np.ndarray, scale: float | None = None) -> Image.Image:
    """An RGB image. `scale`: for images that have a depth, their `factor`. UserError for an array of another shape."""
    if scale is None and isinstance(image, Image.Image):
        return image.convert("RGB")
    pixels = _in_order(np.asarray(image))
    if scale is not None:
        bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
        if depth(image) == "16 bits" and bits in ((12,), 12):  # TIFF: PIL keeps the 12 bits as they are
            scale = 255 / 4095
        pixels = np.rint(pixels.astype(np.float64) * scale).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB")


def _in_order(pixels: np.ndarray) -> np.ndarray:
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
