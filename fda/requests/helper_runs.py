"""Runs that a page starts to answer a question: exports, downloads, surveys, previews, estimates, samples, analyses.

Whoever asks the same thing finds the same run. What one found lies in `result.json` of its folder; analyses of a run lie in the
folder of that run. Imports no torch.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fda.actor import Actor, acting_as
from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.store.analyses import ZOO_PANELS
from fda.store.records import HELPERS, Run
from fda.store.spec import (
    AnalysisSettings,
    EstimateSettings,
    ExamplesSettings,
    Helper,
    PreviewSettings,
    RunSpec,
    SurveySettings,
)
from fda.store.store import ALL, Store
from fda.zoos.hub import missing_models
from fda.zoos.stamps import stamps
from fda.zoos.zoo import Zoo

KEPT = 30  # helper runs that have ended
HOUSEKEEPING = Actor("housekeeping", "admin")  # whoever starts a helper run does not delete those of others


def helper_spec(path: Path, zoo: Zoo, helper: Helper) -> RunSpec:
    """The spec of a run that does this for a zoo."""
    return RunSpec(zoo=zoo, zoo_path=str(path), tasks=zoo.task_names, helper=helper)


def survey_spec(path: Path, zoo: Zoo) -> RunSpec:
    """A survey of the zoo's files as they are now."""
    return helper_spec(path, zoo, SurveySettings(files=_digest(stamps(path, zoo))))


def preview_spec(path: Path, zoo: Zoo) -> RunSpec:
    """A preview of the zoo's files as they are now, and of what is still on the hub."""
    return helper_spec(path, zoo, PreviewSettings(files=_digest((stamps(path, zoo), missing_models(zoo)))))


def zoo_analysis_spec(path: Path, zoo: Zoo) -> RunSpec:
    """The panels that the zoo's files give as they are now."""
    return helper_spec(path, zoo, AnalysisSettings(panels=ZOO_PANELS, files=_digest(stamps(path, zoo))))


def examples_spec(run: Run) -> RunSpec:
    """Keeping test samples of a finished run."""
    helper = ExamplesSettings(run_id=run.run_id)
    return RunSpec(zoo=run.spec.zoo, zoo_path=run.spec.zoo_path, tasks=run.spec.tasks, helper=helper)


def estimate_spec(spec: RunSpec) -> RunSpec:
    """An estimate of what the run of `spec` costs."""
    return spec.model_copy(update={"helper": EstimateSettings()})


def newest(store: Store, kind: str, asked: Callable[[RunSpec], bool]) -> Run | None:
    """The newest run of this kind whose spec is `asked` for, in the state of its process."""
    runs = LiveStore(store.home).runs(kinds=(kind,), limit=ALL)
    return next((run for run in runs if asked(run.spec)), None)


def newest_of(store: Store, spec: RunSpec) -> Run | None:
    """The newest run of this very spec."""
    return newest(store, spec.kind, spec.__eq__)


def start_helper(store: Store, spec: RunSpec) -> str:
    """Start a run of this spec; the run that is at work on it already, if there is one. The run's id."""
    try:
        run_id = jobs.start(store, spec)
    except jobs.AtWork as at_work:
        return at_work.run_id
    _delete_old(store)
    return run_id


def share_done(store: Store, run: Run) -> float:
    """The share of the bytes that a download or an export is through with, 0..1."""
    return sum(unit.step / unit.steps for unit in store.units(run.run_id) if unit.steps)


def result_file(run_dir: Path) -> Path:
    return run_dir / "result.json"


def result(store: Store, run_id: str) -> dict[str, Any]:
    """What a survey or a preview found. UserError if its file is gone or damaged."""
    path = result_file(store.run_dir(run_id))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{path} cannot be read: `python -m fda runs delete {run_id}`, then it is made again."
        ) from None


def _delete_old(store: Store) -> None:
    """Keep the newest helper runs. What they wrote elsewhere (a folder, a cache) stays."""
    ended = [run for run in LiveStore(store.home).all_stored(kinds=HELPERS, limit=ALL) if not run.active]
    for run in ended[KEPT:]:
        if run.kind in HELPERS:
            with contextlib.suppress(UserError), acting_as(HOUSEKEEPING):  # another server was faster
                store.delete_run(run.run_id)


def _digest(state: object) -> str:
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]
