"""A LoRA adapter over its base, as PEFT saves it: weights W + scaling · B A for the adapted layers, computed on access.

Source: LoRA (arXiv 2106.09685), rank-stabilised scaling (arXiv 2312.03732), and PEFT's file layout: adapter_config.json beside
adapter_model.safetensors, with tensors named `base_model.model.` + the layer's path + `.lora_A.weight` (r × in) and
`.lora_B.weight` (out × r). The reader refuses options that change the weights in any other way, and tensors that would have no
effect.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.readers.wrappers import unwrapped
from fda.checkpoints.weights import Checkpoint, TensorInfo, Weights, joint_fingerprint
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")

# Options that are carried out here, or that do not change what the adapter's tensors mean.
_KNOWN_OPTIONS = {
    "peft_type", "peft_version", "r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "fan_in_fan_out",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "bias", "auto_mapping",
    "base_model_name_or_path", "revision", "task_type", "inference_mode", "lora_dropout", "init_lora_weights", "eva_config",
    "corda_config", "loftq_config", "lora_ga_config", "ensure_weight_tying", "megatron_core", "qalora_group_size",
}  # fmt: skip
# Initialisations that also change the base's weights, so that B A must not be added to W of the published base.
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PART = re.compile(r"^(?P<layer>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.default)?(\.weight)?$")
# Both lists are scanned for every layer; r and alpha are some hundreds.
_MOST_SAVED, _MOST_PATTERNS, _LARGEST_ALPHA = 100, 2000, 1e6
# What PEFT inserts between a layer's path and its tensor's name when it wraps the layer.
_WRAPPED = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")
# Heads that PEFT saves whole for a task type or a larger vocabulary, whether or not the config lists them.
_HEADS = ("classifier", "score", "qa_outputs", "lm_head")


@dataclass(frozen=True)
class _Pair:
    """The two factors of a layer, by their names in the adapter's file, and how they are applied."""

    a: str
    b: str
    scaling: float
    transposed: bool


class AdaptedWeights(Weights):
    """The base's weights with an adapter added. Changed tensors are float32 where the base's are half precision.

    Layers that the adapter saved whole (`modules_to_save`, biases) replace the base's; all other tensors are the base's.
    `adapter`: the adapter's tensors, if they are not in the folder with its config. `rename`: from a checkpoint's name of a
    tensor to the architecture's, since adapter and base may come from different versions of the library.
    """

    def __init__(
        self,
        folder: str | Path,
        base: Weights,
        adapter: Weights | None = None,
        rename: Callable[[str], str] = lambda name: name,
    ) -> None:
        self.path, self.base, self._given, self._rename = Path(folder), base, adapter, rename

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The adapter's config. UserError if it cannot be carried out exactly."""
        return read_config(self.path / CONFIG)

    @cached_property
    def adapter(self) -> Weights:
        """The adapter's own tensors."""
        if self._given is not None:
            return self._given
        for name in FILES:
            if (self.path / name).is_file():
                path = self.path / name
                return unwrapped(Checkpoint(path) if path.suffix == ".safetensors" else PickledCheckpoint(path))
        raise UserError(f"{self.path} has an {CONFIG} but no {FILES[0]}: copy or download it too.")

    @cached_property
    def _plan(self) -> tuple[dict[str, _Pair], dict[str, str]]:
        """(base tensor → its factors, base or new tensor → the name of its replacement in the adapter)."""
        layers, whole = self._parts()
        known = {self._rename(name): name for name in self.base}  # the architecture's name → the base's
        paths = [f"{layer}.weight" for layer in layers]
        relation = _relation([self._rename(path) for path in paths if path not in whole] or paths, known)
        if relation is None:
            raise UserError(
                f"{self.path} adapts a layer {paths[0]} that {self.base.path} does not have: give the base it was trained on "
                f"({self.config.get('base_model_name_or_path') or 'not named in its config'})."
            )
        off, on = relation
        targets, replaced, pairs = {}, {}, {}
        for path in (*whole, *paths):
            targets[path] = known.get(on + self._rename(path).removeprefix(off), on + path.removeprefix(off))
        for path, name in whole.items():
            if targets[path] not in self.base and not self._is_new(path, name):
                raise UserError(
                    f"{self.adapter.path} has a tensor {name} that replaces none of {self.base.path}, and {CONFIG} does not "
                    "list it in modules_to_save: give the base it was trained on, or merge it with PEFT first."
                )
            replaced[targets[path]] = name
        for layer, parts in layers.items():
            name = targets[f"{layer}.weight"]
            info = self.adapter.header[replaced[name]] if name in replaced else self.base.header[name]
            pairs[name] = self._pair(layer, parts, name, info.shape)
        return pairs, replaced

    def _parts(self) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        """(layer → the names of its factors by side, path of a tensor that was saved whole → its name)."""
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
            elif ".original_module." not in path:  # that is the base's tensor, beside its trained replacement
                whole[_WRAPPED.sub("", path)] = name
        if not layers:
            raise UserError(f"{self.adapter.path} holds no LoRA factors: give the adapter's own file.")
        return layers, whole

    def _is_new(self, path: str, name: str) -> bool:
        """Whether a tensor belongs to a layer that only the adapter has. Compares the ends of paths, as PEFT does."""
        parts = path.split(".")
        layers = [".".join(parts[:count]) for count in range(1, len(parts))]
        ends = (*_HEADS, *(self.config.get("modules_to_save") or ()))
        return ".modules_to_save." in name or any(layer.endswith(ends) for layer in layers)

    def _pair(self, layer: str, parts: Mapping[str, str], name: str, shape: tuple[int, ...]) -> _Pair:
        if "A" not in parts or "B" not in parts:
            raise UserError(f"{self.adapter.path} has only one factor of the layer {layer}: copy or download it again.")
        a, b = (self.adapter.header[parts[side]].shape for side in "AB")
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
        """lora_alpha / r, or lora_alpha / √r if rank-stabilised; layers may have an alpha of their own."""
        alpha = _alpha(layer, self.config, self.path / CONFIG)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        pairs, whole = self._plan
        header = self.base.header | {name: self.adapter.header[source] for name, source in whole.items()}
        for name in pairs:
            if header[name].dtype in ("F16", "BF16"):
                header[name] = TensorInfo(header[name].shape, "F32")
        return dict(sorted(header.items()))

    def changes(self, name: str) -> bool:
        """Whether the adapter changes or replaces this tensor of the base."""
        return any(name in part for part in self._plan)

    @cached_property
    def fingerprint(self) -> str:
        config = json.dumps(self.config, sort_keys=True)
        return joint_fingerprint(self.base.fingerprint, self.adapter.fingerprint, config)

    @property
    def bytes(self) -> int:
        """Size of the adapter's files alone."""
        return self.adapter.bytes

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path / CONFIG, *self.adapter.files, *self.base.files)

    def __getitem__(self, name: str) -> "Tensor":
        pairs, whole = self._plan
        weight = self.adapter[whole[name]] if name in whole else self.base[name]
        if name not in pairs:
            return weight
        pair = pairs[name]
        product = pair.scaling * (self.adapter[pair.b].double() @ self.adapter[pair.a].double())
        changed = weight.double() + (product.T if pair.transposed else product)
        return changed if weight.dtype.itemsize == 8 else changed.float()


def read_config(path: Path) -> Mapping[str, Any]:
    """Read the config of a plain LoRA adapter. UserError that names an option which plain LoRA does not have."""
    try:
        config = read_json(path)
        kind, rank, alpha = config["peft_type"], config.get("r"), config.get("lora_alpha")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no config of a PEFT adapter ({error!r}): copy or download it again.") from None
    if kind != "LORA":
        raise UserError(
            f"{path} is an adapter of type {kind}, which is not read: merge it into its base with PEFT first."
        )
    if not _is_alpha(alpha) or type(rank) is not int or rank < 1:
        raise UserError(f"{path}: r is {rank!r} and lora_alpha {alpha!r}, where numbers are needed: download it again.")
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) and name for name in saved):
        raise UserError(f"{path}: modules_to_save is no list of names: download it again.")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or len(saved) > _MOST_SAVED or len(patterns) > _MOST_PATTERNS:
        raise UserError(
            f"{path}: modules_to_save or alpha_pattern is no list of at most {_MOST_SAVED} and {_MOST_PATTERNS} names: "
            "download it again."
        )
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_BASE_CHANGING):
        raise UserError(
            f"{path} was initialised by {init}, which changes the base too: convert it to plain LoRA with PEFT "
            "(`path_initial_model_for_weight_conversion`), or merge it first."
        )
    for option, value in sorted(config.items()):
        if value and option not in _KNOWN_OPTIONS:
            raise UserError(
                f"{path} uses the option {option}, which is not read: merge it into its base with PEFT first."
            )
    return config


def _is_alpha(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < _LARGEST_ALPHA  # false for NaN


def _alpha(layer: str, config: Mapping[str, Any], path: Path) -> float:
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        plain = pattern.removeprefix("^")
        if not re.fullmatch(r"[\w.]+", plain) or not _is_alpha(alpha):
            raise UserError(f"{path}: alpha_pattern {pattern!r} is not the name of a layer: merge it with PEFT first.")
        if layer == plain or (plain == pattern and layer.endswith("." + plain)):
            return alpha
    return config["lora_alpha"]


def _relation(paths: list[str], base: Collection[str]) -> tuple[str, str] | None:
    """The shortest (prefix to remove, prefix to add) that turns every path into a name of the base, or None."""
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
