"""Score a model on a task: the share of samples whose largest logit is the label's."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fda.models.vision import VisionModel
from fda.tasks.data import Split
from fda.tasks.heads import Head


@dataclass(frozen=True)
class Accuracy:
    value: float  # 0..1
    count: int


@torch.no_grad()
def evaluate(
    model: VisionModel, head: Head, split: Split, device: str = "cpu", pulse: Callable[[], None] = lambda: None
) -> Accuracy:
    """Accuracy of the weights that are in `model` (already on `device`); `pulse` is called after each batch."""
    head = head.to(device)
    correct = 0
    for images, labels in split.batches():
        logits = head.logits(model.features(images.to(device)))
        correct += int((logits.argmax(dim=-1).cpu() == labels).sum())
        pulse()
    return Accuracy(correct / len(split), len(split))
