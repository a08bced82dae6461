"""Read rows of the table `runs` as records. A bad row becomes an UnreadableRun and does not affect others."""

from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from fda.errors import readable
from fda.store.database import RUN_ID
from fda.store.records import ACTIVE, FINAL, KINDS, Run, UnreadableRun
from fda.store.spec import RunSpec

_COLUMNS = (
    "run_id, kind, state, device, message, created, started, finished, heartbeat, pid, pid_started, attempt, "
    "stop_requested, queued, queued_clock, name, note, tags, "
    "started_by"
)
RUN_QUERY = f"""
SELECT {_COLUMNS}, (SELECT count(*) FROM units WHERE run = runs.id AND state = 'done'),
       (SELECT count(*) FROM units WHERE run = runs.id), spec
FROM runs
"""
_FIELDS = (*_COLUMNS.split(", "), "units_done", "units_total")
_NUMBERS = ("created", "started", "finished", "heartbeat", "pid", "pid_started", "attempt", "stop_requested", "queued")
_NEEDED = ("created", "attempt")


def read_run(row: tuple) -> Run | UnreadableRun:
    """The run of a row of RUN_QUERY; never raises for bad content."""
    *columns, text = row
    values: dict[str, Any] = dict(zip(_FIELDS, columns, strict=True))
    try:
        _check(values)
        values["tags"] = tuple((values["tags"] or "").split())
        return Run(**values, spec=_spec(text))
    except (ValueError, TypeError, RecursionError) as error:
        problem = (
            f"Run {values['run_id']} cannot be read ({_reason(error)}): delete it with "
            f"`python -m fda runs delete {values['run_id']}`, or use the version of fda that wrote it."
        )
    numbers = {name: values[name] for name in _NUMBERS if _is_number(values[name])}
    texts = {name: str(values[name]) for name in ("run_id", "kind", "state", "device")}
    said = dict.fromkeys(("message", "name", "note", "started_by"))
    empty = dict.fromkeys(_NUMBERS) | dict.fromkeys(_NEEDED, 0) | said | {"tags": ()}
    known: dict[str, Any] = values | empty | numbers | texts
    return UnreadableRun(**known, problem=readable(problem))


def _check(values: dict[str, Any]) -> None:
    """ValueError for an invalid column value: SQLite stores any type in any column."""
    if not RUN_ID.fullmatch(str(values["run_id"])):
        raise ValueError("its id is none")
    if values["state"] not in (*ACTIVE, *FINAL):
        raise ValueError(f"its state is {values['state']!r}")
    if values["kind"] not in KINDS:
        raise ValueError(f"its kind is {values['kind']!r}")
    for name in _NUMBERS:
        if not _is_number(values[name]) and (values[name] is not None or name in _NEEDED):
            raise ValueError(f"its {name} is {values[name]!r}, which is no such number")
    if not isinstance(values["device"], str) or not isinstance(values["message"], str | None):
        raise ValueError("its device or its message is no text")
    for name in ("name", "note", "tags", "started_by"):
        if not isinstance(values[name], str | None):
            raise ValueError(f"its {name} is no text")


def _is_number(value: object) -> bool:
    """Whether this is a valid time, process id or count: not negative, not beyond the range of dates."""
    return isinstance(value, int | float) and 0 <= value < 1e11


def _reason(error: Exception) -> str:
    """What is wrong with a row, in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "spec"
        return f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return str(error)


@lru_cache(maxsize=512)  # pages list the same runs each second
def _spec(text: str) -> RunSpec:
    return RunSpec.model_validate_json(text)
