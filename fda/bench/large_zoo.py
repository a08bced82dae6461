"""A zoo of the size of CLIP ViT-B/32 with random weights and pictures: what time and memory depend on, without a download."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

NAME = "large"
SIDE, PATCH = 224, 32  # pixels
TASKS, CLASSES, PICTURES = 3, 10, 20  # PICTURES: of each split
STEP = 2e-3  # size of a task vector's entries, about that of CLIP's finetuned checkpoints


def write_large_zoo(folder: Path, *, side: int = SIDE, patch: int = PATCH, **sizes: Any) -> Path:
    """Write base, tasks, heads and data; returns the zoo's file.

    `side`, `patch`: pixels of a picture and of what becomes a token; `sizes`: of transformers' ViTConfig, where not a ViT-B's.
    """
    import transformers

    config = transformers.ViTConfig(image_size=side, patch_size=patch, **{"num_labels": CLASSES, **sizes})
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config)
    model.vit.save_pretrained(folder / "base")
    transformers.ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder / "base")
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tasks = []
    for number in range(TASKS):
        name = f"task-{number}"
        model.load_state_dict(start)
        with torch.no_grad():
            for parameter in model.vit.layers.parameters():
                parameter.add_(STEP * torch.randn_like(parameter))
        model.save_pretrained(folder / name)
        _write_pictures(folder / "data" / name, number, side)
        data = {"path": f"data/{name}", "split": "test", "validation_split": "validation", "input": "image"}
        tasks.append({"name": name, "model": name, "data": data})
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump({"name": NAME, "base": {"model": "base"}, "tasks": tasks}, sort_keys=False))
    return path


def _write_pictures(folder: Path, seed: int, side: int) -> None:
    random = np.random.default_rng(seed)
    for split in ("validation", "test"):
        (folder / split).mkdir(parents=True)
        lines = []
        for number in range(PICTURES):
            pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{number}.png")
            lines.append(json.dumps({"file_name": f"{number}.png", "label": number % CLASSES}))
        (folder / split / "metadata.jsonl").write_text("\n".join(lines))
