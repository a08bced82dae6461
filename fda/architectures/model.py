"""The interface of a zoo's models, whichever library built them: blocks, fitting and loading weights, features.

`fda.architectures.open_clip_model` and `fda.architectures.transformers_model` implement it; `fda.zoos.kinds` chooses.
Heads are in `fda.tasks.heads`.
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
    """An architecture without weights; `load` copies weights into it.

    `config`: its library's own; `identity`: a hash of it. `layout`: how query, key and value are stored; `images`: whether it
    takes images, else texts. `transform`: prepares samples; reading it is a UserError if the checkpoint has no processor or
    tokenizer. `token_source`: for an image model, describes the images on which `tokens` is counted; empty if any number
    works.
    """

    module: nn.Module
    config: Any
    blocks: tuple[Block, ...]
    layout: str
    kind: str
    identity: str
    images: bool = True
    transform: Transform
    notes: tuple[str, ...] = ()  # on disagreements of the base's config and tensors, a sentence each
    token_source: str = ""

    @property
    def width(self) -> int:
        return self.blocks[0].width

    @property
    def tokens(self) -> int:
        return self.blocks[0].tokens

    @property
    def embeddings(self) -> str | None:
        """The name of a text model's token embeddings (tokens × d), to which a head may be tied."""
        return None

    def rename(self, name: str) -> str:
        """Return the installed library's name of a tensor that a checkpoint of another version calls `name`."""
        return name

    @property
    def in_by_out(self) -> frozenset[str]:
        """Names of the linear weights that are stored as in × out, where methods expect out × in."""
        return in_by_out(self.module)

    @abstractmethod
    def fit(self, weights: Weights, *, base: Weights | None = None) -> Weights:
        """Return a checkpoint's weights under this architecture's names; `base`: the fitted base, for a task's checkpoint.

        UserError if this is not a checkpoint of this architecture.
        """

    @abstractmethod
    def may_lack(self, name: str) -> bool:
        """Whether a checkpoint may lack this tensor: a base's is then not merged, a task's is then the base's."""

    @abstractmethod
    def load(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Copy weights from `fit` into the module, one tensor at a time, and return the module."""

    def to(self, device: str | torch.device) -> None:
        self.module.to(device)

    @abstractmethod
    def outputs(self, batch: Batch) -> Any:
        """Return the model's whole output for a batch, in the form that its library's heads take."""

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """Return (batch, embedding): the model's own embedding; CLIP's is after the visual projection."""
