"""A CLIP model of open_clip, as `Model`: built from its config or by its name, without weights.

Parameters take no memory before weights are loaded. A checkpoint needs only the image tower. The text tower, which is complete
or missing, serves zero-shot heads alone (`fda.tasks.zero_shot`).
"""

import difflib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from fda.architectures.blocks import Block, open_clip_blocks
from fda.architectures.model import Model
from fda.architectures.transformers_build import give_memory
from fda.architectures.transforms import ImageTransform, size_text
from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.modules import classes_in
from fda.checkpoints.readers.names import RenamedWeights, best_prefix
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.weights import TensorInfo, Weights, joint_fingerprint
from fda.errors import UserError, first_line

if TYPE_CHECKING:
    from open_clip import CLIP

CONFIG = "open_clip_config.json"
TOWER = "visual."  # prefix of the image tower's names
ACTIVATIONS = {"GELU", "QuickGELU"}
# The smallest text tower that open_clip accepts: it builds no CLIP model without one.
SMALLEST_TEXT = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


@dataclass(frozen=True)
class VisionModel(Model):
    """A CLIP model whose blocks are those of the image tower.

    `source`: open_clip's name for it, or `local-dir:FOLDER`; `config`: the content of its open_clip_config.json.
    Parameters are on the meta device until `load`; those of a missing text tower stay there.
    """

    module: "CLIP" = field(repr=False)
    blocks: tuple[Block, ...]
    transform: ImageTransform
    identity: str
    source: str
    config: Mapping[str, Any] = field(repr=False)
    layout: str = "fused qkv"
    kind: str = "open_clip"

    @property
    def token_source(self) -> str:
        """open_clip prepares images of the size in its config, and its towers accept no other."""
        return f"images of {size_text(self.size)}"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images it takes."""
        return _image_size(self.module)

    def fit(self, weights: Weights, *, base: Weights | None = None) -> Weights:
        """Return the weights under the module's names, without prefixes of wrappers (`model.`, `module.`, `_orig_mod.`).

        Tensors outside the image tower that a task lacks come from the base. Tensors that the base lacks are dropped from the
        tasks. A base whose tensors outside the image tower are incomplete shows that tower alone. `fda.zoos.survey` reports
        everything else that does not fit. UserError for a pickled module with another activation than the architecture's.
        """
        self._require_activation(weights)
        shapes = {name: tuple(tensor.shape) for name, tensor in self.module.state_dict().items()}
        off, on = best_prefix(weights, {name: name for name in weights}, shapes)
        names = {on + name.removeprefix(off): name for name in weights if name.startswith(off)}
        outside = {name for name in shapes if self.may_lack(name)}
        shown = outside & set(names if base is None else base)
        if base is None and shown != outside:
            shown = set()
        names = {new: old for new, old in names.items() if new in shown or new not in outside}
        missing = shown - names.keys()
        if not missing and len(names) == len(weights) and all(new == old for new, old in names.items()):
            return weights
        rest = None if base is None or not missing else RenamedWeights(base, {name: name for name in missing})
        return RenamedWeights(weights, names, rest)

    def may_lack(self, name: str) -> bool:
        return not name.startswith(TOWER)

    def has_text_tower(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether weights from `fit` hold all tensors, also those outside the image tower."""
        return set(self.module.state_dict()) == set(weights)

    def load(self, weights: Mapping[str, Tensor]) -> "CLIP":
        """Copy weights into the module as float32, one tensor at a time. Only tensors of the text tower may be missing."""
        names = self.module.state_dict().keys()
        missing = {name for name in names if name not in weights and not self.may_lack(name)}
        if wrong := missing | {name for name in weights if name not in names}:
            raise ValueError(f"not this module's weights: {sorted(wrong)[:3]}")
        give_memory(self.module, set(weights))
        for name, tensor in self.module.state_dict().items():
            if name in weights:
                tensor.copy_(weights[name])
        return self.module

    def whole(self, weights: Weights) -> tuple[Mapping[str, Any], Weights]:
        """Return (config, weights) that open_clip can load: those from `fit`, with a text tower of zeros if needed."""
        if self.has_text_tower(weights):
            return self.config, weights
        config = {**self.config, "model_cfg": self.config["model_cfg"] | {"text_cfg": SMALLEST_TEXT}}
        module = build_on_meta(self.source, self.source, text_cfg=dict(SMALLEST_TEXT))
        zeros = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if self.may_lack(name)}
        return config, RenamedWeights(weights, {name: name for name in weights}, Zeros(weights.path, zeros))

    def to(self, device: str | torch.device) -> None:
        # as nn.Module.to, which rejects a module with parameters on the meta device
        self.module._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device))

    def outputs(self, batch: Tensor) -> Tensor:
        return self.features(batch)

    def features(self, batch: Tensor) -> Tensor:
        """(batch, 3, height, width) → (batch, embedding), after the visual projection, not normalised."""
        return self.module.encode_image(batch)

    def _require_activation(self, weights: Weights) -> None:
        pickled = classes_in(weights) & ACTIVATIONS if isinstance(weights, PickledCheckpoint) else set()
        built = {type(part).__name__ for part in self.module.visual.modules()} & ACTIVATIONS
        if pickled and built and pickled != built:
            without = "" if "QuickGELU" in pickled else "out"
            raise UserError(
                f"{weights.path} computes with {', '.join(sorted(pickled))} and the architecture of the base with "
                f"{', '.join(built)}: give the base an architecture with{without} quick_gelu, by name with{without} -quickgelu."
            )


class Zeros(Weights):
    """Float32 tensors of zeros; `shapes`: name → shape."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.shapes = path, dict(sorted(shapes.items()))

    @property
    def header(self) -> dict[str, TensorInfo]:
        return {name: TensorInfo(shape, "F32") for name, shape in self.shapes.items()}

    @property
    def fingerprint(self) -> str:
        return joint_fingerprint(*(f"{name} {shape}" for name, shape in self.shapes.items()))

    @property
    def bytes(self) -> int:
        return 0

    def __getitem__(self, name: str) -> Tensor:
        return torch.zeros(self.shapes[name])


def open_vision_model(model: str | Path, architecture: str | None = None) -> VisionModel:
    """Open the architecture of this name, or that of the config in the model's folder. UserError if it cannot be built."""
    source, config, where = _named(architecture) if architecture is not None else _described(Path(model))
    _require_own_towers(config["model_cfg"], where)
    module = build_on_meta(source, where)
    try:
        blocks = open_clip_blocks(module)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    transform = _checked_transform(module, where)
    text = (Path(model) / CONFIG).read_bytes() if architecture is None else json.dumps(config, sort_keys=True).encode()
    identity = sha256(text).hexdigest()[:32]
    if architecture is not None:
        config = config | {"preprocess_cfg": _preprocessing(module)}
    return VisionModel(module, blocks, ImageTransform(transform, str(transform)), identity, source, config)


def build_on_meta(source: str, where: str, **changes: Any) -> "CLIP":
    """Build open_clip's model in eval mode, with parameters on the meta device. `changes`: other fields of the `model_cfg`.

    UserError that names `where` if open_clip cannot build it, or if its image tower rejects an image of its own size.
    """
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs every load on the root logger
    try:
        with torch.device("meta"), torch.no_grad():
            module: Any = open_clip.create_model(source, load_weights=False, device="meta", **changes)
            module.eval().requires_grad_(False)
            module.encode_image(torch.empty(1, 3, *_image_size(module)))
    except Exception as error:  # model classes raise anything for fields that contradict each other
        raise UserError(f"open_clip cannot build {where} ({first_line(error)}): correct its `model_cfg`.") from None
    for part in module.modules():  # causal masks are in no checkpoint
        mask = part._buffers.get("attn_mask")
        if mask is not None:
            part.attn_mask = torch.full(mask.shape, float("-inf"), device="cpu").triu(1)
    return module


def _image_size(module: "CLIP") -> tuple[int, int]:
    size: Any = module.visual.image_size
    return (size[0], size[1]) if isinstance(size, tuple | list) else (size, size)


def _preprocessing(module: "CLIP") -> dict[str, Any]:
    """The fields of the `preprocess_cfg`, which open_clip keeps at the image tower."""
    fields: Any = module.visual.preprocess_cfg
    return fields


def _described(folder: Path) -> tuple[str, dict[str, Any], str]:
    """(source, config, where, for messages) of a folder with a config."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {CONFIG}: give the folder of a model saved by open_clip, or name the architecture of these "
            "weights in the zoo file, as `base.architecture: ViT-B-32` (ViT-B-32-quickgelu if they come from OpenAI's)."
        )
    try:
        config = read_json(path)
        if not isinstance(config["model_cfg"], dict) or not isinstance(config.get("preprocess_cfg", {}), dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not an open_clip config: it needs a `model_cfg`.") from None
    return f"local-dir:{folder}", config, str(path)


def _named(architecture: str) -> tuple[str, dict[str, Any], str]:
    names = {name.lower(): name for name in open_clip.list_models()}
    if architecture not in names.values():
        near = [names[match] for match in difflib.get_close_matches(architecture.lower(), names, n=3, cutoff=0)]
        raise UserError(
            f"base.architecture: open_clip has no model {architecture!r}: the nearest are {', '.join(near)}."
        )
    return architecture, {"model_cfg": open_clip.get_model_config(architecture)}, f"the architecture {architecture}"


def _require_own_towers(config: Mapping[str, Any], where: str) -> None:
    towers = {name: part for name, part in config.items() if isinstance(part, dict)}
    for tower, part in towers.items():
        elsewhere = next((key for key in ("hf_model_name", "timm_model_name") if part.get(key)), None)
        if elsewhere:  # open_clip would download a config, or a model, of this name
            raise UserError(
                f"{where}: `{tower}.{elsewhere}` names {part[elsewhere]!r}, a tower of another library, which is "
                "not built here: give a CLIP model whose towers are open_clip's own."
            )


def _checked_transform(module: "CLIP", where: str) -> Callable[[Image.Image], Tensor]:
    """The image transform. UserError if it cannot prepare a small image."""
    fields = _preprocessing(module)
    try:
        small_fields: dict[str, Any] = fields | {"size": 8}
        small: Any = image_transform_v2(PreprocessCfg(**small_fields), is_train=False)
        small(Image.new("RGB", (9, 8)))
        transform: Any = image_transform_v2(PreprocessCfg(**fields), is_train=False)
        return transform
    except Exception as error:  # open_clip validates mean, std and the rest only when it uses them
        raise UserError(
            f"{where}: no image can be prepared ({first_line(error)}): correct its `preprocess_cfg`."
        ) from None
