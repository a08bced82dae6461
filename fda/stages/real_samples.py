"""Copies of the samples behind a run's "real data", as small images or texts that pages show.

`real/TASK.json`: task, split, kind (image or text), places (indices in the split), labels, classes, texts.
`real/TASK.safetensors`: tensor `images`, uint8 (m, height, width, 3), at most 64 pixels a side, for the view
of real inputs.
"""

import json

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

from fda.atomic import whole_file, write_text
from fda.errors import UserError
from fda.stages.work import Work
from fda.tasks.data import Split, load_split

SIDE = 64  # pixels


def write_real_samples(work: Work, task: str, split: str, count: int) -> None:
    """Write `count` samples spread over a task's split, unless they exist already. UserError as `load_split`."""
    about = work.folder / "real" / f"{task}.json"
    if about.is_file():
        return
    loaded = load_split(work.spec.zoo.task(task), split, work.opened.model.transform)
    indices = loaded.spread(count)
    inputs = loaded.samples(indices)
    images, labels = isinstance(inputs[0], Image.Image), _labels(loaded, indices)
    content = {
        "task": task,
        "split": split,
        "kind": "image" if images else "text",
        "places": indices,
        "labels": labels,
        "classes": _classes(loaded, labels),
        "texts": None if images else [text if isinstance(text, str) else " / ".join(text) for text in inputs],
    }
    if images:
        with whole_file(about.with_suffix(".safetensors")) as part:
            save_file({"images": thumbnails(inputs)}, part)
    write_text(about, json.dumps(content))


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    """RGB images as uint8 (m, h, w, 3): unchanged if small and of one size, else padded to squares of 64 pixels."""
    sizes = {image.size for image in images}
    same = len(sizes) == 1 and max(next(iter(sizes))) <= SIDE
    small = [image if same else ImageOps.pad(image, (SIDE, SIDE)) for image in images]
    return np.stack([np.asarray(image, dtype=np.uint8) for image in small])


def _labels(split: Split, indices: list[int]) -> list[int] | None:
    """The samples' classes as indices of the head; None if the task has no classes."""
    try:
        labels = split.labels()
    except UserError:  # scoring reports bad labels; here they are only captions
        return None
    return None if split.label is None or labels.is_floating_point() else labels[indices].tolist()


def _classes(split: Split, labels: list[int] | None) -> list[str] | None:
    """All class names, if the head or the data names every class of `labels`; else None."""
    names = split.class_names
    return list(names) if names and labels and max(labels) < len(names) else None
