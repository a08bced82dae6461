"""Pictures for pretraining that belong to no task: drawn shapes, small letters, and crops of other pictures.

They are used for training only and never written to a file.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from skimage import data as pictures

from fda.demo.glyphs import render_letters
from fda.demo.images import CropPlan, Split, crops, stream

SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "stripes", "checks")


@dataclass(frozen=True)
class Scenery:
    """One classification problem of the pretraining mixture."""

    name: str
    classes: int
    split: Split


def draw_shape(shape: str, rng: np.random.Generator) -> Image.Image:
    """A 32 × 32 picture of one of SHAPES with random position, size, rotation and colours."""
    paper, ink = (tuple(int(value) for value in rng.integers(0, 256, size=3)) for _ in range(2))
    page = Image.new("RGB", (96, 96), paper)
    pen = ImageDraw.Draw(page)
    radius = int(rng.integers(12, 24))
    x, y = (int(value) for value in rng.integers(40, 57, size=2))
    box = (x - radius, y - radius, x + radius, y + radius)
    match shape:
        case "disc":
            pen.ellipse(box, fill=ink)
        case "ring":
            pen.ellipse(box, outline=ink, width=5)
        case "square":
            pen.rectangle(box, fill=ink)
        case "frame":
            pen.rectangle(box, outline=ink, width=5)
        case "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=ink)
        case "cross":
            pen.line((x - radius, y, x + radius, y), fill=ink, width=7)
            pen.line((x, y - radius, x, y + radius), fill=ink, width=7)
        case "stripes":
            for offset in range(0, 96, radius // 2):
                pen.line((0, offset, 96, offset), fill=ink, width=radius // 4)
        case "checks":
            step = radius // 2
            for row in range(0, 96, step):
                for column in range(row // step % 2 * step, 96, 2 * step):
                    pen.rectangle((column, row, column + step - 1, row + step - 1), fill=ink)
    turned = page.rotate(float(rng.uniform(0, 90)), resample=Image.Resampling.BICUBIC, fillcolor=paper)
    return turned.crop((16, 16, 80, 80)).resize((32, 32), Image.Resampling.BOX)


def make_scenery(seed: int) -> tuple[Scenery, ...]:
    """The pretraining problems. They may use pictures that we may not redistribute, since none is written."""
    rng = stream(seed, "scenery")
    count = 200
    shapes = Split([draw_shape(s, rng) for s in SHAPES for _ in range(count)], sorted([*range(len(SHAPES))] * count))
    glyphs = "abcdefghijklmnopqrstuvwxyz0123456789"
    others = (
        pictures.stereo_motorcycle()[0],
        pictures.page(),
        pictures.moon(),
        pictures.colorwheel(),
        pictures.text(),
        pictures.clock(),
        pictures.microaneurysms(),
    )
    plan = CropPlan(cell=40, smallest=24, per_class={"train": count, "validation": 0, "test": 0}, turn=False)
    cut = [image for picture in others for image in crops(picture, plan, rng)["train"]]
    return (
        Scenery("shapes", len(SHAPES), shapes),
        Scenery("small letters and numerals", len(glyphs), Split(*render_letters(glyphs, "train", rng))),
        Scenery("other pictures", len(others), Split(cut, sorted([*range(len(others))] * count))),
    )
