"""The table of runs: a row a run with its numbers, and how rows are filtered, sorted and grouped.

Home and `runs list` show it. The number of queries does not grow with the number of runs. Imports neither streamlit nor torch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fda.errors import UserError, readable
from fda.merging.registry import METHODS
from fda.processes import owner
from fda.report.command import changes
from fda.report.format import plural
from fda.requests.runs import changed_adaptation, changed_hyperparameters
from fda.store.disk import bytes_below
from fda.store.records import ACTIVE, ANALYSES, FINAL, KINDS, Run
from fda.store.spec import RunSpec
from fda.store.store import ALL, Store

if TYPE_CHECKING:
    import pandas as pd

KINDS_IN_WORDS = {
    "demo": "anchors and comparison",
    "construct": "anchors",
    "compare": "comparison",
    "landscape": "loss landscape",
}
LEAST_OF_ID = 4  # characters
REFERENCES = ("pretrained", "individual")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run in the table.

    `differs`: what of it differs from its preset, in words. `loss`: mean final angle loss of its finished units. `score`: the
    best average over tasks, 0..1, of the methods that read anchors; `lead`: that minus the best average of the methods that
    read nothing but checkpoints; `individual`: the average of the individual models. `position`: in the queue, from 1. `owner`:
    user and process of an active run.
    """

    run: Run
    differs: str
    loss: float | None
    score: float | None
    lead: float | None
    individual: float | None
    seconds: float | None
    bytes: int
    position: int | None
    owner: str


def run_rows(store: Store, kinds: Sequence[str] = ANALYSES) -> list[RunRow]:
    """A row for each run of these kinds that can be read, newest first."""
    runs = store.runs(kinds=KINDS, limit=ALL)  # all kinds wait in the queues
    losses, averages, positions, now = store.mean_losses(), store.averages(), _positions(runs), time.time()
    rows = []
    for run in runs:
        if run.kind not in kinds:
            continue
        of_run, tasks = averages.get(run.run_id, ()), len(run.spec.tasks)
        score, lead = best_average(of_run, tasks)
        rows.append(
            RunRow(
                run=run,
                differs=differences(run.spec),
                loss=losses.get(run.run_id),
                score=score,
                lead=lead,
                individual=next(
                    (mean for name, mean, count in of_run if name == "individual" and count == tasks), None
                ),
                seconds=elapsed(run, now),
                bytes=bytes_below(store.run_dir(run.run_id), at_work=run.active),
                position=positions.get(run.run_id),
                owner=_owner(run),
            )
        )
    return rows


def elapsed(run: Run, now: float) -> float | None:
    """Seconds since the run, or its last resume, began; None while it waits."""
    if run.started is None:
        return None
    return max(0.0, (run.finished or now) - run.started)  # if the clock was set back


def kind_in_words(spec: RunSpec) -> str:
    """What a run computes."""
    return "published anchors" if spec.published is not None else KINDS_IN_WORDS.get(spec.kind, spec.kind)


def differences(spec: RunSpec) -> str:
    """What of a run differs from its preset and from the zoo's defaults, such as `paper, steps 300, seed 1`."""
    parts = []
    if spec.construction is not None and spec.published is None:
        if spec.construction.preset != "fast":
            parts.append(spec.construction.preset)
        changed = changes(spec.construction, spec.zoo.family)
        parts += [f"{name.replace('_', ' ')} {_value(value)}" for name, value in changed.items() if name != "seed"]
    if len(spec.tasks) < len(spec.zoo.task_names):
        parts.append(f"{len(spec.tasks)} of {plural(len(spec.zoo.task_names), 'task')}")
    if spec.blocks:
        parts.append(f"{'block' if len(spec.blocks) == 1 else 'blocks'} {', '.join(map(str, spec.blocks))}")
    if spec.landscape is None and spec.published is None:
        for method, given in changed_hyperparameters(spec).items():
            parts += [f"{method}.{name} {_value(value)}" for name, value in given.items()]
        parts += [f"adapt {name.replace('_', ' ')} {_value(value)}" for name, value in changed_adaptation(spec).items()]
    if spec.seed:
        parts.append(f"seed {spec.seed}")
    return ", ".join(parts)


def best_average(averages: Sequence[tuple[str, float, int]], tasks: int) -> tuple[float | None, float | None]:
    """(best average of the methods that read anchors, that minus the best of those that read checkpoints alone).

    `averages`: (method, mean score, number of scores). A method without a score on each task does not count, nor do the
    references and what is chosen on validation labels.
    """
    best: dict[str, float] = {}
    for method, mean, count in averages:
        known = METHODS.get(method)
        if count == tasks and known is not None and not known.swept and method not in REFERENCES:
            best[known.needs] = max(mean, best.get(known.needs, mean))
    score, baseline = best.get("anchors"), best.get("nothing")
    return score, score - baseline if score is not None and baseline is not None else None


# filtering and sorting -----------------------------------------------------------------------------------------------


def matching(
    rows: Sequence[RunRow],
    *,
    search: str = "",
    states: Sequence[str] = (),
    zoos: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> list[RunRow]:
    """The rows in one of these states, of one of these zoos and with all of these tags, that have every word of `search`.

    Nothing given matches all.
    """
    words = search.lower().split()
    return [
        row
        for row in rows
        if (not states or row.run.state in states)
        and (not zoos or row.run.spec.zoo.name in zoos)
        and all(tag in row.run.tags for tag in tags)
        and _has(row, words)
    ]


def require_states(states: Sequence[str]) -> Sequence[str]:
    """The states; UserError for a word that is none."""
    known = (*ACTIVE, *FINAL)
    for state in states:
        if state not in known:
            raise UserError(f"there is no state {state!r}: choose {', '.join(known)}.")
    return states


SORTS: dict[str, tuple[Callable[[RunRow], Any], bool]] = {  # name → value, whether the largest comes first
    "created": (lambda row: row.run.created, True),
    "name": (lambda row: row.run.title.lower(), False),
    "zoo": (lambda row: row.run.spec.zoo.name.lower(), False),
    "state": (lambda row: row.run.state, False),
    "loss": (lambda row: row.loss, False),
    "score": (lambda row: row.score, True),
    "lead": (lambda row: row.lead, True),
    "duration": (lambda row: row.seconds, True),
    "disk": (lambda row: row.bytes, True),
}


def in_order(rows: Sequence[RunRow], by: str) -> list[RunRow]:
    """The rows sorted by a column of SORTS; rows without a value come last. UserError for another column."""
    if by not in SORTS:
        raise UserError(f"runs are not sorted by {by!r}: choose {', '.join(SORTS)}.")
    value, reverse = SORTS[by]
    known = sorted((row for row in rows if value(row) is not None), key=value, reverse=reverse)
    return [*known, *(row for row in rows if value(row) is None)]


GROUPS: Mapping[str, Callable[[Run], str]] = {
    "zoo": lambda run: run.spec.zoo.name,
    "kind": lambda run: kind_in_words(run.spec),
    "preset": lambda run: _setting(run, "preset"),
    "init": lambda run: _setting(run, "init"),
    "anchors": lambda run: _setting(run, "anchors"),
    "steps": lambda run: _setting(run, "steps"),
    "optimizer": lambda run: _setting(run, "optimizer"),
    "learning rate": lambda run: _setting(run, "learning_rate"),
    "distance": lambda run: _setting(run, "distance"),
    "seed": lambda run: str(run.spec.seed),
    "started by": lambda run: run.started_by or "",
}


def grouped(rows: Sequence[RunRow], by: str) -> dict[str, list[RunRow]]:
    """Value of `by`, a key of GROUPS, → its rows, in the order of `rows`; numbers by size, runs without a value last."""
    groups: dict[str, list[RunRow]] = {}
    for row in rows:
        groups.setdefault(GROUPS[by](row.run), []).append(row)
    return {value: groups[value] for value in sorted(groups, key=_by_size)}


# tables --------------------------------------------------------------------------------------------------------------

COLUMNS: Mapping[str, Callable[[RunRow], Any]] = {
    "run": lambda row: row.run.title,
    "note": lambda row: readable(row.run.note or ""),
    "tags": lambda row: list(row.run.tags),
    "zoo": lambda row: row.run.spec.zoo.name,
    "kind": lambda row: kind_in_words(row.run.spec),
    "state": lambda row: f"queued, number {row.position}" if row.position else row.run.state,
    "differs": lambda row: row.differs,
    "loss": lambda row: row.loss,
    "FDA": lambda row: None if row.score is None else 100 * row.score,
    "FDA − best": lambda row: None if row.lead is None else 100 * row.lead,
    "individual": lambda row: None if row.individual is None else 100 * row.individual,
    "duration": lambda row: row.seconds,
    "when": lambda row: row.run.finished or row.run.created,
    "started by": lambda row: row.run.started_by or "",
    "owner": lambda row: row.owner,
    "disk": lambda row: row.bytes,
    "id": lambda row: row.run.run_id,
}


def table(rows: Sequence[RunRow], by: str | None = None) -> "pd.DataFrame":
    """A row a run with the columns of COLUMNS: scores in percent, `when` it ended or was created, `disk` in bytes.

    `by`, a key of GROUPS, adds a first column `group`.
    """
    import pandas as pd

    data = {name: [value(row) for row in rows] for name, value in COLUMNS.items()}
    if by is not None:
        data = {"group": [GROUPS[by](row.run) or "–" for row in rows]} | data
    frame = pd.DataFrame(data).astype(dict.fromkeys(("loss", "FDA", "FDA − best", "individual"), float))
    frame["duration"] = pd.to_timedelta([None if row.seconds is None else round(row.seconds) for row in rows], unit="s")
    frame["when"] = pd.to_datetime(frame["when"], unit="s", utc=True)
    return frame


def group_table(groups: Mapping[str, Sequence[RunRow]], by: str) -> "pd.DataFrame":
    """A row a group: the number of its runs and the means of their numbers, scores in percent."""
    import pandas as pd

    return pd.DataFrame(
        {
            by: [value or "–" for value in groups],
            "runs": [len(rows) for rows in groups.values()],
            "loss": [_mean([row.loss for row in rows]) for rows in groups.values()],
            "FDA": [_mean([row.score for row in rows], 100) for rows in groups.values()],
            "FDA − best": [_mean([row.lead for row in rows], 100) for rows in groups.values()],
            "individual": [_mean([row.individual for row in rows], 100) for rows in groups.values()],
        }
    )


def _mean(values: Sequence[float | None], factor: float = 1.0) -> float:
    known = [value for value in values if value is not None]
    return factor * sum(known) / len(known) if known else float("nan")


def _positions(runs: Sequence[Run]) -> dict[str, int]:
    """Queued run → position in the queue of its device, from 1."""
    positions, counts = {}, {}
    queued = [run for run in runs if run.state == "queued"]
    for run in sorted(queued, key=lambda run: (run.queued or 0.0, run.run_id)):
        counts[run.device] = positions[run.run_id] = counts.get(run.device, 0) + 1
    return positions


def _owner(run: Run) -> str:
    if not run.active or run.pid is None:
        return ""
    user = owner(run.pid)
    return f"{user}, process {run.pid}" if user else ""


def _has(row: RunRow, words: Sequence[str]) -> bool:
    """Whether every word is in the row's text, or is a part of the run's id that is not just a digit or two."""
    text = _text(row) if words else ""
    return all(word in text or (len(word) >= LEAST_OF_ID and word in row.run.run_id) for word in words)


def _text(row: RunRow) -> str:
    """The text that a search looks in, in lower case."""
    run = row.run
    parts = (
        run.name,
        run.note,
        *run.tags,
        run.spec.zoo.name,
        kind_in_words(run.spec),
        run.state,
        row.differs,
        run.started_by,
    )
    return "\n".join(part for part in parts if part).lower()


def _setting(run: Run, name: str) -> str:
    if run.spec.construction is None or name in run.spec.unknown:
        return ""
    return _value(getattr(run.spec.construction, name))


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _by_size(value: str) -> tuple[bool, float, str]:
    try:
        return not value, float(value), value
    except ValueError:
        return not value, 0.0, value
