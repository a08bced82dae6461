"""Compute panels of the view Analyses for a finished run, inside the worker of a helper run, and keep them with that run."""

from collections.abc import Callable, Sequence

import torch

from fda.cancel import Cancel
from fda.errors import UserError
from fda.stages.covariance import covariance_tables
from fda.stages.disentanglement import disentanglement_tables
from fda.stages.drift import drift_tables
from fda.stages.execute import resolve_device
from fda.stages.interference import interference_tables
from fda.stages.merged_updates import merged_update_tables
from fda.stages.tasks_added import tasks_added_tables
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, analysis_file, save_table
from fda.store.store import Store
from fda.tasks.image_sizes import counted_on_data
from fda.zoos.survey import open_zoo

# A function returns every panel that its work gives, asked for or not.
COMPUTED_BY: dict[Panel, Callable[[Work], dict[Panel, Table]]] = {
    "covariance": covariance_tables,
    "interference": interference_tables,
    "over_accumulation": merged_update_tables,
    "alignment": merged_update_tables,
    "drift": drift_tables,
    "tasks_added": tasks_added_tables,
    "disentanglement": disentanglement_tables,
}


def analyse_run(store: Store, run_id: str, panels: Sequence[Panel], device: str, cancel: Cancel) -> None:
    """Compute the panels anew, one file each. UserError for one that cannot be computed, once the others are."""
    run = store.run(run_id)
    opened = counted_on_data(open_zoo(run.spec.zoo, run.spec.tasks))
    work = Work(store, run_id, run.spec, opened, resolve_device(device), cancel)
    if work.device == "cpu":
        torch.set_num_threads(1)
    problems = []
    for compute in dict.fromkeys(COMPUTED_BY[panel] for panel in panels):
        try:
            tables = compute(work)
        except UserError as error:
            problems.append(error)
            continue
        for panel, table in tables.items():
            save_table(analysis_file(work.folder, panel), table)
    if problems:
        raise problems[0]
