"""Open a CLIP model that open_clip can build: the architecture from its config, the blocks, and the image transform."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import open_clip
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from fda.errors import UserError
from fda.models.blocks import Block, open_clip_blocks
from fda.models.checkpoints import Weights
from fda.models.model import Model
from fda.models.transforms import ImageTransform

CONFIG = "open_clip_config.json"


@dataclass(frozen=True)
class VisionModel(Model):
    """A whole CLIP model without weights of its own; its blocks are the image tower's."""

    module: nn.Module
    blocks: tuple[Block, ...]
    transform: ImageTransform
    identity: str
    layout: str = "fused qkv"
    kind: str = "open_clip"

    def fit(self, weights: Weights, *, base: Weights | None = None) -> Weights:
        """The weights as they are: open_clip's names are the module's. That they are all there is checked by `open_zoo`."""
        return weights

    def load(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Copy weights into the module, one tensor at a time; their names must be exactly the module's."""
        own = self.module.state_dict()
        if own.keys() != set(weights):
            raise ValueError(f"not this module's weights: {sorted(own.keys() ^ set(weights))[:3]}")
        for name, tensor in own.items():
            tensor.copy_(weights[name])
        return self.module

    def outputs(self, batch: Tensor) -> Tensor:
        return self.features(batch)

    def features(self, batch: Tensor) -> Tensor:
        """(batch, 3, height, width) → (batch, embedding), after the visual projection, not normalised."""
        return self.module.encode_image(batch)


def open_vision_model(model: str | Path) -> VisionModel:
    """Build the architecture that a folder's open_clip config describes. UserError if it cannot be built."""
    folder = Path(model)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} holds no {CONFIG}: give the folder of a model saved by open_clip.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
        towers = {name: part for name, part in config.items() if isinstance(part, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder / CONFIG} is not an open_clip config: it needs a `model_cfg`.") from None
    for tower, part in towers.items():
        elsewhere = next((key for key in ("hf_model_name", "timm_model_name") if part.get(key)), None)
        if elsewhere:  # open_clip would fetch a config, or a model, by this name
            raise UserError(
                f"{folder / CONFIG}: `{tower}.{elsewhere}` names {part[elsewhere]!r}, a tower of another library, which is "
                "not built here: give a CLIP model whose towers are open_clip's own."
            )
    logging.getLogger().setLevel(logging.ERROR)  # open_clip tells every load on the root logger
    try:
        module = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"open_clip cannot build {folder / CONFIG} ({error}): correct its `model_cfg`.") from None
    module.eval().requires_grad_(False)
    transform = image_transform_v2(PreprocessCfg(**module.visual.preprocess_cfg), is_train=False)
    identity = sha256((folder / CONFIG).read_bytes()).hexdigest()[:32]
    return VisionModel(module, open_clip_blocks(module), ImageTransform(transform, str(transform)), identity)
