"""Measure the seconds and the peak memory of a piece of work."""

import threading
import time

import psutil
import torch


class Meter:
    """Context manager. `peak_bytes`: the GPU's peak allocation on cuda, elsewhere the process's largest resident size."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> "Meter":
        self._began = time.perf_counter()
        self._over = threading.Event()
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._over.set()
        if self.device.startswith("cuda"):
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)
        else:
            self._sampler.join()

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
            if self._over.wait(0.02):
                return
