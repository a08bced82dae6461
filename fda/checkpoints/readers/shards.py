"""A checkpoint in several files, with an index that maps each tensor to its file (`….index.json`)."""

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fda.checkpoints.json_files import INDEX_BYTES, read_json
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.weights import Checkpoint, TensorInfo, Weights, joint_fingerprint
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class ShardedCheckpoint(Weights):
    """The tensors of all shards. `path` is the index; `header` checks that index and shards agree."""

    def __init__(self, index: str | Path) -> None:
        self.path = Path(index)

    @cached_property
    def index(self) -> dict[str, str]:
        """Tensor name → shard. UserError if the file is no index, or names files outside its folder."""
        try:
            weight_map = read_json(self.path, INDEX_BYTES)["weight_map"]
            if not all(isinstance(shard, str) and shard for shard in weight_map.values()) or not weight_map:
                raise ValueError("a tensor has no shard")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self.path} is not the index of a sharded checkpoint ({error!r}): copy or download it again."
            ) from None
        for shard in sorted(set(weight_map.values())):
            parts = PurePosixPath(shard)
            if parts.is_absolute() or ".." in parts.parts or "\\" in shard or ":" in shard or "\0" in shard:
                raise UserError(
                    f"{self.path} names the shard {shard!r}, outside its folder: do not trust this checkpoint."
                )
        return weight_map

    @cached_property
    def shards(self) -> dict[str, Weights]:
        """Shard → its reader. UserError if a file is missing."""
        shards: dict[str, Weights] = {}
        for shard in sorted(set(self.index.values())):
            path = self.path.parent / shard
            if not path.is_file():
                raise UserError(f"{path} is missing, which {self.path.name} names: copy or download it too.")
            shards[shard] = Checkpoint(path) if path.suffix == ".safetensors" else PickledCheckpoint(path)
        return shards

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        for shard, weights in self.shards.items():
            for name in weights.header:
                if self.index.get(name) != shard:
                    where = f"says it is in {self.index[name]}" if name in self.index else "does not name it"
                    raise UserError(
                        f"{weights.path} holds the tensor {name}, but {self.path.name} {where}: "
                        "these files do not belong together, copy or download all of them again."
                    )
        for name, shard in self.index.items():
            if name not in self.shards[shard].header:
                raise UserError(
                    f"{self.shards[shard].path} has no tensor {name}, which {self.path.name} says is in it: "
                    "these files do not belong together, copy or download all of them again."
                )
        return {name: self.shards[self.index[name]].header[name] for name in sorted(self.index)}

    @cached_property
    def fingerprint(self) -> str:
        """Made of the shards' fingerprints; which shard holds which tensor follows from their content."""
        return joint_fingerprint(*sorted(weights.fingerprint for weights in self.shards.values()))

    @property
    def bytes(self) -> int:
        return sum(weights.bytes for weights in self.shards.values())

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, *(weights.path for weights in self.shards.values()))

    def __getitem__(self, name: str) -> "Tensor":
        if name not in self.header:
            raise KeyError(name)
        return self.shards[self.index[name]][name]
