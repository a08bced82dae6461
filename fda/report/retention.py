"""Which old runs may be deleted: the rule of `runs prune`. Deletes nothing."""

import time
from collections.abc import Sequence

from fda.errors import UserError
from fda.report.runs_table import RunRow
from fda.store.database import RUN_ID

DAY = 86_400.0


def days(text: str) -> float:
    """Seconds of an age such as `90d` or `90`, in days. UserError for anything else."""
    number = text.strip().removesuffix("d")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise UserError(f"--older-than {text}: give a whole number of days, such as 90d.")
    return int(number) * DAY


def prunable(rows: Sequence[RunRow], *, older_than: float, keep_best: int, keep_named: bool) -> list[RunRow]:
    """The rows of ended runs that ended more than `older_than` seconds ago and that nothing keeps, oldest first.

    Kept are the `keep_best` runs of each zoo with the highest FDA scores, with `keep_named` those with a name, note or tag, and
    every run that a kept run reads: the anchors of a comparison, the models of a mix.
    """
    now, best = time.time(), _best(rows, keep_best)
    old = {
        row.run.run_id
        for row in rows
        if not row.run.active
        and now - (row.run.finished or row.run.created) > older_than
        and row.run.run_id not in best
        and not (keep_named and (row.run.name or row.run.note or row.run.tags))
    }
    named_in = {row.run.run_id: set(RUN_ID.findall(row.run.spec.model_dump_json())) for row in rows}
    while read := old & set().union(*(named_in[row.run.run_id] for row in rows if row.run.run_id not in old)):
        old -= read
    return sorted((row for row in rows if row.run.run_id in old), key=lambda row: row.run.finished or row.run.created)


def _best(rows: Sequence[RunRow], count: int) -> set[str]:
    by_zoo: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.score is not None:
            by_zoo.setdefault(row.run.spec.zoo.name, []).append(row)
    highest = (sorted(of_zoo, key=lambda row: -(row.score or 0.0))[:count] for of_zoo in by_zoo.values())
    return {row.run.run_id for of_zoo in highest for row in of_zoo}
