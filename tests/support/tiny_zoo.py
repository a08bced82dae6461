"""A tiny zoo in the hub's formats, made afresh: what tests merge, construct and break."""

import json
from pathlib import Path

import datasets
import numpy as np
import open_clip
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 8, "layers": 2, "width": 16, "head_width": 8, "patch_size": 4},
        "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": [8, 8]},
}
TASKS = ("red", "bright")


def save_model(folder: Path, state: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    save_file(state, folder / "open_clip_model.safetensors")


def save_data(folder: Path, seed: int) -> None:
    """Random 8 × 8 images of two classes in three splits, as parquet that `datasets` reads."""
    random = np.random.default_rng(seed)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        labels = [i % 2 for i in range(40)]
        images = [Image.fromarray(random.integers(0, 120 + 120 * y, (8, 8, 3), dtype=np.uint8)) for y in labels]
        table = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
        table.to_parquet(folder / f"{split}.parquet")


def make_zoo(folder: Path) -> Path:
    """Write a whole zoo below `folder`; the path of its YAML file."""
    torch.manual_seed(0)
    save_model(folder / "base", {})
    model = open_clip.create_model(f"local-dir:{folder / 'base'}", load_weights=False)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_model(folder / "base", base)
    tasks = []
    for index, name in enumerate(TASKS):
        generator = torch.Generator().manual_seed(index + 1)
        moved = {
            key: tensor + 0.05 * torch.randn(tensor.shape, generator=generator)
            if "visual.transformer" in key
            else tensor
            for key, tensor in base.items()
        }
        save_model(folder / name, moved)
        head = {"weight": torch.randn(2, 8, generator=generator)}
        save_file(head, folder / f"{name}.head.safetensors", {"classes": json.dumps(["no", "yes"])})
        save_data(folder / "data" / name, index)
        tasks.append(
            {
                "name": name,
                "model": name,
                "head": f"{name}.head.safetensors",
                "data": {
                    "path": f"data/{name}",
                    "split": "test",
                    "validation_split": "validation",
                    "train_split": "train",
                    "input": "image",
                    "label": "label",
                },
            }
        )
    content = {"name": "tiny", "base": {"model": "base"}, "tasks": tasks, "adapt": {"epochs": 3, "weights_lr": 1e-3}}
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
