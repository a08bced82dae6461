"""A run's progress on the command line, read from the store: bars on a terminal, otherwise a line for each phase and unit."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from fda.measures import STAGES
from fda.report.phases import Phase, current, in_words, run_phases
from fda.store.store import Store, Unit, UnitKey

WIDTH = 44  # characters before a bar: fits the longest method name, so that the bar does not move
ENDED = ("done", "failed")
Moment = tuple[list[Unit], list[Phase]]
SCORING_SECONDS = 30.0  # between two lines about a method that is being scored


@contextmanager
def show_progress(store: Store, run_id: str) -> Iterator[None]:
    """Show the run's progress on stderr while the body runs, leaving out units that were done before."""
    over = threading.Event()
    before = {unit.key for unit in store.units(run_id) if unit.state == "done"}
    draw = _bars if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=draw, args=(lambda: _moment(store, run_id), over, before), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def _moment(store: Store, run_id: str) -> Moment:
    units = store.units(run_id)
    return units, run_phases(store, store.run(run_id), units, time.time())


def doing(title: str, units: Sequence[Unit]) -> str:
    """A stage in words: how many of its units ended, and the method that is running."""
    ended = sum(unit.state in ENDED for unit in units)
    failed = sum(unit.state == "failed" for unit in units)
    unchanged = sum(unit.unchanged for unit in units)
    running = next((unit.key.name for unit in units if unit.state == "running" and unit.key.stage != "construct"), None)
    words = f"{title} {ended}/{len(units)}" + (f", {failed} failed" if failed else "")
    words += f", {unchanged} unchanged" if unchanged else ""
    return f"{words}: {running}" if running else words


def line(unit: Unit, ended: int, count: int) -> str:
    """A line about a unit that ended."""
    part = "tile" if unit.key.stage == "landscape" else "block"
    where = unit.key.name if unit.key.block < 0 else f"{unit.key.name} {part} {unit.key.block}"
    loss = f" loss {unit.loss:.4f}" if unit.loss is not None else ""
    message = f": {unit.message}" if unit.message else ""
    return f"{unit.key.stage} {where}: {unit.state} ({ended} of {count}){loss}{message}"


def moved(unit: Unit) -> str:
    """A line about a method that is being scored."""
    return f"{unit.key.stage} {unit.key.name}: {unit.step} of {unit.steps} samples"


class _Bars(Progress):
    """Bars below a line of words."""

    words = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield Text(self.words)
        yield self.make_tasks_table(self.tasks)


def _bars(moment: Callable[[], Moment], over: threading.Event, before: set[UnitKey]) -> None:
    columns = (TextColumn(f"{{task.description:<{WIDTH}}}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    with _Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bars: dict[str, TaskID] = {}
        last = False
        while not last:
            last = over.wait(0.5)
            now, phases = moment()
            progress.words = in_words(phases) if current(phases) is not None else ""
            for stage, title in STAGES.items():
                of_stage = [unit for unit in now if unit.key.stage == stage]
                if of_stage and stage not in bars:
                    bars[stage] = progress.add_task(title)
                if of_stage:
                    finished = sum(unit.steps if unit.state in ENDED else unit.step for unit in of_stage)
                    total = sum(unit.steps for unit in of_stage)
                    progress.update(bars[stage], description=doing(title, of_stage), total=total, completed=finished)


def _lines(moment: Callable[[], Moment], over: threading.Event, before: set[UnitKey]) -> None:
    reported, begun = set(before), set()
    last, printed = False, time.monotonic()
    while not last:
        last = over.wait(0.5)
        now, phases = moment()
        if (phase := current(phases)) is not None and phase.name not in begun:
            begun.add(phase.name)
            print(in_words(phases), file=sys.stderr, flush=True)
        for unit in sorted(now, key=lambda unit: tuple(STAGES).index(unit.key.stage)):  # in the order of the stages
            if unit.state in ENDED and unit.key not in reported:
                reported.add(unit.key)
                keys = [other.key for other in now if other.key.stage == unit.key.stage]
                print(line(unit, sum(key in reported for key in keys), len(keys)), file=sys.stderr, flush=True)
        if time.monotonic() - printed >= SCORING_SECONDS:
            printed = time.monotonic()
            for unit in now:
                if unit.key.stage == "evaluate" and unit.state == "running" and unit.step:
                    print(moved(unit), file=sys.stderr, flush=True)
