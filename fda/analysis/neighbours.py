"""Anchors among real inputs: the nearest real inputs of each anchor, and a map of both.

A block's input counts as the mean of its tokens less the mean real input: without that shift all inputs share one large
direction and look alike. Only directions are compared, because the angle loss ignores the length of an anchor.
"""

import torch
from torch import Tensor


def directions(x: Tensor, centre: Tensor) -> Tensor:
    """(n, tokens, d) → unit vectors (n, d), float64, along the mean over tokens less `centre` (d,). Zeros stay zeros."""
    return torch.nn.functional.normalize(x.detach().double().mean(dim=1) - centre, dim=1)


def centre_of(real: Tensor) -> Tensor:
    """(m, tokens, d) → the mean real token (d,), float64: the `centre` of `directions`."""
    return real.detach().double().mean(dim=(0, 1))


def nearest(anchors: Tensor, real: Tensor, count: int = 5) -> tuple[Tensor, Tensor]:
    """(indices, cosines), each (n, count): the real inputs nearest to each anchor, nearest first. All are unit vectors.

    ValueError if there are fewer than `count` real inputs.
    """
    if len(real) < count:
        raise ValueError(f"{count} neighbours of {len(real)} real inputs")
    cosines, indices = (anchors @ real.T).topk(count, dim=1)
    return indices, cosines


def nearest_others(real: Tensor) -> Tensor:
    """(m,): the cosine of each real input to the nearest other one. `real` (m, d) are unit vectors, m at least 2."""
    return (real @ real.T).fill_diagonal_(-1).amax(dim=1)


def plane_map(anchors: Tensor, real: Tensor) -> Tensor:
    """(n + m, 2): the anchors, then the real inputs, in the first two principal components of both together.

    The largest entry of each component is made positive, so that a repeated run gives the same map.
    """
    points = torch.cat([anchors, real])
    points = points - points.mean(dim=0)
    _, vectors = torch.linalg.eigh(points.T @ points)
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return points @ axes
