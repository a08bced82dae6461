"""Remove from tensor names the parts that training wrappers add: torch.compile, FSDP, checkpointing, data parallelism.

Such a part can be anywhere in a name (`model._orig_mod.layers.0._fsdp_wrapped_module.mlp.weight`). No wrapper changes a tensor.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fda.checkpoints.weights import TensorInfo, Weights
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = frozenset(
    (
        "_orig_mod",  # torch.compile
        "_fsdp_wrapped_module",
        "_fpw_module",  # FSDP before torch 2.0
        "_checkpoint_wrapped_module",
        "_forward_module",  # Lightning's strategies
        "module",  # DataParallel, DistributedDataParallel, DeepSpeed
    )
)


class UnwrappedWeights(Weights):
    """A view of `weights`; `names`: name without wrappers → name in `weights`."""

    def __init__(self, weights: Weights, names: Mapping[str, str]) -> None:
        self.weights, self.names, self.path = weights, dict(sorted(names.items())), weights.path

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        return {name: self.weights.header[wrapped] for name, wrapped in self.names.items()}

    @property
    def fingerprint(self) -> str:
        return self.weights.fingerprint

    @property
    def bytes(self) -> int:
        return self.weights.bytes

    @property
    def files(self) -> tuple[Path, ...]:
        return self.weights.files

    def __getitem__(self, name: str) -> "Tensor":
        return self.weights[self.names[name]]


def unwrapped(weights: Weights) -> Weights:
    """Return the weights under names without wrappers. UserError if two tensors would then share a name."""
    names: dict[str, str] = {}
    for name in weights:
        plain = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if plain in names:
            raise UserError(
                f"{weights.path} holds {names[plain]} and {name}, which are one tensor but for the wrapper in the name: "
                "save the model without its wrapper (`model.module`, `model._orig_mod`)."
            )
        names[plain] = name
    return weights if all(plain == name for plain, name in names.items()) else UnwrappedWeights(weights, names)
