"""Heads for a task that has none: class means, or a linear probe, of the base's features on the training split."""

import torch
from torch import Tensor
from torch.nn import functional

from fda.architectures.model import Model
from fda.cancel import NEVER, Cancel
from fda.errors import UserError
from fda.tasks.data import Split
from fda.tasks.heads import Head

BATCH = 64  # samples of a forward pass
RIDGE = 1e-3  # penalty on the squared weights of a probe, on standardised features
SCALES = tuple(2.0**power for power in range(-4, 13))  # of the logits of class means; a large scale is a sharp answer


def classes_of(split: Split) -> int:
    """The number of classes of a split's labels. UserError if these are not classes, or all of one class."""
    labels = split.labels()
    if split.label is None or labels.is_floating_point():
        raise UserError(f"{split.where}: finetuning needs a column of classes: name it in `data.label`.")
    count = max(int(labels.max()) + 1, len(split.names or ()))
    if count < 2:
        raise UserError(f"{split.where}: all samples have one class: give a split with two classes or more.")
    return count


@torch.no_grad()
def features(model: Model, split: Split, device: str, cancel: Cancel = NEVER) -> Tensor:
    """The model's own embedding of every sample of the split, (n, features), on the CPU."""
    embeddings = []
    for batch, _ in split.batches(BATCH):
        embeddings.append(model.features(batch.to(device)).float().cpu())
        cancel.check()
    return torch.cat(embeddings)


def mean_head(x: Tensor, labels: Tensor, classes: int) -> Head:
    """The nearest class mean as a linear head: logits s (x·m_c − |m_c|² / 2), with the scale s of the least cross-entropy.

    These are, but for a constant, −s |x − m_c|² / 2. x (n, features), labels (n,). A class without samples has mean zero.
    """
    one_hot = functional.one_hot(labels, classes).float()
    means = one_hot.T @ x / one_hot.sum(dim=0).clamp(min=1)[:, None]
    logits = x @ means.T - (means**2).sum(dim=1) / 2
    scale = min(SCALES, key=lambda scale: functional.cross_entropy(scale / x.var(dim=0).sum() * logits, labels))
    scale = scale / x.var(dim=0).sum()
    return Head(scale * means, -scale * (means**2).sum(dim=1) / 2, None)


def probe_head(x: Tensor, labels: Tensor, classes: int) -> Head:
    """A linear probe: multinomial logistic regression on standardised features, with a ridge penalty, by L-BFGS."""
    centre, spread = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    standard = (x - centre) / spread
    weight, bias = torch.zeros(classes, x.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(functional.linear(standard, weight, bias), labels) + RIDGE * (weight**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    raw_weight = weight.detach() / spread
    return Head(raw_weight, bias.detach() - raw_weight @ centre, None)
