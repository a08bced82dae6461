"""Makes a recording of a finished run from the store: curves thinned to what the eye sees, numbers rounded.

`recording.py` describes the file. Imports no streamlit and no torch.
"""

import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

import numpy as np
from pydantic import ValidationError

from fda import __version__
from fda.analysis.grid import refined
from fda.errors import UserError
from fda.measures import ANGLE_LOSS
from fda.report.anchors import known_settings
from fda.report.comparison import kind_of, results, titles
from fda.report.recording import (
    MOST_SIDE,
    MOST_STEPS,
    Curve,
    Machine,
    MethodScores,
    Plane,
    PlanePath,
    Recording,
    first_problem,
)
from fda.report.runs_table import elapsed
from fda.report.verdict import verdict_of
from fda.requests.landscape import anchors_run
from fda.store.bench_results import machine
from fda.store.landscape_record import FDA_PATHS, FINETUNED, TA, Track, load_map, read_numbers
from fda.store.records import Run, UnitKey
from fda.store.store import ALL, Store

MOST_VALUES = 40_000  # of all curves together, about 300 kB
LIBRARIES = ("torch", "open_clip_torch", "transformers")


def record(store: Store, run: Run) -> Recording:
    """The recording of a finished run, with its newest landscape if one was computed.

    The store does not say which machine a run was on, so machine and software are those of this process. UserError if the
    run is not done, is a landscape, has neither a curve nor a score, or has more than a recording holds.
    """
    if run.kind == "landscape" and run.spec.landscape is not None:
        raise UserError(f"run {run.run_id} is a landscape: record the run that it shows, {run.spec.landscape.source}.")
    if run.state != "done":
        raise UserError(f"run {run.run_id} is {run.state}: only a run that is done can be recorded.")
    try:
        return _recording(store, run)
    except ValidationError as error:  # more units, or a longer name, than a recording holds
        raise UserError(f"run {run.run_id} cannot be recorded ({first_problem(error)}).") from None


def _recording(store: Store, run: Run) -> Recording:
    steps, curves = _curves(store, run)
    methods, metric, samples = _methods(store, run)
    facts = machine()
    return Recording(
        run_id=run.run_id,
        name=run.name,
        zoo=run.spec.zoo.name,
        tasks=run.spec.tasks,
        settings=_settings(run),
        date=run.finished or run.created,
        seconds=elapsed(run, time.time()) or 0.0,
        machine=Machine(device=run.device, processor=facts["processor"] or None, cores=facts["cores"]),
        software=_software(),
        steps=steps,
        curves=curves,
        metric=metric,
        samples=samples,
        methods=methods,
        verdict=tuple(verdict_of(store, run)),
        plane=_plane(store, run),
    )


def newest_landscape(store: Store, run: Run) -> Run | None:
    """The newest finished landscape of the run, or of the run that constructed its anchors."""
    sources = {run.run_id, anchors_run(run)}
    planes = store.runs(kinds=("landscape",), states=("done",), limit=ALL)
    return next((one for one in planes if one.spec.landscape and one.spec.landscape.source in sources), None)


def _settings(run: Run) -> dict[str, str | int | float | bool | None]:
    construction = known_settings(run.spec) if run.spec.construction is not None else {}
    return {"seed": run.spec.seed} | construction


def _software() -> dict[str, str]:
    known = {"fda": __version__, "python": python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def _curves(store: Store, run: Run) -> tuple[tuple[int, ...], tuple[Curve, ...]]:
    """(steps, the loss of each unit at those steps) of the anchors that the run constructed or was given."""
    source = anchors_run(run)
    series = {}
    with suppress(UserError):  # the run that constructed the anchors is deleted
        series = store.scalars(source, ANGLE_LOSS.key, names=run.spec.tasks, points=None) if source else {}
    finite = {
        key: (steps[good], values[good])
        for key, (steps, values) in series.items()
        if (not run.spec.blocks or key.block in run.spec.blocks) and (good := _good(values)).any()
    }
    longest = max((steps for steps, _ in finite.values()), key=len, default=np.array([], np.int64))
    if len(longest) < 2:
        return (), ()
    steps = longest[_spread(len(longest), min(MOST_STEPS, max(2, MOST_VALUES // len(finite))))]
    return tuple(map(int, steps)), tuple(_curve(key, *one, steps) for key, one in finite.items())


def _good(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (values >= 0)


def _spread(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` entries, evenly spread, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _curve(key: UnitKey, at: np.ndarray, values: np.ndarray, steps: np.ndarray) -> Curve:
    """The latest loss that the unit had at each of the steps."""
    latest = np.maximum(np.searchsorted(at, steps, side="right") - 1, 0)
    return Curve(task=key.name, block=key.block, loss=tuple(map(_rounded, values[latest])))


def _methods(store: Store, run: Run) -> tuple[tuple[MethodScores, ...], str, int]:
    """(the scored methods in the order they finished, the name of the scores, the number of samples)."""
    if not run.spec.methods:
        return (), "accuracy", 0
    scored = results(store, run)
    finite = {
        method: row for method, row in zip(scored.methods, scored.scores.values, strict=True) if np.isfinite(row).all()
    }
    names = titles(list(finite))
    ordered = [row for row in store.results(run.run_id)[0] if row.method in finite]
    methods = tuple(
        MethodScores(
            method=row.method,
            title=names[row.method],
            kind=kind_of(row.method, row.settings),
            scores=tuple(round(float(value), 4) for value in finite[row.method]),
        )
        for row in ordered
    )
    return methods, scored.metric, scored.count


def _plane(store: Store, run: Run) -> Plane | None:
    """The newest landscape, thinned; None without one, and where a point of the grid was never scored."""
    source = newest_landscape(store, run)
    plane = load_map(store.run_dir(source.run_id)) if source is not None else None
    if source is None or plane is None or source.spec.tasks != run.spec.tasks:
        return None
    loss = refined(read_numbers(store, source.run_id, plane).grid["loss"])
    if not _good(loss).all():
        return None
    kept = _spread(len(plane.a), MOST_SIDE)
    return Plane(
        a=tuple(_rounded(plane.a[at]) for at in kept),
        b=tuple(_rounded(plane.b[at]) for at in kept),
        loss=tuple(tuple(map(_rounded, row)) for row in loss[np.ix_(kept, kept)]),
        paths=tuple(_path(plane.track(name)) for name in (TA, *FDA_PATHS)),
        finetuned=_path(plane.track(FINETUNED)),
    )


def _path(track: Track) -> PlanePath:
    return PlanePath(name=track.name, a=tuple(map(_rounded, track.a)), b=tuple(map(_rounded, track.b)))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
