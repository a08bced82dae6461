"""The paper's construction loop, written down plainly: what every path of ours is measured against.

AdamW on the anchors, the block as its library wrote it, eager float32, the gradient of a gradient by autograd, the loss read
back at every step. Kept apart from `fda.anchors`, so that making that faster does not make this faster too.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cosine_similarity

from fda.architectures.blocks import Block

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-2


def reference_loop(
    block: Block,
    base: Mapping[str, Tensor],
    finetuned: Mapping[str, Tensor],
    live: tuple[str, ...],
    start: Tensor,
    steps: int,
) -> Iterator[float]:
    """The angle loss (mean over `live` of 1 − cos) before each step, from `start` (n, tokens, d)."""
    theta0 = {name: tensor.clone().requires_grad_() for name, tensor in base.items()}
    x = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(steps):
        with sdpa_kernel(SDPBackend.MATH):
            ours, theirs = block(theta0, x), block(finetuned, x)
            score = cosine_similarity(ours.flatten(1), theirs.flatten(1)).mean()
            gradients = dict(
                zip(theta0, torch.autograd.grad(score, list(theta0.values()), create_graph=True), strict=True)
            )
            loss = sum(
                1 - cosine_similarity(gradients[name].flatten(), (finetuned[name] - base[name]).flatten(), dim=0)
                for name in live
            )
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        yield loss.item() / len(live)
