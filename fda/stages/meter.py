"""Measure the seconds and the peak memory of a piece of work."""

import threading
import time
from typing import Any

import psutil
import torch


def device_module(device: str) -> Any | None:
    """torch's module for a device that counts its own memory, `torch.cuda` for cuda:0; None for a CPU and for Apple's GPU."""
    return None if device.startswith(("cpu", "mps")) else torch.get_device_module(device)


def wait(device: str) -> None:
    """Until the device has done what it was asked for, before a clock is read."""
    if (module := device_module(device)) is not None:
        module.synchronize(device)


class Meter:
    """Context manager. `peak_bytes`: the process's peak on a GPU that counts it, elsewhere its largest resident size.

    Meters of a device may lie within each other, but not be open in two threads.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> "Meter":
        self._began = time.perf_counter()
        self._over = threading.Event()
        if (module := device_module(self.device)) is not None:
            for outer in _open:  # the device counts one peak, which this meter begins anew
                outer.peak_bytes = max(outer.peak_bytes, module.max_memory_allocated(outer.device))
            _open.append(self)
            module.reset_peak_memory_stats(self.device)
        else:
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._over.set()
        if (module := device_module(self.device)) is not None:
            _open.remove(self)
            self.peak_bytes = max(self.peak_bytes, module.max_memory_allocated(self.device))
        else:
            self._sampler.join()

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
            if self._over.wait(0.02):
                return


_open: list[Meter] = []  # meters of devices, the outermost first
