"""Write the demo zoo: parquet splits, open_clip model folders, head files and the zoo's YAML.

The formats are those of the hub and of docs/zoos.md; `build.py` decides the content.
"""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import datasets
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from fda.demo.images import ImageTask, Split
from fda.demo.recipe import ADAPT, MODEL_CONFIG

SAVE_OPTIONS = {"PNG": {"optimize": True}, "JPEG": {"quality": 90}}


def encode(image: Image.Image, encoding: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **SAVE_OPTIONS[encoding])
    return buffer.getvalue()


def write_split(split: Split, task: ImageTask, path: Path) -> None:
    """Write one parquet file with the columns `image` (encoded) and `label` (class names in the schema)."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(task.classes))})
    rows = {
        "image": [{"bytes": encode(image, task.encoding), "path": None} for image in split.images],
        "label": split.labels,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def write_model(state: dict[str, Tensor], folder: Path) -> None:
    """Write a folder that `open_clip.create_model("local-dir:…")` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(MODEL_CONFIG, indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "open_clip_model.safetensors")


def write_head(weight: Tensor, logit_scale: Tensor, classes: Sequence[str], path: Path) -> None:
    """Write a head file. `classes` names the rows of `weight`, so that labels can be matched by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"weight": weight.contiguous(), "logit_scale": logit_scale}
    save_file(tensors, path, {"classes": json.dumps(list(classes))})


def write_zoo(tasks: list[ImageTask], folder: Path, path: Path) -> None:
    """Write the zoo file at `path`, pointing into `folder` by relative paths."""
    inside = Path(os.path.relpath(folder, path.parent))
    zoo = {
        "name": "demo",
        "description": "A small CLIP-style ViT finetuned on five image tasks; made by `python -m fda zoo build-demo`.",
        "family": "vision-small",
        "base": {"model": str(inside / "models" / "pretrained"), "kind": "open_clip"},
        "tasks": [
            {
                "name": task.name,
                "title": task.title,
                "description": task.description,
                "model": str(inside / "models" / task.name),
                "head": str(inside / "heads" / f"{task.name}.safetensors"),
                "data": {
                    "path": str(inside / "data" / task.name),
                    "split": "test",
                    "validation_split": "validation",
                    "train_split": "train",
                    "input": "image",
                    "label": "label",
                },
            }
            for task in tasks
        ],
        "adapt": ADAPT,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(zoo, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
