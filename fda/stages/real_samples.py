"""The real samples that stand behind "real data" in a run, kept so that pages can show them: small images, or texts.

`real/TASK.json`: task, split, kind (image or text), places in the split, labels, classes, texts.
`real/TASK.safetensors`: tensor `images`, uint8 (m, height, width, 3), of at most 64 pixels; `fda/ui/anchors_real.py` reads it.
"""

import json

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

from fda.atomic import whole_file, write_text
from fda.errors import UserError
from fda.stages.work import Work
from fda.tasks.data import Split, load_split
from fda.tasks.labels import named

SIDE = 64  # pixels


def write_real_samples(work: Work, task: str, split: str, count: int) -> None:
    """Write the samples at `Split.spread(count)` of a task's split, unless they are there. UserError as `load_split`."""
    about = work.folder / "real" / f"{task}.json"
    if about.is_file():
        return
    found = load_split(work.spec.zoo.task(task), split, work.opened.model.transform)
    places = found.spread(count)
    inputs = found.samples(places)
    images, labels = isinstance(inputs[0], Image.Image), _labels(found, places)
    told = {
        "task": task,
        "split": split,
        "kind": "image" if images else "text",
        "places": places,
        "labels": labels,
        "classes": _classes(found, labels),
        "texts": None if images else [text if isinstance(text, str) else " / ".join(text) for text in inputs],
    }
    if images:
        with whole_file(about.with_suffix(".safetensors")) as part:
            save_file({"images": thumbnails(inputs)}, part)
    write_text(about, json.dumps(told))


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    """RGB images as uint8 (m, h, w, 3): as they are if small and of one size, else fitted into a square of 64 pixels."""
    sizes = {image.size for image in images}
    same = len(sizes) == 1 and max(next(iter(sizes))) <= SIDE
    small = [image if same else ImageOps.pad(image, (SIDE, SIDE)) for image in images]
    return np.stack([np.asarray(image, dtype=np.uint8) for image in small])


def _labels(found: Split, places: list[int]) -> list[int] | None:
    """The samples' classes in the head; None where they are no classes."""
    try:
        labels = found.labels()
    except UserError:  # scoring says what is wrong with them; here they are only names beside samples
        return None
    return None if found.label is None or labels.is_floating_point() else labels[places].tolist()


def _classes(found: Split, labels: list[int] | None) -> list[str] | None:
    """The names of these classes, where the head or the data has a name for each."""
    names = found.classes if named(found.classes) else found.names
    return list(names) if names and labels and max(labels) < len(names) else None
