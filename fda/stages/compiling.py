"""Notices whether making a step compiles it, or only finds it in the compiler's cache; and remembers how long it took."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fda.requests.compiled import remember
from fda.stages.phases import PhaseTracker
from fda.store.spec import RunSpec

LOOK_SECONDS = 0.1


@contextmanager
def noticed(phases: PhaseTracker, spec: RunSpec, arithmetic: str) -> Iterator[None]:
    """While the body makes a step the run starts, from the compiler's first miss in its cache on it compiles."""
    over, before = threading.Event(), _misses()
    began = time.perf_counter()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if _misses() > before:
                entered.enter_context(phases.during("compile"))
                return

    with phases.during("start"), ExitStack() as entered:
        thread = threading.Thread(target=look, name="compiling", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
    phases.finish("start", "compile")
    remember(spec, arithmetic, time.perf_counter() - began, compiled=_misses() > before)


def _misses() -> int:
    """How often torch has not found in its cache what it was to compile. A cache that is off or bypassed misses always."""
    from torch._dynamo.utils import counters  # slow to import, and a run with plain steps does not need it

    ahead, graphs = counters["aot_autograd"], counters["inductor"]
    return ahead["autograd_cache_miss"] + ahead["autograd_cache_bypass"] + graphs["fxgraph_cache_miss"]
