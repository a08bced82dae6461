"""One model of a zoo as it can be seen without its weights: where it is, its config, its tensors by header.

On this machine by the readers; on the hub by range requests for the headers of safetensors files, some KB. Weights of other
formats are known only after the download. What the models of a zoo are to each other is `fda.requests.preview`.
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
from fda.zoos.hub import Listing, cached_folder, config_folder, is_hub_id, listing, small_files, told
from fda.zoos.hub_files import remote_header
from fda.zoos.kinds import TRANSFORMERS_CONFIG

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_DTYPES = {"float64": "F64", "float16": "F16", "bfloat16": "BF16"}  # any other is float32


class HeaderWeights(Weights):
    """A checkpoint of which only the header is known."""

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
    """What could be found out about a model. `folder`: where its config is; `weights`: None if nothing tells its tensors.

    `known`: whether a header tells them, not the config. `open_clip`: whether its weights are named as that library's.
    `listing`: of a model that is on the hub, what would be downloaded.
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
        files = {} if self.listing is None else self.listing.files
        return sum(size for name, size in files.items() if not (self.folder / name).exists())

    def first_of(self, names: Iterable[str]) -> list[str]:
        """The first of these files that the hub lists, if any."""
        files = {} if self.listing is None else self.listing.files
        return [name for name in names if name in files][:1]

    def bring(self, names: Iterable[str], unlike: "Seen | None" = None) -> None:
        """Let small files be in the folder, those of them that there are; not those that the hub says are as `unlike`'s.

        UserError as `fda.zoos.hub.told`.
        """
        if self.listing is not None:
            blobs, other = self.listing.blobs, {} if unlike is None or unlike.listing is None else unlike.listing.blobs
            small_files(self.listing, [name for name in names if name not in blobs or blobs[name] != other.get(name)])

    @property
    def adapter_of(self) -> str | None:
        if not isinstance(self.weights, AdaptedWeights):
            return None
        return str(self.weights.config.get("base_model_name_or_path") or "not named")


def look(
    model: str, base: Weights | None = None, *, role: str = "base", rename: Callable[[str], str] = lambda name: name
) -> Seen:
    """What a path or hub id leads to; `base`: the base's weights, for a task. UserError for what is not there or not read.

    `rename`: what the architecture calls a checkpoint's tensor today, for an adapter.
    """
    if not is_hub_id(model):  # local paths of a loaded zoo are absolute, which no id is
        return _look_here(model, Path(model), base, rename)
    folder = cached_folder(model)
    if folder is not None:
        return _look_here(model, folder, base, rename)
    found = listing(model)
    folder = config_folder(found)
    known = all(name.endswith((".safetensors", ".index.json")) for name in found.weights)
    adapter = any(name.startswith("adapter_model") for name in found.weights)
    if adapter and role == "base":
        raise UserError(f"{model} is a LoRA adapter, which is no model by itself: give it as a task, over its base.")
    weights: Weights | None = None
    if known:
        header: dict[str, TensorInfo] = {}
        for name in (one for one in found.weights if one.endswith(".safetensors")):
            with told(model):
                header |= remote_header(found.id, found.path(name), found.commit)
        weights = HeaderWeights(model, header, found.bytes)
        if adapter:
            weights, known = (None, False) if base is None else (AdaptedWeights(folder, base, weights, rename), True)
            _ = weights and weights.header  # an adapter of another base is told now
    elif adapter:
        read_adapter_config(folder / ADAPTER_CONFIG)  # what cannot be carried out is told now
    open_clip = any(name.startswith("open_clip") for name in found.weights)
    return Seen(model, "hub", folder, weights, found.bytes, known, open_clip, adapter, found)


def _look_here(model: str, path: Path, base: Weights | None, rename: Callable[[str], str]) -> Seen:
    weights = open_weights(path, base=base, rename=rename)
    _ = weights.header  # a file that is not whole is told now
    open_clip = weights.path.name.startswith("open_clip")
    return Seen(model, "here", path, weights, weights.bytes, open_clip=open_clip)


def described(one: Seen) -> Seen:
    """The model with the tensors that its config describes, where no header tells them. Of an adapter nothing does."""
    if one.weights is not None or one.adapter or model_type(one.folder) is None:
        return one
    from fda.architectures.transformers_build import build_on_meta
    from fda.architectures.transformers_config import read_config

    try:
        config = read_config(one.folder)
        tensors = build_on_meta(config, one.folder).state_dict()
    except UserError:  # of a base this is told where it is built; of a task only the weights are read
        return one
    dtype = CONFIG_DTYPES.get(str(config.dtype).removeprefix("torch."), "F32")
    header = {name: TensorInfo(tuple(tensor.shape), dtype) for name, tensor in tensors.items()}
    return replace(one, weights=HeaderWeights(one.model, header, one.bytes))


def model_type(folder: Path) -> str | None:
    """The architecture that a folder's config names, as transformers calls it."""
    try:
        found = read_json(folder / TRANSFORMERS_CONFIG).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
