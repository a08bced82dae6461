"""Progress of a run on the command line, read from the store: bars on a terminal, a plain line a unit in a pipe."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fda.runs.store import Store, Unit

STAGES = {"construct": "constructing anchors", "adapt": "adapting blocks", "evaluate": "scoring methods"}


@contextmanager
def show_progress(store: Store, run_id: str) -> Iterator[None]:
    """Show the run's progress on stderr while the body runs."""
    over = threading.Event()
    draw = _bars if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=draw, args=(lambda: store.units(run_id), over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _bars(units: Callable[[], list[Unit]], over: threading.Event) -> None:
    columns = (TextColumn("{task.description:<22}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bars: dict[str, int] = {}
        last = False
        while not last:
            last = over.wait(0.5)
            for stage, title in STAGES.items():
                own = [unit for unit in units() if unit.key.stage == stage]
                if own and stage not in bars:
                    bars[stage] = progress.add_task(title)
                if own:
                    finished = sum(unit.steps if unit.state == "done" else unit.step for unit in own)
                    progress.update(bars[stage], total=sum(unit.steps for unit in own), completed=finished)


def _lines(units: Callable[[], list[Unit]], over: threading.Event) -> None:
    told: set = set()
    last = False
    while not last:
        last = over.wait(0.5)
        for unit in units():
            if unit.state in ("done", "failed") and unit.key not in told:
                told.add(unit.key)
                where = unit.key.name if unit.key.block < 0 else f"{unit.key.name} block {unit.key.block}"
                loss = f" loss {unit.loss:.4f}" if unit.loss is not None else ""
                print(f"{unit.key.stage} {where}: {unit.state}{loss}{unit.message or ''}", file=sys.stderr, flush=True)
