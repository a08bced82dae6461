"""A LoRA adapter over its base, as PEFT saves it: weights W + scaling · B A for the layers it targets, computed when read.

Source: LoRA (arXiv 2106.09685), rank-stabilised scaling (arXiv 2312.03732), and PEFT's file layout: adapter_config.json beside
adapter_model.safetensors, whose names are `base_model.model.` + the layer's path + `.lora_A.weight` (r × in) and
`.lora_B.weight` (out × r). Options that change the weights in any other way are refused by name.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fda.errors import UserError
from fda.models.checkpoints import Checkpoint, TensorInfo, Weights, joint_fingerprint
from fda.models.readers.torch_files import PickledCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")

# What may stand in a config without changing what the adapter's tensors mean.
_HARMLESS = {
    "peft_type",
    "peft_version",
    "r",
    "lora_alpha",
    "alpha_pattern",
    "rank_pattern",
    "use_rslora",
    "fan_in_fan_out",
}
_HARMLESS |= {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "bias"}
_HARMLESS |= {"auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "lora_dropout"}
_HARMLESS |= {
    "init_lora_weights",
    "eva_config",
    "corda_config",
    "loftq_config",
    "lora_ga_config",
    "ensure_weight_tying",
}
_HARMLESS |= {"megatron_core", "qalora_group_size"}
# Initialisations that change the base's own weights too, so that W of the published base is not the W that B A is added to.
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PART = re.compile(r"^(?P<layer>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.default)?(\.weight)?$")


@dataclass(frozen=True)
class _Pair:
    """The two factors of one layer, by their names in the adapter's file, and what they are multiplied with."""

    a: str
    b: str
    scaling: float
    transposed: bool


class AdaptedWeights(Weights):
    """The base's weights with an adapter added. Changed tensors are float32 where the base's are half precision.

    The base gives all other tensors; layers that the adapter saved whole (`modules_to_save`, biases) replace the base's.
    `adapter`: its own tensors, where they are not in the folder with its config.
    """

    def __init__(self, folder: str | Path, base: Weights, adapter: Weights | None = None) -> None:
        self.path, self.base, self._own = Path(folder), base, adapter

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The adapter's config. UserError for one that cannot be carried out exactly."""
        return read_config(self.path / CONFIG)

    @cached_property
    def adapter(self) -> Weights:
        """The adapter's own tensors."""
        if self._own is not None:
            return self._own
        for name in FILES:
            if (self.path / name).is_file():
                path = self.path / name
                return Checkpoint(path) if path.suffix == ".safetensors" else PickledCheckpoint(path)
        raise UserError(f"{self.path} has an {CONFIG} but no {FILES[0]}: copy or download it too.")

    @cached_property
    def _plan(self) -> tuple[dict[str, _Pair], dict[str, str]]:
        """(base tensor → its pair, base or new tensor → its replacement's name in the adapter)."""
        layers: dict[str, dict[str, str]] = {}
        whole: dict[str, str] = {}
        for name in self.adapter:
            path = name.removeprefix("base_model.model.")
            part = _PART.match(path)
            if part:
                layers.setdefault(part["layer"], {"embedding": part["embedding"] or ""})[part["side"]] = name
            elif "lora_" in path or "token_adapter" in path:
                raise UserError(
                    f"{self.adapter.path} has a tensor {name}, which plain LoRA has not: merge it with PEFT first."
                )
            else:
                whole[path.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")] = name
        if not layers:
            raise UserError(f"{self.adapter.path} holds no LoRA factors: give the adapter's own file.")
        paths = [f"{layer}.weight" for layer in layers]
        relation = _relation(paths, self.base)
        if relation is None:
            raise UserError(
                f"{self.path} adapts a layer {paths[0]} that {self.base.path} does not have: give the base it was trained on "
                f"({self.config.get('base_model_name_or_path') or 'not named in its config'})."
            )
        off, on = relation
        pairs = {}
        for layer, parts in layers.items():
            name = on + f"{layer}.weight".removeprefix(off)
            pairs[name] = self._pair(layer, parts, name)
        return pairs, {on + path.removeprefix(off): name for path, name in whole.items()}

    def _pair(self, layer: str, parts: Mapping[str, str], name: str) -> _Pair:
        if "A" not in parts or "B" not in parts:
            raise UserError(f"{self.adapter.path} has only one factor of the layer {layer}: copy or download it again.")
        a, b = (self.adapter.header[parts[side]].shape for side in "AB")
        shape = self.base.header[name].shape
        if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
            raise UserError(
                f"{self.adapter.path}: the factors of {layer} have shapes {list(a)} and {list(b)}, no matrices of one rank: "
                "adapters of convolutions are not read, merge it with PEFT first."
            )
        transposed = bool(parts["embedding"]) or bool(self.config.get("fan_in_fan_out"))
        if ((a[1], b[0]) if transposed else (b[0], a[1])) != shape:
            transposed = not transposed and not parts["embedding"]
            if not transposed or (a[1], b[0]) != shape:
                raise UserError(
                    f"{self.adapter.path} changes {name} by a matrix of {b[0]} × {a[1]}, but it has shape {list(shape)} in "
                    f"{self.base.path}: give the base it was trained on."
                )
        return _Pair(parts["A"], parts["B"], self._scaling(layer, a[0]), transposed)

    def _scaling(self, layer: str, rank: int) -> float:
        """lora_alpha / r, or lora_alpha / √r if rank-stabilised; alpha may differ from layer to layer."""
        alpha = _alpha(layer, self.config, self.path / CONFIG)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        pairs, whole = self._plan
        header = dict(self.base.header)
        for name in pairs:
            if header[name].dtype in ("F16", "BF16"):
                header[name] = TensorInfo(header[name].shape, "F32")
        return dict(sorted((header | {name: self.adapter.header[own] for name, own in whole.items()}).items()))

    @cached_property
    def fingerprint(self) -> str:
        config = json.dumps(self.config, sort_keys=True)
        return joint_fingerprint(self.base.fingerprint, self.adapter.fingerprint, config)

    @property
    def bytes(self) -> int:
        """Of the adapter: the base is counted where it is used as one."""
        return self.adapter.bytes

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path / CONFIG, *self.adapter.files, *self.base.files)

    def __getitem__(self, name: str) -> "Tensor":
        pairs, whole = self._plan
        if name in whole:
            return self.adapter[whole[name]]
        weight = self.base[name]
        if name not in pairs:
            return weight
        pair = pairs[name]
        product = pair.scaling * (self.adapter[pair.b].double() @ self.adapter[pair.a].double())
        changed = weight.double() + (product.T if pair.transposed else product)
        return changed if weight.dtype.itemsize == 8 else changed.float()


def read_config(path: Path) -> Mapping[str, Any]:
    """An adapter's config, if it is one of plain LoRA. UserError that names the option which is not."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind, rank, alpha = config["peft_type"], config.get("r"), config.get("lora_alpha")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no config of a PEFT adapter ({error!r}): copy or download it again.") from None
    if kind != "LORA":
        raise UserError(
            f"{path} is an adapter of type {kind}, which is not read: merge it into its base with PEFT first."
        )
    if not isinstance(alpha, int | float) or not math.isfinite(alpha) or type(rank) is not int or rank < 1:
        raise UserError(f"{path}: r is {rank!r} and lora_alpha {alpha!r}, where numbers are needed: download it again.")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_BASE_CHANGING):
        raise UserError(
            f"{path} was initialised by {init}, which changes the base too: convert it to plain LoRA with PEFT "
            "(`path_initial_model_for_weight_conversion`), or merge it first."
        )
    for option, value in sorted(config.items()):
        if value and option not in _HARMLESS:
            raise UserError(
                f"{path} uses the option {option}, which is not read: merge it into its base with PEFT first."
            )
    return config


def _alpha(layer: str, config: Mapping[str, Any], path: Path) -> float:
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        plain = pattern.removeprefix("^")
        if not re.fullmatch(r"[\w.]+", plain) or not isinstance(alpha, int | float):
            raise UserError(f"{path}: alpha_pattern {pattern!r} is not the name of a layer: merge it with PEFT first.")
        if layer == plain or (plain == pattern and layer.endswith("." + plain)):
            return alpha
    return config["lora_alpha"]


def _relation(paths: list[str], base: Weights) -> tuple[str, str] | None:
    """(prefix to take off, prefix to put on) that turns every path into a name of the base, or None. Shortest first."""
    candidates = {("", "")}
    for name in base:
        if name.endswith("." + paths[0]):
            candidates.add(("", name.removesuffix(paths[0])))
        if paths[0].endswith("." + name):
            candidates.add((paths[0].removesuffix(name), ""))
    for off, on in sorted(candidates, key=lambda pair: (len(pair[0]) + len(pair[1]), pair)):
        if all(path.startswith(off) and on + path.removeprefix(off) in base for path in paths):
            return off, on
    return None
