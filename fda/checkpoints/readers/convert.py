"""Convert a checkpoint of any readable format to one safetensors file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fda.cancel import NEVER, Cancel
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.modules import class_of, head_tensors, is_head
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.readers.rebuild import TORCH_DTYPES
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.weights import Weights
from fda.checkpoints.write import Kind, kinds_of, write_tensors
from fda.errors import UserError


@dataclass(frozen=True)
class Converted:
    """The new file, and `what` the source held: a head (written as a head file), a module or a state dict."""

    path: Path
    tensors: int
    bytes: int
    what: str


def convert_to_safetensors(
    source: str | Path,
    target: str | Path,
    *,
    base: Weights | None = None,
    rename: Callable[[str], str] = lambda name: name,
    overwrite: bool = False,
    cancel: Cancel = NEVER,
) -> Converted:
    """Read the weights at `source` (file or folder of any format) and write them to `target`, tensor by tensor, atomically.

    Peak memory is one tensor. Heads of task arithmetic's checkpoints become head files (weight, and logit_scale or bias).
    `base`, `rename`: as of `open_weights`.
    UserError if the source cannot be read, if the target is no .safetensors file, or if it exists and `overwrite` is false.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise UserError(f"{target} does not end with .safetensors: give the new file a name that does.")
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already: give another name, or allow it to be overwritten.")
    weights = open_weights(source, base=base, rename=rename)
    if base is not None and not isinstance(weights, AdaptedWeights):
        raise UserError(f"{source} is no adapter, so that no base is read: leave --base out.")
    metadata = {"format": "pt", "source": weights.path.name, "source_fingerprint": weights.fingerprint}
    pickled = isinstance(weights, PickledCheckpoint)
    try:
        if pickled and is_head(weights):
            tensors = head_tensors(weights)
            write_tensors(target, kinds_of(tensors), tensors.items(), metadata, cancel=cancel)
            return Converted(target, len(tensors), target.stat().st_size, "head")
        kinds = {name: _kind(weights, name) for name in weights}
        write_tensors(target, kinds, ((name, weights[name]) for name in weights), metadata, cancel=cancel)
    except OSError as error:
        raise UserError(
            f"{target} could not be written ({error.strerror}): check the folder and the free space."
        ) from None
    what = f"module {class_of(weights)}" if pickled and class_of(weights) else "state dict"
    return Converted(target, len(kinds), target.stat().st_size, what)


def _kind(weights: Weights, name: str) -> Kind:
    info = weights.header[name]
    if info.dtype not in TORCH_DTYPES:
        raise UserError(
            f"{weights.path}: tensor {name} has dtype {info.dtype}, which cannot be written: convert it first."
        )
    return torch.Size(info.shape), TORCH_DTYPES[info.dtype]
