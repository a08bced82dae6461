"""Which stage a run is in and how long that still needs, from its units. Imports no streamlit."""

from collections.abc import Sequence

from fda.measures import STAGES, Stage
from fda.store.records import Unit

PREPARING = "preparing: the first run on a machine compiles its step, which takes about a minute"


def stage_words(stage: Stage, units: Sequence[Unit]) -> str:
    """What a run in this stage is doing; before the first step of construction, what it waits for."""
    return STAGES[stage] if stage != "construct" or any(unit.step for unit in units) else PREPARING


def time_left(units: Sequence[Unit]) -> float | None:
    """Seconds until the units of one stage are done; None before the first step is timed.

    Steps left × seconds per step (over all timed units) / units that run side by side.
    """
    timed = [unit for unit in units if unit.seconds and unit.step]
    steps = sum(unit.step for unit in timed)
    left = sum(unit.steps - unit.step for unit in units if unit.state not in ("done", "failed"))
    if not steps or any(unit.steps <= 0 for unit in units):
        return None
    lanes = max(1, sum(unit.state == "running" for unit in units))
    return left * sum(unit.seconds or 0 for unit in timed) / steps / lanes


def current_stage(units: Sequence[Unit]) -> Stage | None:
    """The first unfinished stage; None if all are finished."""
    for stage in STAGES:
        if any(unit.key.stage == stage and unit.state in ("pending", "running") for unit in units):
            return stage
    return None
