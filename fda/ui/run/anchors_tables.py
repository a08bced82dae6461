"""The numbers of a unit's anchors as tables: everything that its figures draw, for every run shown, unthinned."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fda.figures.anchors import Record
from fda.measures import COSINES, SCALAR_KEYS, SHARES, SIMILARITY_BY_SHARE, SPECTRUM
from fda.report.anchors import UnitRecord
from fda.store.store import Store
from fda.ui.run.anchors_real import Neighbours


def measures_table(store: Store, runs: Mapping[str, str], task: str, block: int) -> pd.DataFrame:
    """A row per run and step, a column per measure. `runs`: run id → name."""
    parts = []
    for run_id, name in runs.items():
        columns = {}
        names = store.scalar_names(run_id)
        for measure in (*SCALAR_KEYS, *(key for key in names if key.startswith(COSINES.key))):
            for steps, values in store.scalars(run_id, measure, names=[task], blocks=[block], points=None).values():
                columns[measure] = pd.Series(values, index=steps)
        table = pd.DataFrame(columns).rename_axis("step").reset_index()
        table.insert(0, "name", name)
        table.insert(0, "run", run_id)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def snapshots_table(records: Sequence[UnitRecord], kind: str) -> pd.DataFrame:
    """A row per run and step of `spectrum`, `similarity_by_share` or `angles`; a column per index from 1, or share of d."""
    parts = []
    for record in records:
        if (snapshots := record.snapshots.get(kind)) is not None:
            columns = SHARES if kind == SIMILARITY_BY_SHARE.key else range(1, snapshots.values.shape[1] + 1)
            parts.append(_rows(snapshots, [str(column) for column in columns]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["name", "step"])


def across_table(store: Store, run_id: str, *, names: list[str] | None, blocks: list[int] | None) -> pd.DataFrame:
    """The spectra of several units of one run: a row per unit and step."""
    parts = []
    for key, (steps, values) in store.snapshots(run_id, SPECTRUM.key, names=names, blocks=blocks).items():
        table = _rows(Record(key.name, steps, values), [str(index) for index in range(1, values.shape[1] + 1)])
        table.insert(1, "block", key.block)
        parts.append(table.rename(columns={"name": "task"}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["task", "block", "step"])


def nearest_table(neighbours: Neighbours) -> pd.DataFrame:
    """A row per anchor and neighbour among the real inputs."""
    count, near = neighbours.nearest.shape
    indices = neighbours.nearest.ravel()
    table = pd.DataFrame(
        {
            "anchor": np.repeat(np.arange(count), near),
            "rank": np.tile(np.arange(1, near + 1), count),
            "sample": [neighbours.samples.indices[index] for index in indices],
            "split": neighbours.samples.split,
            "label": [neighbours.samples.labels[index] for index in indices],
            "cosine": neighbours.cosines.ravel(),
        }
    )
    if neighbours.samples.texts is not None:
        table["text"] = [neighbours.samples.texts[index] for index in indices]
    return table


def map_table(neighbours: Neighbours) -> pd.DataFrame:
    """A row per point of the map."""
    samples = neighbours.samples
    kinds = ["anchor"] * len(neighbours.anchors) + ["real"] * len(neighbours.real)
    both = np.concatenate([neighbours.anchors, neighbours.real])
    return pd.DataFrame(
        {
            "kind": kinds,
            "number": [*range(len(neighbours.anchors)), *samples.indices],
            "label": [""] * len(neighbours.anchors) + list(samples.labels),
            "x": both[:, 0],
            "y": both[:, 1],
        }
    )


def _rows(record: Record, columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(record.values, columns=list(columns))
    table.insert(0, "step", record.steps)
    table.insert(0, "name", record.run)
    return table
