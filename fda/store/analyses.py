"""What analyses of a run found: one table a panel, `analyses/PANEL.json` in the run's folder. Imports no torch.

`{"columns": {NAME: [VALUE, …]}, "notes": [SENTENCE, …]}`. A number that does not exist is null in the file and NaN here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fda.atomic import write_text
from fda.errors import UserError

Panel = Literal[
    "covariance", "interference", "over_accumulation", "alignment", "drift", "tasks_added", "disentanglement"
]
PANELS: tuple[Panel, ...] = get_args(Panel)
ZOO_PANELS: tuple[Panel, ...] = (
    "interference",
    "over_accumulation",
)  # the checkpoints of a zoo give these without a run
COLUMNS: dict[Panel, dict[str, type]] = {
    "covariance": {
        "task": str, "block": int, "layer": str,
        "task vector": float, "anchors": float, "real": float, "identity": float,
    },
    "interference": {"block": int, "layer": str, "interference": float, "sign conflict": float},
    "over_accumulation": {"method": str, "task": str, "block": int, "rank": int, "counted": float},
    "alignment": {"method": str, "task": str, "alignment": float, "kept rank": float, "improvement": float},
    "drift": {"method": str, "task": str, "block": int, "drift": float, "inherited": float, "own": float},
    "tasks_added": {"method": str, "tasks": int, "task": str, "score": float, "normalised": float},
    "disentanglement": {"first": str, "second": str, "alpha": float, "other alpha": float, "error": float},
}  # fmt: skip
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Table:
    """Column → values, all of one length. `notes`: what the numbers leave out, one sentence each."""

    columns: Mapping[str, Sequence[Any]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def table_of(panel: Panel, rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> Table:
    """Rows with the values of the panel's columns, in their order."""
    return Table({name: [row[at] for row in rows] for at, name in enumerate(COLUMNS[panel])}, tuple(notes))


def table_from(panel: Panel, content: Any) -> Table:
    """What `content_of` gave. ValueError, KeyError or TypeError for what another program wrote."""
    columns = {
        name: [_read(kind, value) for value in content["columns"][name]] for name, kind in COLUMNS[panel].items()
    }
    if len({len(values) for values in columns.values()}) != 1:
        raise ValueError("the columns differ in length")
    return Table(columns, tuple(str(note) for note in content["notes"]))


def analysis_file(run_dir: Path, panel: Panel) -> Path:
    return run_dir / "analyses" / f"{panel}.json"


def save_table(path: Path, table: Table) -> None:
    """Write a panel's table, whole or not at all."""
    write_text(path, json.dumps(content_of(table), allow_nan=False))


def content_of(table: Table) -> dict[str, Any]:
    """The table as JSON holds it, null for NaN."""
    columns = {name: [_stored(value) for value in values] for name, values in table.columns.items()}
    return {"columns": columns, "notes": list(table.notes)}


def load_table(run_dir: Path, panel: Panel) -> Table | None:
    """What was found; None if the panel was not computed. UserError if the file is damaged."""
    path = analysis_file(run_dir, panel)
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        return table_from(panel, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: delete the file, then compute the panel again.") from error


def _stored(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(kind: type, value: Any) -> Any:
    if kind is float:
        return math.nan if value is None else float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value
