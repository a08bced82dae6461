"""Warns about samples without content that raise no error: images of one colour, empty texts."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from fda.tasks.data import Split

COUNT = 64  # samples to check, spread evenly over a split
NAMES = {(0, 0, 0): "black", (255, 255, 255): "white"}


def samples_note(split: Split, indices: Sequence[int]) -> str | None:
    """A sentence on the samples without content among these; None if there are none. UserError as `Split.samples`."""
    samples = split.samples(indices)
    if split.transform.kind == "text":
        empty = sum(not "".join(sample).strip() for sample in samples)
        return f"{_share(empty, len(samples))} looked at are empty texts: see whether that is meant." if empty else None
    colours = [colour for sample in samples if (colour := only_colour(sample)) is not None]
    if not colours:
        return None
    shown = f"all of it {_name(colours[0])}" if len(set(colours)) == 1 else f"the first {_name(colours[0])}"
    return (
        f"{_share(len(colours), len(samples))} looked at became images of one colour, {shown}: see whether their pixels use "
        "the range of their type."
    )


def only_colour(image: Image.Image) -> tuple[int, int, int] | None:
    """The colour of an RGB image if each channel varies by at most 1; else None."""
    pixels = np.asarray(image).reshape(-1, 3)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    red, green, blue = low.tolist()
    return (red, green, blue) if (high - low <= 1).all() else None


def _share(some: int, count: int) -> str:
    return f"{some} of {count} samples"


def _name(colour: tuple[int, int, int]) -> str:
    return NAMES.get(colour, f"rgb{colour}")
