"""Checkpoints as read-only mappings name → tensor, read lazily from safetensors files. No pickle is opened here.

Headers (names, shapes, dtypes) are read without torch; tensors one at a time, when asked for.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        product = 1
        for size in self.shape:
            product *= size
        return product


def weights_file(model: str | Path) -> Path:
    """The safetensors file of a model: the path itself, or the one in its folder. UserError if there is none."""
    path = Path(model)
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no weights: expected one of {', '.join(WEIGHT_FILES)} in it.")


class Checkpoint(Mapping[str, "Tensor"]):
    """A safetensors checkpoint: `checkpoint[name]` reads one tensor; iteration gives the file's names in order."""

    def __init__(self, model: str | Path) -> None:
        self.path = weights_file(model)

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        """Name → shape and dtype, in sorted order. UserError for a file that is not whole, or not safetensors."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
                return {name: TensorInfo(tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{self.path} is not a whole safetensors file ({error}): copy or download it again."
            ) from None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def __getitem__(self, name: str) -> "Tensor":
        if name not in self.header:
            raise KeyError(name)
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.header)

    def __len__(self) -> int:
        return len(self.header)
