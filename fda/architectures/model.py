"""What every model of a zoo is, whichever library built it: blocks, weights put in and renamed, samples prepared, features.

`fda.architectures.open_clip_model` and `fda.architectures.transformers_model` implement it; `fda.zoos.kinds` chooses.
Heads are `fda.tasks.heads`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fda.architectures.blocks import Block
from fda.architectures.linears import in_by_out
from fda.architectures.transforms import Batch, Transform
from fda.checkpoints.weights import Weights


class Model(ABC):
    """An architecture whose weights are put in by `load`.

    `layout`: how query, key and value lie; `identity`: of its config; `images`: whether it takes images, else texts.
    `transform`: how samples are prepared; asking for it is a UserError if the checkpoint brings no processor or tokenizer.
    `token_source`: of an image model, the images whose tokens `tokens` counts, in words; empty where any number goes.
    """

    module: nn.Module
    blocks: tuple[Block, ...]
    layout: str
    kind: str
    identity: str
    images: bool = True
    transform: Transform
    notes: tuple[str, ...] = ()  # where the base's config and its tensors disagree, a sentence each
    token_source: str = ""

    @property
    def width(self) -> int:
        return self.blocks[0].width

    @property
    def tokens(self) -> int:
        return self.blocks[0].tokens

    @property
    def embeddings(self) -> str | None:
        """The name of the matrix of a text model's token embeddings (tokens × d), to which a head may be tied."""
        return None

    def rename(self, name: str) -> str:
        """What the installed library calls a tensor that a checkpoint of another version calls `name`."""
        return name

    @property
    def in_by_out(self) -> frozenset[str]:
        """The names of linear weights that are kept as in × out, where methods expect out × in."""
        return in_by_out(self.module)

    @abstractmethod
    def fit(self, weights: Weights, *, base: Weights | None = None) -> Weights:
        """A checkpoint's weights under this architecture's names; `base`: the fitted base, for a task's.

        UserError if it is no checkpoint of this architecture.
        """

    @abstractmethod
    def may_lack(self, name: str) -> bool:
        """Whether a base may be without this tensor, which then is not merged; of a task it is then the base's."""

    @abstractmethod
    def load(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Put weights of `fit` into the module, one tensor at a time; the module."""

    def to(self, device: str | torch.device) -> None:
        self.module.to(device)

    @abstractmethod
    def outputs(self, batch: Batch) -> Any:
        """All that the model gives for a batch, as its library's heads take it."""

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """(batch, embedding): what the model itself returns as its embedding; CLIP's is after the visual projection."""
