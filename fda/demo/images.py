"""The demo's image tasks: small labelled pictures from scikit-learn, scikit-image and real fonts, in three splits.

Splits share no content: crops of one picture come from disjoint cells of it, letters of the splits from different font
files, digits from different stretches of the original file (so mostly from different writers).
Knows nothing of files or models; `fda.demo.write` saves the tasks.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from skimage import data as pictures
from sklearn.datasets import load_digits, load_sample_image

from fda.demo.glyphs import render_letters

SIDE = 32
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """RGB pictures of 32 × 32 and the class index of each."""

    images: list[Image.Image]
    labels: list[int]


@dataclass(frozen=True)
class ImageTask:
    """A task before it is written; `encoding` is the picture format that keeps its files small."""

    name: str
    title: str
    description: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    encoding: str


@dataclass(frozen=True)
class CropPlan:
    """How pictures are cut up: cells of `cell` pixels, crops of at least `smallest` pixels inside one cell.

    Cells whose grey levels have a standard deviation below `detail` (of 255) are left out: plain sky identifies no picture.
    """

    cell: int
    smallest: int
    per_class: dict[str, int]
    turn: bool
    detail: float = 0.0


def stream(seed: int, name: str) -> np.random.Generator:
    """A separate random stream for every task, so that adding a task changes no other."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def small(image: Image.Image) -> Image.Image:
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def crops(picture: np.ndarray, plan: CropPlan, rng: np.random.Generator) -> dict[str, list[Image.Image]]:
    """Random square crops per split. Every cell of the picture belongs to one split and contains its crops."""
    image = Image.fromarray(picture)
    grey = np.asarray(image.convert("L"))
    corners = [
        (x, y)
        for y in range(0, image.height - plan.cell + 1, plan.cell)
        for x in range(0, image.width - plan.cell + 1, plan.cell)
        if grey[y : y + plan.cell, x : x + plan.cell].std() >= plan.detail
    ]
    order = rng.permutation(len(corners))
    first, second = round(0.5 * len(order)), round(0.65 * len(order))
    cells = dict(zip(SPLITS, (order[:first], order[first:second], order[second:]), strict=True))

    def crop(cell: int) -> Image.Image:
        x, y = corners[cell]
        size = int(rng.integers(plan.smallest, plan.cell + 1))
        dx, dy = rng.integers(0, plan.cell - size + 1, size=2)
        cut = small(image.crop((x + dx, y + dy, x + dx + size, y + dy + size)))
        return cut.rotate(90 * int(rng.integers(4))) if plan.turn else cut

    return {
        split: [crop(cells[split][i % len(cells[split])]) for i in range(plan.per_class[split])] for split in SPLITS
    }


def crop_splits(sources: dict[str, np.ndarray], plan: CropPlan, rng: np.random.Generator) -> dict[str, Split]:
    """One class per picture of `sources`."""
    splits: dict[str, Split] = {split: Split([], []) for split in SPLITS}
    for label, picture in enumerate(sources.values()):
        for split, images in crops(picture, plan, rng).items():
            splits[split].images.extend(images)
            splits[split].labels.extend([label] * len(images))
    return splits


def digits(seed: int) -> ImageTask:
    source: Any = load_digits()  # a Bunch; the library declares a tuple
    grey = (source.images * 15.9375).astype(np.uint8)
    order = stream(seed, "digits").permutation(len(grey))
    images = [small(Image.fromarray(grey[i])) for i in order]
    labels = source.target[order].tolist()
    bounds = {"train": slice(0, 1000), "validation": slice(1000, 1250), "test": slice(1250, None)}
    return ImageTask(
        name="digits",
        title="Handwritten digits",
        description="scikit-learn's digits: UCI ML hand-written digits (E. Alpaydin, C. Kaynak); no licence stated.",
        classes=tuple(str(digit) for digit in range(10)),
        splits={split: Split(images[part], labels[part]) for split, part in bounds.items()},
        encoding="JPEG",
    )


def faces(seed: int) -> ImageTask:
    rng = stream(seed, "faces")
    pixels = (pictures.lfw_subset() * 255).round().astype(np.uint8)
    bounds = {"train": slice(0, 40), "validation": slice(40, 60), "test": slice(60, 100)}
    splits: dict[str, Split] = {split: Split([], []) for split in SPLITS}
    for label, group in enumerate((pixels[100:], pixels[:100])):
        order = rng.permutation(len(group))
        for split, part in bounds.items():
            chosen = [small(Image.fromarray(group[i])) for i in order[part]]
            splits[split].images.extend(chosen)
            splits[split].labels.extend([label] * len(chosen))
    return ImageTask(
        name="faces",
        title="Face or background",
        description="scikit-image's lfw_subset, from Labeled Faces in the Wild (Huang et al.); no licence stated.",
        classes=("background", "face"),
        splits=splits,
        encoding="PNG",
    )


def textures(seed: int) -> ImageTask:
    sources = {"brick": pictures.brick(), "grass": pictures.grass(), "gravel": pictures.gravel()}
    plan = CropPlan(cell=64, smallest=36, per_class={"train": 250, "validation": 80, "test": 140}, turn=True)
    return ImageTask(
        name="textures",
        title="Brick, grass or gravel",
        description="Crops of scikit-image's brick, grass and gravel (CC0Textures, linolafett), CC0.",
        classes=tuple(sources),
        splits=crop_splits(sources, plan, stream(seed, "textures")),
        encoding="JPEG",
    )


def photos(seed: int) -> ImageTask:
    sources = {
        "astronaut": pictures.astronaut(),
        "cat": pictures.chelsea(),
        "coffee": pictures.coffee(),
        "rocket": pictures.rocket(),
        "temple": load_sample_image("china.jpg"),
    }
    plan = CropPlan(cell=48, smallest=32, per_class={"train": 300, "validation": 60, "test": 90}, turn=False, detail=2)
    return ImageTask(
        name="photos",
        title="Which photograph is it from",
        description="Crops of photographs from scikit-image (CC0, public domain) and scikit-learn (CC BY 2.0).",
        classes=tuple(sources),
        splits=crop_splits(sources, plan, stream(seed, "photos")),
        encoding="JPEG",
    )


def letters(seed: int) -> ImageTask:
    rng = stream(seed, "letters")
    alphabet = "AEGKRX"
    splits = {split: Split(*render_letters(alphabet, split, rng)) for split in SPLITS}
    return ImageTask(
        name="letters",
        title="Printed letters",
        description="Letters drawn from open typefaces (SIL OFL 1.1, Apache 2.0), other fonts in each split.",
        classes=tuple(alphabet),
        splits=splits,
        encoding="PNG",
    )


TASKS: tuple[Callable[[int], ImageTask], ...] = (digits, faces, letters, photos, textures)
