"""A run as the command line prints it: its comparison as a table or JSON, and the whole run as plain data."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fda.atomic import write_text
from fda.errors import UserError, readable
from fda.home import open_to_others
from fda.merging.registry import METHODS
from fda.report.format import duration
from fda.report.phases import Phase, run_phases
from fda.report.runs_table import RunRow, kind_in_words
from fda.report.table import comparison
from fda.store.store import Run, Store, UnreadableRun


def report(run_id: str, json_file: Path | None) -> None:
    """Print the comparison as a table and write it as JSON."""
    store = Store()
    spec = store.run(run_id).spec
    table = comparison(spec.zoo.name, spec.tasks, *store.results(run_id))
    if json_file is not None:
        write_whole(json_file, json.dumps(table, indent=2))
    width = max(len(row["method"]) for row in table["rows"])
    titles = " ".join(f"{task[:9]:>9}" for task in spec.tasks)
    print(f"{'method':<{width}} {'average':>7} {'norm.':>7}  {titles}  reads")
    for row in table["rows"]:
        if row["average"] is None:
            print(f"{row['method']:<{width}} failed: {row['error']}")
        else:
            normalized = f"{row['normalized']:7.1%}" if row["normalized"] is not None else f"{'':>7}"
            cells = " ".join(f"{row['accuracy'][task]:9.1%}" for task in spec.tasks)
            print(f"{row['method']:<{width}} {row['average']:7.1%} {normalized}  {cells}  {_reads(row)}".rstrip())


def _reads(row: dict[str, Any]) -> str:
    """What the method read beside the checkpoints."""
    settings, one = row["settings"], METHODS.get(row["method"])
    words = []
    if "inputs" in settings:
        words.append(f"inputs: {settings['inputs']}")
    if one is not None and one.needs == "anchors":
        words.append("anchors")
    if "sweep" in settings:
        name = settings["sweep"]["hyperparameter"]
        words.append(f"validation labels: {name} {settings[name]:g}")
    elif settings.get("selection") == "validation":
        words.append("validation labels")
    return ", ".join(words)


def run_entry(store: Store, run: Run | UnreadableRun) -> dict[str, Any]:
    """A run as an entry of a --json list; a run that cannot be read has the key `problem`."""
    if isinstance(run, UnreadableRun):
        return asdict(run)
    try:
        return run_data(store, run)
    except (
        UserError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # one run's damaged numbers must not break the list
        problem = readable(str(error)) if isinstance(error, UserError) else f"its numbers cannot be read: {error}"
        return {"run_id": run.run_id, "state": run.state, "problem": problem}


def listed_entry(store: Store, row: RunRow) -> dict[str, Any]:
    """A row of the table of runs as an entry of `runs list --json`: `run_entry` with the row's numbers."""
    numbers = {"differs": row.differs, "mean_loss": row.loss, "fda_average": row.score, "fda_lead": row.lead}
    numbers["individual_average"] = row.individual
    return run_entry(store, row.run) | numbers | {"run_seconds": row.seconds, "disk_bytes": row.bytes}


def run_line(row: RunRow) -> str:
    """A row of the table of runs as a line of `runs list`."""
    run = row.run
    units = f"{run.units_done}/{run.units_total} units"
    numbers = []
    if row.loss is not None:
        numbers.append(f"loss {row.loss:.3f}")
    if row.score is not None:
        numbers.append(f"FDA {row.score:.1%}" + (f" ({100 * row.lead:+.1f})" if row.lead is not None else ""))
    said = [
        f"“{run.name}”" if run.name else "",
        *(f"#{tag}" for tag in run.tags),
        f"({row.differs})" if row.differs else "",
    ]
    parts = [run.run_id, f"{run.state:<9}", f"{kind_in_words(run.spec):<22}", units, run.spec.zoo.name, *numbers]
    return readable("  ".join([*parts, *(part for part in said if part)]))


def phase_line(phase: Phase) -> str:
    """A phase as a line of `runs show`."""
    left = f", about {duration(phase.left)} left" if phase.state != "done" and phase.left is not None else ""
    share = f" {phase.share:.0%}" if phase.state != "done" and phase.share else ""
    return f"  {phase.word:<12} {phase.state:<8}{share} {duration(phase.seconds)}{left}"


def run_data(store: Store, run: Run) -> dict[str, Any]:
    """A run as plain data for --json."""
    data = asdict(run) | {"spec": run.spec.model_dump(mode="json"), "path": str(store.run_dir(run.run_id))}
    units = store.units(run.run_id)
    data["units"] = [asdict(unit) for unit in units]
    data["phases"] = [asdict(phase) for phase in run_phases(store, run, units, time.time())]
    data["comparison"] = comparison(run.spec.zoo.name, run.spec.tasks, *store.results(run.run_id))
    return data


def require_folder(json_file: Path | None) -> None:
    """UserError, before any work, if the file's folder is missing or not writable."""
    if json_file is not None and not os.access(json_file.parent, os.W_OK):
        raise UserError(f"{json_file} could not be written (no such folder, or no permission): choose another place.")


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically, with the modes of the user's umask. UserError if it cannot be written."""
    try:
        write_text(path, text + "\n")
        open_to_others(path)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}): choose another place.") from None
