"""Choose the reader for a path: a file of any format, or a folder as the hub's libraries save it."""

from collections.abc import Callable
from pathlib import Path

from fda.checkpoints.readers.adapters import CONFIG as ADAPTER_CONFIG
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.shards import ShardedCheckpoint
from fda.checkpoints.readers.signs import kind_of, refuse_what_is_no_checkpoint
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.readers.wrappers import unwrapped
from fda.checkpoints.weights import WEIGHT_FILES, Checkpoint, Weights
from fda.errors import UserError

# In the order in which they are tried, which is that of transformers and open_clip.
FOLDER_FILES = (
    *WEIGHT_FILES,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
PICKLED_SUFFIXES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")


def open_weights(
    model: str | Path, *, base: Weights | None = None, rename: Callable[[str], str] = lambda name: name
) -> Weights:
    """Return the reader for a file or folder; reads no tensor. `base`: for an adapter, its base's weights.

    `rename`: as of `AdaptedWeights`. UserError if there are no weights, or none in a format that is read.
    """
    path = Path(model)
    if path.is_dir():
        return _open_folder(path, base, rename)
    if path.name == ADAPTER_CONFIG:
        return _adapted(path.parent, base, rename)
    return open_file(path)


def open_file(path: Path) -> Weights:
    """Return the reader for one file, chosen by its content, not its name. Tensor names come without training wrappers."""
    return unwrapped(_reader(path))


def _reader(path: Path) -> Weights:
    if path.name.endswith(".index.json"):
        return ShardedCheckpoint(path)
    refuse_what_is_no_checkpoint(path)
    kind = kind_of(path)
    if kind == "safetensors" or (path.suffix == ".safetensors" and kind not in ("zip", "pickle")):
        return Checkpoint(path)
    if kind in ("zip", "pickle") or path.suffix in PICKLED_SUFFIXES:
        return PickledCheckpoint(path)
    raise UserError(f"{path} is no checkpoint: give a safetensors file, a PyTorch file, or a folder that holds one.")


def _open_folder(folder: Path, base: Weights | None, rename: Callable[[str], str]) -> Weights:
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return open_file(folder / name)
    if (folder / ADAPTER_CONFIG).is_file():
        return _adapted(folder, base, rename)
    shard = next((path for path in sorted(folder.glob("*-of-*")) if path.suffix in (".safetensors", ".bin")), None)
    if shard is not None:
        raise UserError(f"{folder} holds {shard.name} but no index: copy or download the model's .index.json too.")
    raise UserError(f"{folder} holds no weights: expected one of {', '.join(FOLDER_FILES)} or {ADAPTER_CONFIG} in it.")


def _adapted(folder: Path, base: Weights | None, rename: Callable[[str], str]) -> Weights:
    if base is None:
        raise UserError(
            f"{folder} holds a LoRA adapter, which is no model by itself: give it as a task, over its base."
        )
    return AdaptedWeights(folder, base, rename=rename)
