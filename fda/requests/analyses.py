"""Which panels of the view Analyses a run can have, and the helper run that computes them. Imports no torch."""

from collections.abc import Sequence

from fda.errors import UserError
from fda.store.analyses import PANELS, Panel
from fda.store.records import Run
from fda.store.spec import AnalysisSettings, RunSpec

OF_METHODS: tuple[Panel, ...] = (
    "over_accumulation",
    "alignment",
    "drift",
    "tasks_added",
)  # panels that look at merged models


def panels_of(run: Run) -> tuple[Panel, ...]:
    """The panels that fit the run; none for a landscape."""
    if run.spec.landscape is not None:
        return ()
    return tuple(panel for panel in PANELS if panel not in OF_METHODS or run.spec.methods)


def asked_panels(run: Run, names: Sequence[str]) -> tuple[Panel, ...]:
    """The panels of these names; all that fit for none. UserError for an unknown name or a run that cannot have them."""
    if run.active:
        raise UserError(f"run {run.run_id} is {run.state}: analyse it when it is done.")
    fitting = panels_of(run)
    if unknown := [name for name in names if name not in PANELS]:
        raise UserError(f"there is no panel {unknown[0]!r}: choose from {', '.join(PANELS)}.")
    if unfit := [name for name in names if name not in fitting]:
        raise UserError(
            f"run {run.run_id} merges nothing that panel {unfit[0]} could look at: name a run with methods."
        )
    if not fitting:
        raise UserError(f"run {run.run_id} is a landscape: name the run that it is of, {run.spec.anchors_run}.")
    return tuple(panel for panel in fitting if not names or panel in names)


def analysis_spec(run: Run, panels: Sequence[Panel], device: str | None = None) -> RunSpec:
    """Computing panels for a finished run; `device`: None for the run's own."""
    return RunSpec(
        zoo=run.spec.zoo,
        zoo_path=run.spec.zoo_path,
        tasks=run.spec.tasks,
        device=device or run.spec.device,
        helper=AnalysisSettings(run_id=run.run_id, panels=tuple(panels)),
    )
