"""The real inputs that a run compared its anchors with, as a page shows them: images in one sheet, or texts, with labels.

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
from fda.measures import NEAREST, NEAREST_INPUTS, PLANE_MAP
from fda.store.records import UnitKey
from fda.store.store import Store
from fda.ui.scrubber import Cards, Dial, Points, Sheet

QUALITY = 90  # of the sheet's WebP
ENLARGED = 88  # pixels of an image on the page


@dataclass(frozen=True, eq=False)
class RealSamples:
    """`names`: what each is called, such as `7: "seven"`. `images` (m, h, w, 3) uint8, or `texts`."""

    split: str
    places: tuple[int, ...]
    labels: tuple[str, ...]
    images: np.ndarray | None
    texts: tuple[str, ...] | None

    @property
    def names(self) -> list[str]:
        """For a caption: the label, and which sample of the split it is."""
        return [f"{label or 'no label'} (no. {place})" for label, place in zip(self.labels, self.places, strict=True)]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """One unit's last step. `anchors` (n, 2) and `real` (m, 2) on the map; `nearest` (n, 5) places, `cosines` (n, 5)."""

    step: int
    anchors: np.ndarray
    real: np.ndarray
    nearest: np.ndarray
    cosines: np.ndarray
    samples: RealSamples


def read_samples(folder: Path, task: str) -> RealSamples | None:
    """The task's real samples below a run's folder; None if it kept none. UserError if the files are damaged."""
    about = folder / "real" / f"{task}.json"
    if not about.is_file():
        return None
    try:
        told = json.loads(about.read_text(encoding="utf-8"))
        images = load_file(about.with_suffix(".safetensors"))["images"] if told["kind"] == "image" else None
        places = tuple(int(place) for place in told["places"])
        texts = None if told.get("texts") is None else tuple(map(str, told["texts"]))
        labels = _labels(told.get("labels"), told.get("classes"), len(places))
        if len(places) != len(images if images is not None else texts):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise UserError(
            f"the real samples of {task} in {about} cannot be read: delete them, or construct again."
        ) from error
    return RealSamples(str(told.get("split", "")), places, labels, images, texts)


def _labels(labels: list[int] | None, classes: list[str] | None, count: int) -> tuple[str, ...]:
    if labels is None:
        return ("",) * count
    return tuple(str(classes[label]) if classes else f"label {label}" for label in labels)


def read_neighbours(store: Store, run_id: str, task: str, block: int) -> Neighbours | None:
    """None if the run has not recorded them: unfinished, older, or a task without data."""
    key, chosen = UnitKey("construct", task, block), {"names": [task], "blocks": [block]}
    drawn, near = (store.snapshots(run_id, kind, **chosen).get(key) for kind in (PLANE_MAP.key, NEAREST_INPUTS.key))
    samples = read_samples(store.run_dir(run_id), task)
    if drawn is None or near is None or samples is None:
        return None
    pairs = near[1][-1].reshape(-1, NEAREST, 2)
    points = drawn[1][-1].reshape(-1, 2)
    nearest, count = pairs[:, :, 0].astype(int), len(samples.places)
    if len(points) != len(pairs) + count or nearest.min() < 0 or nearest.max() >= count:
        raise UserError(
            f"the map of {task}, block {block}, in run {run_id} does not fit its real samples: construct again."
        )
    return Neighbours(int(near[0][-1]), points[: len(pairs)], points[len(pairs) :], nearest, pairs[:, :, 1], samples)


def map_figure(found: Neighbours, theme: Theme, *, unit: str, uirevision: str | None = None) -> Scrubbed:
    title = f"Anchors among real inputs: {unit}, step {found.step}"
    names = list(found.samples.texts or found.samples.names)
    return neighbour_map(found.anchors, found.real, found.nearest, names, theme, title=title, uirevision=uirevision)


def parts(found: Neighbours) -> tuple[dict[str, Dial], Cards, list[Points]]:
    """What the scrubber needs beside the map."""
    names = found.samples.names
    dial = Dial(
        "Anchor", tuple(map(str, range(len(found.anchors)))), "or click one on the map; its five nearest are below"
    )
    sets = [
        [(int(place), f"cosine {cosine:.3f} · {names[place]}") for place, cosine in zip(*row, strict=True)]
        for row in zip(found.nearest, found.cosines, strict=True)
    ]
    images, texts = found.samples.images, found.samples.texts
    cards = Cards(
        ANCHOR, sets, names, None if images is None else sheet(images), None if texts is None else list(texts)
    )
    return {ANCHOR: dial}, cards, [Points(ANCHORS, dial=ANCHOR), Points(REAL, card=True)]


def sheet(images: np.ndarray) -> Sheet:
    """(m, h, w, 3) uint8 as one file, in rows of about as many as there are rows."""
    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    whole = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, image in enumerate(images):
        down, along = divmod(place, columns)
        whole[down * height : (down + 1) * height, along * width : (along + 1) * width] = image
    written = io.BytesIO()
    Image.fromarray(whole).save(written, "WEBP", quality=QUALITY)
    source = "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode()
    return Sheet(source, columns, rows, width, height, ENLARGED)
