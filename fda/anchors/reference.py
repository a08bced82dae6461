"""The paper's construction loop, written plainly: the baseline for the speed and the numbers of construction.

AdamW on the anchors, the library's own block code, eager float32, second derivatives by autograd, and the loss read back at
every step. Shares no code with the rest of `fda.anchors`, so that speeding up construction does not speed up the baseline.
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
    initial: Tensor,
    steps: int,
) -> Iterator[float]:
    """The angle loss (mean over `live` of 1 − cos) before each step, from the anchors `initial` (n, tokens, d)."""
    theta0 = {name: tensor.clone().requires_grad_() for name, tensor in base.items()}
    x = initial.clone().requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(steps):
        with sdpa_kernel(SDPBackend.MATH):
            outputs, targets = block(theta0, x), block(finetuned, x)
            score = cosine_similarity(outputs.flatten(1), targets.flatten(1)).mean()
            gradients = dict(
                zip(theta0, torch.autograd.grad(score, list(theta0.values()), create_graph=True), strict=True)
            )
            terms = [
                1 - cosine_similarity(gradients[name].flatten(), (finetuned[name] - base[name]).flatten(), dim=0)
                for name in live
            ]
            loss = sum(terms[1:], terms[0])
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        yield loss.item() / len(live)
