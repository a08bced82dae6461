"""The real inputs that a run compared its anchors with, prepared for the page: images in one sheet, or texts, with labels.

Reads `runs/RUN_ID/real/TASK.json` and `.safetensors` with numpy alone; imports no torch and no streamlit.
"""

import base64
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fda.errors import UserError
from fda.figures.neighbours import ANCHOR, ANCHORS, REAL, neighbour_map
from fda.figures.scrub import Scrubbed
from fda.figures.theme import Theme
from fda.measures import NEAREST, NEAREST_INPUTS, PLANE_MAP, REAL_NEAREST
from fda.store.records import UnitKey
from fda.store.store import Store
from fda.ui.scrubber import Cards, Dial, Points, Sheet

QUALITY = 90  # of the sheet's WebP file
ENLARGED = 88  # pixels of an image on the page


@dataclass(frozen=True, eq=False)
class RealSamples:
    """`indices` (m,) in the data set's `split`, `labels` (m,), and either `images` (m, h, w, 3) uint8 or `texts` (m,)."""

    split: str
    indices: tuple[int, ...]
    labels: tuple[str, ...]
    images: np.ndarray | None
    texts: tuple[str, ...] | None

    @property
    def names(self) -> list[str]:
        """Captions: label and number in the split."""
        return [f"{label or 'no label'} (no. {index})" for label, index in zip(self.labels, self.indices, strict=True)]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """One unit at its last step.

    `anchors` (n, 2) and `real` (m, 2) are map coordinates; `nearest` (n, 5) indexes `real`, with `cosines` (n, 5).
    `real_cosine`: of a real input to the nearest other one, the mean; None in older runs.
    """

    step: int
    anchors: np.ndarray
    real: np.ndarray
    nearest: np.ndarray
    cosines: np.ndarray
    samples: RealSamples
    real_cosine: float | None = None


def read_samples(folder: Path, task: str) -> RealSamples | None:
    """The task's real samples in a run's folder; None if the run kept none. UserError if the files are damaged."""
    about = folder / "real" / f"{task}.json"
    if not about.is_file():
        return None
    try:
        header = json.loads(about.read_text(encoding="utf-8"))
        images = load_file(about.with_suffix(".safetensors"))["images"] if header["kind"] == "image" else None
        indices = tuple(int(index) for index in header["places"])
        texts = None if header.get("texts") is None else tuple(map(str, header["texts"]))
        labels = _labels(header.get("labels"), header.get("classes"), len(indices))
        samples = texts if images is None else images
        if samples is None or len(indices) != len(samples):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise UserError(
            f"the real samples of {task} in {about} cannot be read: delete them, or construct again."
        ) from error
    return RealSamples(str(header.get("split", "")), indices, labels, images, texts)


def _labels(labels: list[int] | None, classes: list[str] | None, count: int) -> tuple[str, ...]:
    if labels is None:
        return ("",) * count
    return tuple(str(classes[label]) if classes else f"label {label}" for label in labels)


def read_neighbours(store: Store, run_id: str, task: str, block: int) -> Neighbours | None:
    """The unit's map and neighbours; None for unfinished and older runs, and for tasks without data. UserError if damaged."""
    key, chosen = UnitKey("construct", task, block), {"names": [task], "blocks": [block]}
    plane, near, among_real = (
        store.snapshots(run_id, measure.key, **chosen).get(key) for measure in (PLANE_MAP, NEAREST_INPUTS, REAL_NEAREST)
    )
    samples = read_samples(store.run_dir(run_id), task)
    if plane is None or near is None or samples is None:
        return None
    pairs = near[1][-1].reshape(-1, NEAREST, 2)
    points = plane[1][-1].reshape(-1, 2)
    nearest, count = pairs[:, :, 0].astype(int), len(samples.indices)
    if len(points) != len(pairs) + count or nearest.min() < 0 or nearest.max() >= count:
        raise UserError(
            f"the map of {task}, block {block}, in run {run_id} does not fit its real samples: construct again."
        )
    return Neighbours(
        int(near[0][-1]),
        points[: len(pairs)],
        points[len(pairs) :],
        nearest,
        pairs[:, :, 1],
        samples,
        None if among_real is None else float(among_real[1][-1].mean()),
    )


def yardstick(near: Neighbours) -> str:
    """A sentence: the mean cosine of anchors to their nearest real input, and the same of real inputs among themselves."""
    sentence = f"An anchor's cosine to its nearest real input is {near.cosines[:, 0].mean():.2f} on average"
    if near.real_cosine is None:
        return f"{sentence}."
    return f"{sentence}; that of a real input to the nearest other one is {near.real_cosine:.2f}."


def map_figure(near: Neighbours, theme: Theme, *, unit: str, uirevision: str | None = None) -> Scrubbed:
    title = f"Anchors among real inputs: {unit}, step {near.step}"
    names = list(near.samples.texts or near.samples.names)
    return neighbour_map(
        near.anchors,
        near.real,
        near.nearest,
        names,
        theme,
        classes=near.samples.labels,
        title=title,
        uirevision=uirevision,
    )


def parts(neighbours: Neighbours) -> tuple[dict[str, Dial], Cards, list[Points]]:
    """The dial, cards and pointer targets of the scrubber beside the map."""
    names = neighbours.samples.names
    dial = Dial(
        "Anchor",
        tuple(map(str, range(len(neighbours.anchors)))),
        "or click one on the map; its five nearest inputs are below",
    )
    sets = [
        [(int(index), f"cosine {cosine:.3f} · {names[index]}") for index, cosine in zip(*row, strict=True)]
        for row in zip(neighbours.nearest, neighbours.cosines, strict=True)
    ]
    images, texts = neighbours.samples.images, neighbours.samples.texts
    cards = Cards(
        ANCHOR, sets, names, None if images is None else sheet(images), None if texts is None else list(texts)
    )
    return {ANCHOR: dial}, cards, [Points(ANCHORS, dial=ANCHOR), Points(REAL, card=True)]


def sheet(images: np.ndarray) -> Sheet:
    """Images (m, h, w, 3) uint8 as one file, in a grid that is about square."""
    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    whole = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        whole[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    written = io.BytesIO()
    Image.fromarray(whole).save(written, "WEBP", quality=QUALITY)
    source = "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode()
    return Sheet(source, columns, rows, width, height, ENLARGED)
