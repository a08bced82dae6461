"""The blocks of a transformers image model, with tokens counted on images as its image processor prepares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fda.architectures.blocks import Block
from fda.architectures.supply import config_size
from fda.architectures.transformer_blocks import Part, transformer_blocks
from fda.architectures.transforms import IMAGE_FILES, ImageSize, processed_size, size_text
from fda.errors import UserError

USUAL_SIDE = 224  # pixels of the image on which a processor is tried, where the config names no size


@dataclass(frozen=True)
class ImageBlocks:
    """`processed`: the size of images from the processor, None without a processor; `source`: these images, in words.

    `refused`: why the model does not accept these images, in a sentence, or None.
    """

    blocks: tuple[Block, ...]
    processed: ImageSize | None
    source: str
    refused: str | None = None


def image_blocks(module: nn.Module, folders: Sequence[Path], part: Part, tokens: int | None) -> ImageBlocks:
    """Return the blocks for images of the size that the first processor in `folders` produces.

    Without a processor, or if the model does not accept its images, the blocks are for images of the config's size.
    UserError as `transformer_blocks`.
    """
    size = config_size(module.config)
    processed = processed_size(folders, size[0] if size else USUAL_SIDE)
    if processed is None:
        blocks = transformer_blocks(module, part=part, tokens=tokens)
        assert size is not None, "without a size, `transformer_blocks` raises"
        return ImageBlocks(blocks, None, images_as(size, "its config says: it has no image processor", module.config))
    try:
        blocks = transformer_blocks(module, part=part, tokens=tokens, size=processed.size)
    except UserError:
        if size is None or size == processed.size:
            raise
        blocks = transformer_blocks(module, part=part, tokens=tokens)
        folder = next(folder for folder in folders if any((folder / name).is_file() for name in IMAGE_FILES))
        refused = (
            f"the image processor in {folder} makes images of {size_text(processed.size)}, but the model takes "
            f"{size_text(size)} only: correct the sizes in its {IMAGE_FILES[0]}."
        )
        return ImageBlocks(blocks, processed, images_as(size, "its config says", module.config), refused)
    whose = "its image processor makes" + (" of square ones" if processed.varies else "")
    return ImageBlocks(blocks, processed, images_as(processed.size, whose, module.config))


def images_as(size: tuple[int, int], whose: str, config: Any) -> str:
    """Describe the images whose tokens are counted; mentions the config's size where that differs."""
    configured = config_size(config)
    but = "" if configured in (None, size) else f"; its config speaks of {size_text(configured)}"
    return f"images of {size_text(size)}, as {whose}{but}"
