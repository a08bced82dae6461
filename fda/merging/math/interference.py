"""Adam on the quadratic that WUDI and OptMerge lower."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def descended(initial: "Tensor", gram: "Tensor", slope: "Tensor", lr: float, steps: int) -> "Tensor":
    """M (m × n) after `steps` of Adam from M0 = `initial` on the quadratic with gradient 2 [(M − M0) G + slope].

    `gram`: G, n × n; `slope`: m × n, half the gradient at M0. One n × n product a step.
    """
    import torch

    move = torch.zeros_like(initial)
    optimizer = torch.optim.Adam([move], lr=lr)
    for _ in range(steps):
        move.grad = 2 * (move @ gram + slope)
        optimizer.step()
    return initial + move
