"""The inputs that real images give each block of a model: what anchors are compared with."""

import torch
from torch import Tensor

from fda.models.vision import VisionModel


@torch.no_grad()
def block_inputs(model: VisionModel, images: Tensor) -> list[Tensor]:
    """For each block, its inputs (n, tokens, d) on the device of the weights that are in `model`."""
    caught: list[Tensor] = []
    hooks = [
        block.module.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach()))
        for block in model.blocks
    ]
    try:
        model.features(images)
    finally:
        for hook in hooks:
            hook.remove()
    return caught
