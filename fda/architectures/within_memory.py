"""Work on many samples in parts, as many at once as the device has memory for."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch

R = TypeVar("R")


class Samples(Protocol):
    """A sequence, a range or a batch."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Any: ...


S = TypeVar("S", bound=Samples)


class WithinMemory:
    """How many samples are worked on at once: `most` at first, half as many whenever the device has no memory for them."""

    def __init__(self, most: int = sys.maxsize) -> None:
        self.most = most

    def parts(self, samples: S, work: Callable[[S], R]) -> Iterator[R]:
        """`work(part)` for one part of `samples` after the other. torch.OutOfMemoryError if one sample alone does not fit."""
        done = 0
        while done < len(samples):
            part = samples[done : done + self.most]
            try:
                result = work(part)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.most = -(-len(part) // 2)
                continue
            yield result
            done += len(part)
