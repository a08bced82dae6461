"""Independent pieces of a merge on all cores: decompositions of single matrices barely use more than one core each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
END = object()

MOST_LANES = 4
LARGE = 1 << 26  # entries (268 MB) beyond which a matrix' pieces of work are better done one after the other


def side_by_side(pieces: Iterable[Callable[[], Result]], *, most: int = MOST_LANES) -> Iterator[Result]:
    """Results of independent pieces of work, in order, computed on all cores (at most `most`), one thread each.

    A piece is taken from `pieces` only when a lane is free, so that memory grows with the lanes. One thread a piece makes a
    result independent of the number of cores.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lanes = min(cores, most)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for piece in pieces:
                waiting.append(pool.submit(piece))
                del piece
                if len(waiting) >= lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def on_one_thread(results: Iterator[Result]) -> Iterator[Result]:
    """The same results, each computed with one of torch's threads; in between torch has as many as before.

    For work made of many small steps: threads that wait for each other at each step make it several times slower where
    another process wants a core.
    """
    import torch

    while True:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result = next(results, END)
        finally:
            torch.set_num_threads(before)
        if result is END:
            return
        yield result  # type: ignore[misc]
