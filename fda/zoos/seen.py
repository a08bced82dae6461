"""Inspect one model of a zoo without downloading its weights: its location, its config, and its tensors by header.

Uses the readers for local models, and range requests of some KB for safetensors files on the hub. The tensors of other formats
are unknown until the download. `fda.requests.preview` compares the models of a zoo.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fda.checkpoints.json_files import read_json
from fda.checkpoints.readers.adapters import CONFIG as ADAPTER_CONFIG
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.adapters import read_config as read_adapter_config
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import TensorInfo, Weights
from fda.errors import UserError
from fda.zoos.hub import Listing, cached_folder, config_folder, hub_errors, listing, small_files
from fda.zoos.hub_files import remote_header
from fda.zoos.hub_ids import is_hub_id
from fda.zoos.kinds import TRANSFORMERS_CONFIG

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_DTYPES = {"float64": "F64", "float16": "F16", "bfloat16": "BF16"}  # any other is float32


class HeaderWeights(Weights):
    """A checkpoint with a known header and unknown content."""

    def __init__(self, model: str, header: Mapping[str, TensorInfo], size: int) -> None:
        self.path, self._header, self._size = Path(model), dict(sorted(header.items())), size

    @property
    def header(self) -> dict[str, TensorInfo]:
        return self._header

    @property
    def fingerprint(self) -> str:
        raise ValueError(f"the content of {self.path} is not known")

    @property
    def bytes(self) -> int:
        return self._size

    def __getitem__(self, name: str) -> "Tensor":
        raise ValueError(f"the content of {self.path} is not known")


@dataclass(frozen=True)
class Seen:
    """What is known about a model. `folder`: of its config; `weights`: None if its tensors are unknown.

    `known`: whether the tensors come from a header, not from the config. `open_clip`: whether its files have that library's
    names. `listing`: for a model on the hub, the files to download.
    """

    model: str
    where: str
    folder: Path
    weights: Weights | None
    bytes: int
    known: bool = True
    open_clip: bool = False
    adapter: bool = False
    listing: Listing | None = None

    @property
    def to_download(self) -> int:
        """Bytes that are missing on this machine."""
        files = {} if self.listing is None else self.listing.files
        return sum(size for name, size in files.items() if not (self.folder / name).exists())

    def first_of(self, names: Iterable[str]) -> list[str]:
        """Return the first of these files that the hub lists, as a list of one or none."""
        files = {} if self.listing is None else self.listing.files
        return [name for name in names if name in files][:1]

    def bring(self, names: Iterable[str], unlike: "Seen | None" = None) -> None:
        """Download those of the named small files that the hub lists, except those with the same content as in `unlike`.

        UserError as `fda.zoos.hub.hub_errors`.
        """
        if self.listing is not None:
            blobs, known = self.listing.blobs, {} if unlike is None or unlike.listing is None else unlike.listing.blobs
            small_files(self.listing, [name for name in names if name not in blobs or blobs[name] != known.get(name)])

    @property
    def adapter_of(self) -> str | None:
        if not isinstance(self.weights, AdaptedWeights):
            return None
        return str(self.weights.config.get("base_model_name_or_path") or "not named")


def look(
    model: str, base: Weights | None = None, *, role: str = "base", rename: Callable[[str], str] = lambda name: name
) -> Seen:
    """Inspect the model at a path or hub id. UserError if it does not exist or is not of a readable format.

    `base`: the base's weights, for a task; `rename`: as of `AdaptedWeights`, for an adapter.
    """
    if not is_hub_id(model):  # local paths of a loaded zoo are absolute, hub ids never
        return _look_here(model, Path(model), base, rename)
    folder = cached_folder(model)
    if folder is not None:
        return _look_here(model, folder, base, rename)
    files = listing(model)
    folder = config_folder(files)
    known = all(name.endswith((".safetensors", ".index.json")) for name in files.weights)
    adapter = any(name.startswith("adapter_model") for name in files.weights)
    if adapter and role == "base":
        raise UserError(f"{model} is a LoRA adapter, which is no model by itself: give it as a task, over its base.")
    weights: Weights | None = None
    if known:
        header: dict[str, TensorInfo] = {}
        for name in (name for name in files.weights if name.endswith(".safetensors")):
            with hub_errors(model):
                header |= remote_header(files.id, files.path(name), files.commit)
        weights = HeaderWeights(model, header, files.bytes)
        if adapter:
            weights, known = (None, False) if base is None else (AdaptedWeights(folder, base, weights, rename), True)
            _ = weights and weights.header  # raises for an adapter of another base
    elif adapter:
        read_adapter_config(folder / ADAPTER_CONFIG)  # raises for options that are not supported
    open_clip = any(name.startswith("open_clip") for name in files.weights)
    return Seen(model, "hub", folder, weights, files.bytes, known, open_clip, adapter, files)


def _look_here(model: str, path: Path, base: Weights | None, rename: Callable[[str], str]) -> Seen:
    weights = open_weights(path, base=base, rename=rename)
    _ = weights.header  # raises for an incomplete file
    open_clip = weights.path.name.startswith("open_clip")
    return Seen(model, "here", path, weights, weights.bytes, open_clip=open_clip)


def described(model: Seen) -> Seen:
    """Return the model with the tensors of its config's architecture, if no header is known. Adapters stay unknown."""
    if model.weights is not None or model.adapter or model_type(model.folder) is None:
        return model
    from fda.architectures.transformers_build import build_on_meta
    from fda.architectures.transformers_config import read_config

    try:
        config = read_config(model.folder)
        tensors = build_on_meta(config, model.folder).state_dict()
    except UserError:  # building a base raises it again; a task needs only its weights
        return model
    dtype = CONFIG_DTYPES.get(str(config.dtype).removeprefix("torch."), "F32")
    header = {name: TensorInfo(tuple(tensor.shape), dtype) for name, tensor in tensors.items()}
    return replace(model, weights=HeaderWeights(model.model, header, model.bytes))


def model_type(folder: Path) -> str | None:
    """Return the `model_type` of a folder's config, transformers' name of the architecture, or None."""
    try:
        name = read_json(folder / TRANSFORMERS_CONFIG).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None
