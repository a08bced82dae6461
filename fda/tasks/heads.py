"""A task's frozen head, which turns a model's output on a batch into logits.

A head comes from a head file (`Head` describes its tensors), from class names (`fda.tasks.zero_shot`), or from the task's
checkpoint (`fda.tasks.own_heads`). Heads are never merged: each task keeps its head in front of every model.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import torch
from torch import Tensor

from fda.architectures.model import Model
from fda.architectures.transforms import Batch
from fda.checkpoints.readers.modules import head_tensors, is_head
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.readers.torch_files import PickledCheckpoint
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.zoos.survey import OpenZoo
from fda.zoos.zoo import ZooTask

HEAD_TENSORS = ("weight", "bias", "logit_scale")


class TaskHead(Protocol):
    """The interface of a head. `causal`: its logits (batch, tokens, vocabulary) predict next tokens, not classes."""

    @property
    def causal(self) -> bool: ...

    def answer(self, model: Model, batch: Batch) -> Tensor:
        """Logits with the weights loaded in `model`: (batch, classes), or (batch, 1) for a number."""
        ...

    def to(self, device: torch.device | str) -> "TaskHead": ...

    @property
    def fingerprint(self) -> str:
        """Changes with its weights and with its computation."""
        ...


@dataclass(frozen=True)
class Head:
    """weight: (classes, features); bias: (classes,) or None; logit_scale: scalar or None."""

    weight: Tensor
    bias: Tensor | None
    logit_scale: Tensor | None
    causal = False

    def logits(self, features: Tensor) -> Tensor:
        """(batch, features) → (batch, classes). With a logit scale, features and rows are L2-normalised first."""
        if self.logit_scale is not None:
            features = torch.nn.functional.normalize(features, dim=-1)
            return self.logit_scale * features @ torch.nn.functional.normalize(self.weight, dim=-1).T
        return torch.nn.functional.linear(features, self.weight, self.bias)

    def answer(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch)
        if features.shape[-1] != self.weight.shape[1]:
            raise UserError(
                f"the head is made for {self.weight.shape[1]} features, but the model gives {features.shape[-1]}: "
                "give the head that was made for it."
            )
        return self.logits(features)

    def to(self, device: torch.device | str) -> "Head":
        bias = None if self.bias is None else self.bias.to(device)
        scale = None if self.logit_scale is None else self.logit_scale.to(device)
        return Head(self.weight.to(device), bias, scale)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by their names in a head file."""
        named = {"weight": self.weight, "bias": self.bias, "logit_scale": self.logit_scale}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @property
    def fingerprint(self) -> str:
        parts = (self.weight, self.bias, self.logit_scale)
        return sha256(b"|".join(b"" if t is None else t.cpu().numpy().tobytes() for t in parts)).hexdigest()


def task_head(opened: OpenZoo, name: str) -> TaskHead:
    """The head that the zoo file names for a task, by default the checkpoint's. UserError if there is none."""
    task = opened.zoo.task(name)
    if isinstance(task.head, str):
        return load_head(task)
    if task.head is not None:
        from fda.tasks.zero_shot import zero_shot_head

        return zero_shot_head(opened, task.head.zero_shot)
    if opened.model.kind == "open_clip":
        return load_head(task)  # raises: open_clip's checkpoints hold no head
    from fda.tasks.own_heads import own_head

    return own_head(opened, name)


def head_file(task: ZooTask) -> Weights:
    """Open a task's head file; only its header is read. UserError as `load_head`."""
    if not isinstance(task.head, str):
        raise UserError(f"task {task.name!r} names no head file: give `head` the path of a safetensors file.")
    file = open_weights(task.head)
    if "weight" not in file or len(file.header["weight"].shape) != 2:
        raise UserError(f"{file.path} is not a head: it needs a tensor `weight` of shape (classes, features).")
    return file


def load_head(task: ZooTask) -> Head:
    """Read a task's head file. UserError if the task names none, or if its tensors are not those of a head."""
    file = head_file(task)
    tensors = head_tensors(file) if isinstance(file, PickledCheckpoint) and is_head(file) else file
    if unexpected := [name for name in tensors if name not in HEAD_TENSORS]:
        raise UserError(
            f"{file.path} is not a head: it holds {', '.join(unexpected[:3])} too, where a head has {', '.join(HEAD_TENSORS)}."
        )
    if "bias" in tensors and "logit_scale" in tensors:
        raise UserError(f"{file.path} is not a head: a head with `logit_scale` has no `bias`: leave one out.")
    bias, scale = (tensors[name].float() if name in tensors else None for name in ("bias", "logit_scale"))
    return Head(tensors["weight"].float(), bias, scale)
