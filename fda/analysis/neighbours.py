"""Anchors among real inputs: which real inputs each anchor points towards, and a map of both.

An input of a block is its tokens' mean, seen from the mean real input: without that shift all inputs share one large
direction and look alike. Only directions are compared, for the length of an anchor is free (the angle loss ignores it).
"""

import torch
from torch import Tensor


def directions(x: Tensor, centre: Tensor) -> Tensor:
    """(n, tokens, d) → unit vectors (n, d), float64: the mean over tokens less `centre` (d,). Zeros stay zeros."""
    return torch.nn.functional.normalize(x.detach().double().mean(dim=1) - centre, dim=1)


def centre_of(real: Tensor) -> Tensor:
    """(m, tokens, d) → the mean real token (d,), float64: what `directions` looks from."""
    return real.detach().double().mean(dim=(0, 1))


def nearest(anchors: Tensor, real: Tensor, count: int = 5) -> tuple[Tensor, Tensor]:
    """Of unit vectors (n, d) and (m, d): the places (n, count) of the nearest of `real`, nearest first, and their cosines.

    ValueError if there are fewer than `count` real inputs.
    """
    if len(real) < count:
        raise ValueError(f"{count} neighbours of {len(real)} real inputs")
    cosines, places = (anchors @ real.T).topk(count, dim=1)
    return places, cosines


def plane_map(anchors: Tensor, real: Tensor) -> Tensor:
    """(n + m, 2): the anchors, then the real inputs, in the first two principal components of both together.

    Signs are fixed by making the largest entry of each component positive, so that a repeated run gives the same map.
    """
    both = torch.cat([anchors, real])
    both = both - both.mean(dim=0)
    _, vectors = torch.linalg.eigh(both.T @ both)
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return both @ axes
