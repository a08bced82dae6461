"""What the construction of a unit has to say, one update at a time, and how a run's worker writes it down.

A unit may be computed in another process or on another machine: an update holds everything that the store and the run's
folder get of it, and can be sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from fda.stages.work import Work
from fda.store.files import anchors_file, save_tensors
from fda.store.records import UnitKey

Scalars = list[tuple[str, int, float]]


@dataclass
class UnitUpdate:
    """New numbers of one unit.

    `columns`: as `Store.update_unit`; `rows`: (series, step, value); `snapshots`: (step, kind, values). `anchors`: the
    finished anchors (n, tokens, d) and the metadata of their file. `anew`: forget all numbers of the unit, then set the
    columns; such an update has no numbers.
    """

    key: UnitKey
    columns: dict[str, Any] = field(default_factory=dict)
    rows: Scalars = field(default_factory=list)
    snapshots: list[tuple[int, str, np.ndarray]] = field(default_factory=list)
    anchors: tuple[Tensor, Mapping[str, object]] | None = None
    anew: bool = False


def write_update(work: Work, update: UnitUpdate) -> None:
    """Write an update to the run's store; finished anchors to their file first, so that a done unit has a whole file."""
    store, run_id, key = work.store, work.run_id, update.key
    if update.anew:
        store.reset_unit(run_id, key, **update.columns)
        return
    if update.anchors is not None:
        anchors, metadata = update.anchors
        path = anchors_file(work.folder, key.name, key.block)
        save_tensors(path, {"anchors": anchors}, metadata)
        work.keep(path)
    for step, kind, values in update.snapshots:
        store.add_snapshot(run_id, key, step, kind, values)
    store.add_scalars(run_id, key, update.rows, **update.columns)
