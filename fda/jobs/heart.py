"""The side thread of a worker: writes a beat every two seconds, measures the process, and polls for a stop request.

It is a thread of its own because one step of the work may take long: a long decomposition must not look dead. It waits for no
lock: the beat is a file of its own (`beats.py`), and measurements are dropped while the store is busy.
"""

import os
import sys
import threading
import time
import traceback

import psutil

from fda.jobs.beats import Beats
from fda.store.refusals import StoreBusy
from fda.store.store import Store

BEAT_SECONDS = 2.0
LISTEN_SECONDS = 0.5
LOCK_SECONDS = 0.25


class Heart:
    """Context manager around the work. Sets `stop` when a stop is requested or the run is no longer this process's."""

    def __init__(self, store: Store, run_id: str, stop: threading.Event, beats: Beats) -> None:
        self._store, self._run_id, self._stop, self._beats = store.waiting(LOCK_SECONDS), run_id, stop, beats
        self._over = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        due = time.monotonic()
        while True:
            try:
                if self._store.stop_requested(self._run_id):
                    self._stop.set()
                if time.monotonic() >= due:
                    due = time.monotonic() + BEAT_SECONDS
                    self._beats.beat()
                    if self._store.beat(self._run_id, os.getpid()):
                        self._measure()
                    else:
                        self._stop.set()
            except StoreBusy:
                pass  # the beat is written; the rest follows next time
            except Exception:  # such as a full disk: the work may go on, so the heart must
                traceback.print_exc()
            if self._over.wait(LISTEN_SECONDS):
                return

    def _measure(self) -> None:
        """Into `system`: memory_bytes and cpu_cores of this process; device_bytes and device_total_bytes on cuda."""
        run = self._store.stored(self._run_id)
        if run.state == "queued":
            return
        values = {
            "memory_bytes": float(self._process.memory_info().rss),
            "cpu_cores": self._process.cpu_percent() / 100,
        }
        cuda = sys.modules.get("torch.cuda")  # the work imports torch once it has the device; this thread never does
        if (
            cuda is not None
            and run.device.startswith("cuda")
            and hasattr(cuda, "is_initialized")
            and cuda.is_initialized()
        ):
            free, total = cuda.mem_get_info(run.device)
            values |= {"device_bytes": float(total - free), "device_total_bytes": float(total)}
        self._store.add_system(self._run_id, values)
