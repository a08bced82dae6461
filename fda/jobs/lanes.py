"""Do independent pieces of work side by side: on a CPU one lane a core, each with one thread; on an accelerator one lane.

One thread a lane is faster than many threads in one lane at these sizes, does not stall when another process uses a core,
and makes a unit's result independent of the number of cores. A caller whose GPU memory holds more asks for two lanes:
one loads, measures and writes while the other uses the device.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import torch

from fda.cancel import Cancel

MOST_LANES = 8
_most = MOST_LANES


def take_one_lane() -> None:
    """From now on this process does one piece at once on the CPU: it has one core of a node of a cluster."""
    global _most
    _most = 1


def lane_count(device: str) -> int:
    """How many pieces run at once on a device."""
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _most)


def run_lanes(
    pieces: Iterable[Callable[[Cancel], None]],
    device: str,
    cancel: Cancel,
    *,
    lanes: int | None = None,
) -> None:
    """Call every piece with a token of its own, which also asks it to end once another piece has failed.

    `lanes`: how many at once; by default the device's `lane_count`. Raises the first failure after all lanes have come to rest.
    """
    failed = threading.Event()

    def guarded(piece: Callable[[Cancel], None]) -> None:
        if not failed.is_set():
            piece(Cancel(lambda: failed.is_set() or cancel.requested()))

    torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
    with ThreadPoolExecutor(lanes or lane_count(device), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(guarded, piece) for piece in pieces]
        wait(futures, return_when=FIRST_EXCEPTION)
        failing = [future for future in futures if future.done() and future.exception() is not None]
        if failing:
            failed.set()
            wait(futures)
            try:
                failing[0].result()  # raises
            finally:
                del futures, failing  # a cycle through the exception's frames would keep the tensors of what failed
