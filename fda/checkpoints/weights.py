"""Checkpoints as read-only mappings name → tensor, read lazily from safetensors files. Opens no pickle.

Headers (names, shapes, dtypes) are read without torch; tensors are read one at a time, on access. Other formats, and the choice
between them, are left to `fda.checkpoints.readers`.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from fda.checkpoints.readers.signs import refuse_what_is_no_checkpoint
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Mixture-of-experts models have 100,000 tensors and a header of 15 MB; names have about 60 characters.
LONGEST_HEADER, MOST_TENSORS, LONGEST_NAME = 64 * 2**20, 500_000, 1024
# safetensors reads the whole header each time it opens a file, so a file with more tensors stays open. So does a small one: a
# tensor then takes 9 µs instead of 84. Of a large one the pages that were read would stay in memory.
MANY, SMALL = 2000, 16 * 2**20  # tensors, bytes
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's entry in a header: its shape, and its dtype as a safetensors code."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        """Number of elements."""
        product = 1
        for size in self.shape:
            product *= size
        return product


def weights_file(model: str | Path) -> Path:
    """Return the safetensors file of a model: the path itself, or the file in that folder. UserError if there is none."""
    path = Path(model)
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no weights: expected one of {', '.join(WEIGHT_FILES)} in it.")


class Weights(Mapping[str, "Tensor"]):
    """Base class of all readers: `weights[name]` reads one tensor; iteration gives the names in sorted order.

    `path` names the source in messages; `header`, `fingerprint` and `bytes` read no tensor.
    """

    path: Path

    @property
    @abstractmethod
    def header(self) -> dict[str, TensorInfo]:
        """Name → shape and dtype, in sorted order."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 that identifies the content: equal content, equal fingerprint."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Size of the files in bytes."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the reader opens, for callers that must check their location."""
        return (self.path,)

    def __iter__(self) -> Iterator[str]:
        return iter(self.header)

    def __len__(self) -> int:
        return len(self.header)

    def __contains__(self, name: object) -> bool:
        return name in self.header  # Mapping.__contains__ would read the tensor


def joint_fingerprint(*parts: str) -> str:
    """Return one fingerprint for several parts: SHA-256 of their fingerprints, one a line."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def file_fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoint(Weights):
    """Reader of a checkpoint in one safetensors file."""

    def __init__(self, model: str | Path) -> None:
        self.path = weights_file(model)

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        """Name → shape and dtype, in sorted order. UserError for a file that is incomplete or not safetensors."""
        refuse_what_is_no_checkpoint(self.path)
        try:
            with self.path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
            if LONGEST_HEADER < length < self.bytes:
                raise UserError(
                    f"{self.path} has a header of {length:,} bytes, more than any checkpoint: do not trust it."
                )
            with safe_open(self.path, framework="numpy") as file:
                names = file.keys()
                if len(names) > MOST_TENSORS or any(len(name) > LONGEST_NAME for name in names):
                    raise UserError(
                        f"{self.path} has {len(names):,} tensors, the longest name of {max(map(len, names)):,} characters, and "
                        f"{MOST_TENSORS:,} with names of {LONGEST_NAME:,} are read: give a checkpoint in several files."
                    )
                slices = {name: file.get_slice(name) for name in names}
                return {name: TensorInfo(tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{self.path} is not a whole safetensors file ({error}): copy or download it again."
            ) from None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes."""
        return file_fingerprint(self.path)

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def __getitem__(self, name: str) -> "Tensor":
        if name not in self.header:
            raise KeyError(name)
        if self._stays_open:
            return self._kept_open.get_tensor(name).clone()  # its tensors share memory: in-place changes would stay
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)

    @cached_property
    def _stays_open(self) -> bool:
        return len(self.header) > MANY or self.bytes <= SMALL

    @cached_property
    def _kept_open(self) -> safe_open:
        return safe_open(self.path, framework="pt")
