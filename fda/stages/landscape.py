"""The loss landscape as a run: record the paths, compute the plane, score its points from coarse to fine, score the paths.

If FDA's path from TA does not span the plane, a coarse picture appears within seconds, before that path is recorded. A resumed
run keeps recorded blocks, the plane and scored tiles.
"""

import shutil
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fda.analysis.grid import extent, levels, tiles
from fda.analysis.landscape import Plane, combined, gram_of_differences, plane
from fda.cancel import Cancel, Cancelled
from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import write_tensors
from fda.errors import UserError
from fda.jobs.lanes import run_lanes
from fda.merging.method import Weights
from fda.stages.adapt import ta_scale, ta_weights
from fda.stages.landscape_paths import adaptation_units, record_paths, recorded_epochs, weights_after
from fda.stages.landscape_scores import Scorer, load_samples, split_kind
from fda.stages.work import Work
from fda.store.landscape_record import (
    FDA_PATHS,
    FINETUNED,
    TA,
    LandscapeMap,
    Track,
    directions_file,
    load_map,
    paths_folder,
    save_map,
    tile_key,
    track_key,
)
from fda.store.store import UnitKey

LAMBDAS = tuple(step / 10 for step in range(11))  # points of task arithmetic's path, beside the λ that FDA starts from
ROOM = 1.25  # the grid reaches 1.25 times FDA's end from pretrained, to hold the path from TA that is recorded later
WRITE_SECONDS = 0.5  # between a tile's writes to the store

Point = Callable[[str], Tensor]  # a tensor's name → its value in the model that is scored


def compute_landscape(work: Work) -> None:
    """Compute what is missing. UserError if the checkpoints have changed since the plane was computed."""
    if work.device == "cpu":
        torch.set_num_threads(1)  # as in the lanes, so that a resumed run gets bit for bit the same plane
    store, run_id = work.store, work.run_id
    store.add_units(run_id, _units(work))
    if all(unit.state == "done" for unit in store.units(run_id)):
        return
    samples = load_samples(work)  # first, so that unreadable data fails before the long work
    counts = {of_task.task: len(of_task.labels) for of_task in samples}
    landscape = load_map(work.folder)
    if landscape is None:
        first = FDA_PATHS[:1] if work.landscape.directions == "ta_fda" else FDA_PATHS
        record_paths(work, first)
        landscape = _find_plane(work, counts, first)
    elif landscape.fingerprints != _fingerprints(work):
        raise UserError(
            f"the checkpoints of zoo {work.spec.zoo.name} have changed since this landscape was begun: start a new one."
        )
    scorer = Scorer(work, samples)
    work.phases.finish("start")
    with work.phases.during("landscape"):
        if len(landscape.track(FDA_PATHS[1]).at) < len(_marks(work)[FDA_PATHS[1]]):
            _score(work, scorer, landscape, coarse_only=True)
            record_paths(work, FDA_PATHS)
            landscape = _with_all_tracks(work, landscape)
        _score(work, scorer, landscape)
    work.phases.finish("adapt", "landscape")
    shutil.rmtree(paths_folder(work.folder), ignore_errors=True)


def _units(work: Work) -> list[tuple[UnitKey, int]]:
    tracks = [(track_key(name), len(at)) for name, at in _marks(work).items()]
    grid = [(tile_key(tile), len(points)) for tile, points in enumerate(tiles(work.landscape.points))]
    return [*adaptation_units(work), *tracks, *grid]


def _marks(work: Work) -> dict[str, tuple[float, ...]]:
    """Track → λ, epoch or task number of each of its points."""
    lambdas = tuple(sorted({*LAMBDAS, ta_scale(work)}))
    fda = {method: tuple(map(float, recorded_epochs(work, method))) for method in FDA_PATHS}
    return {TA: lambdas} | fda | {FINETUNED: tuple(map(float, range(len(work.spec.tasks))))}


def _fingerprints(work: Work) -> tuple[str, ...]:
    return (work.opened.base.fingerprint, *(weights.fingerprint for weights in work.finetuned))


# the plane -----------------------------------------------------------------------------------------------------------


def _find_plane(work: Work, counts: dict[str, int], paths: Sequence[str]) -> LandscapeMap:
    """Compute the plane; write the directions file, then the map, whose presence marks the plane as computed.

    `paths`: FDA's recorded paths. A path that is not recorded yet has only its start on the map, and the grid leaves room.
    """
    names = [block.prefix + name for block in work.blocks for name in block.names]
    models, spanned = _spanned(work, paths, names)
    _write_directions(work, spanned, names, models)
    tracks = _tracks(work, spanned, paths)
    points = work.landscape.points
    room = ROOM if len(paths) < len(FDA_PATHS) else 1.0
    across, up = extent(*(_reach(tracks, axis, room) for axis in "ab"))
    result = LandscapeMap(
        directions=work.landscape.directions,
        unit=spanned.unit,
        scale=ta_scale(work),
        split=split_kind(work),
        samples=counts,
        a=tuple(np.linspace(*across, points).tolist()),
        b=tuple(np.linspace(*up, points).tolist()),
        tracks=tracks,
        fingerprints=_fingerprints(work),
    )
    save_map(work.folder, result)
    return result


def _reach(tracks: Sequence[Track], axis: str, room: float) -> np.ndarray:
    """Coordinates that the grid must contain: θ0, all tracks, and FDA's end from pretrained times `room`."""
    ends = {track.name: getattr(track, axis) for track in tracks}
    return np.array([0.0, *(x for end in ends.values() for x in end), room * ends[FDA_PATHS[0]][-1]])


def _with_all_tracks(work: Work, landscape: LandscapeMap) -> LandscapeMap:
    """Complete and save a map that was made before all paths were recorded."""
    names = [block.prefix + name for block in work.blocks for name in block.names]
    _, plane_again = _spanned(work, FDA_PATHS, names)
    result = landscape.model_copy(update={"tracks": _tracks(work, plane_again, FDA_PATHS)})
    save_map(work.folder, result)
    return result


def _spanned(work: Work, paths: Sequence[str], names: Sequence[str]) -> tuple[list[Weights], Plane]:
    """(the finetuned models followed by those of the `paths`, the plane of their differences from θ0)."""
    models: list[Weights] = list(work.finetuned)
    for method in paths:
        models += [weights_after(work, method, epoch) for epoch in recorded_epochs(work, method)]
    gram = gram_of_differences(names, work.opened.base, models, work.device, work.cancel)
    end = len(work.finetuned) + len(recorded_epochs(work, FDA_PATHS[0])) - 1
    return models, plane(gram, len(work.finetuned), end, work.landscape.directions)


def _write_directions(work: Work, spanned: Plane, names: Sequence[str], models: Sequence[Weights]) -> None:
    base, axes = work.opened.base, {"u": spanned.along, "v": spanned.across}
    kinds = {f"{axis}/{name}": (base[name].shape, torch.float32) for name in names for axis in axes}
    tensors = (
        (f"{axis}/{name}", combined(direction, name, base, models))
        for name in names
        for axis, direction in axes.items()
    )
    metadata = {"directions": work.landscape.directions, "unit": spanned.unit}
    write_tensors(directions_file(work.folder), kinds, tensors, metadata, cancel=work.cancel)


def _tracks(work: Work, spanned: Plane, paths: Sequence[str]) -> tuple[Track, ...]:
    """All tracks with their coordinates. Models are combinations of the plane's: finetuned first, then the `paths`."""
    marks, tasks = _marks(work), len(work.finetuned)
    itself = torch.eye(len(spanned.gram), dtype=torch.float64)
    arithmetic = torch.tensor(ta_weights(work), dtype=torch.float64) @ itself[:tasks]
    models = {TA: torch.tensor(marks[TA], dtype=torch.float64)[:, None] * arithmetic, FINETUNED: itself[:tasks]}
    models |= dict(zip(paths, itself[tasks:].split([len(marks[method]) for method in paths]), strict=True))
    if FDA_PATHS[1] not in models:  # not recorded yet: only its start, task arithmetic at λ
        models[FDA_PATHS[1]] = ta_scale(work) * arithmetic[None]
    coordinates = {  # rounded, so that zero does not become -1e-17
        name: (tuple((values.round(decimals=12) + 0.0).tolist()) for values in spanned.coordinates(models[name]))
        for name in marks
    }
    return tuple(
        Track(name=name, at=marks[name][: len(models[name])], a=a, b=b, distance=distance)
        for name, (a, b, distance) in coordinates.items()
    )


# scores --------------------------------------------------------------------------------------------------------------


def _score(work: Work, scorer: Scorer, landscape: LandscapeMap, *, coarse_only: bool = False) -> None:
    """Score every unfinished tile and track in parallel: coarse tiles, then tracks, then fine tiles."""
    done = {unit.key for unit in work.store.units(work.run_id, "landscape") if unit.state == "done"}
    todo = [(key, points) for key, points in _points(work, landscape, scorer.names, coarse_only) if key not in done]
    run_lanes([_piece(work, scorer, key, points) for key, points in todo], work.device, work.cancel)


def _points(
    work: Work, landscape: LandscapeMap, names: Sequence[str], coarse_only: bool
) -> list[tuple[UnitKey, list[tuple[int, Point]]]]:
    """The units in the order of scoring, each with the (step, weights) of its points."""
    points = work.landscape.points
    grid = _grid(work, landscape, names)
    first = len(levels(points)[0]) ** 2
    coarse, fine, count = [], [], 0
    for tile, of_tile in enumerate(tiles(points)):
        unit = (tile_key(tile), [(point, grid(point)) for point in of_tile])
        (coarse if count < first else fine).append(unit)
        count += len(of_tile)
    if coarse_only:
        return coarse
    tracks = [(track_key(track.name), list(enumerate(_recorded(work, track)))) for track in landscape.tracks]
    return [*coarse, *tracks, *fine]


def _grid(work: Work, landscape: LandscapeMap, names: Sequence[str]) -> Callable[[int], Point]:
    """Point of the grid → its weights θ0 + a·u + b·v. Holds θ0, u and v of the blocks on the device."""
    base, directions = work.opened.base, Checkpoint(directions_file(work.folder))
    held = {
        name: tuple(
            t.to(work.device, torch.float32) for t in (base[name], directions[f"u/{name}"], directions[f"v/{name}"])
        )
        for name in names
    }

    def at(point: int) -> Point:
        row, column = divmod(point, len(landscape.a))
        a, b = landscape.a[column], landscape.b[row]
        return lambda name: held[name][0] + a * held[name][1] + b * held[name][2]

    return at


def _recorded(work: Work, track: Track) -> list[Point]:
    """The full weights of a track's points (not projected onto the plane), read tensor by tensor."""
    if track.name == FINETUNED:
        return [weights.__getitem__ for weights in work.finetuned]
    if track.name == TA:
        return [_arithmetic(work, scale) for scale in track.at]
    return [weights_after(work, track.name, int(epoch)).__getitem__ for epoch in track.at]


def _arithmetic(work: Work, scale: float) -> Point:
    base, finetuned, weights = work.opened.base, work.finetuned, ta_weights(work)
    return lambda name: (
        base[name].float()
        + scale
        * sum(
            weight * (theta[name].float() - base[name].float())
            for weight, theta in zip(weights, finetuned, strict=True)
        )
    )


def _piece(work: Work, scorer: Scorer, key: UnitKey, points: list[tuple[int, Point]]) -> Callable[[Cancel], None]:
    store, run_id = work.store, work.run_id

    def score(cancel: Cancel) -> None:
        store.reset_unit(run_id, key, state="running", steps=len(points))
        began = written = time.perf_counter()
        rows: list[tuple[str, int, float]] = []
        lowest = float("inf")
        try:
            for index, (step, weights) in enumerate(points):
                cancel.check()
                scores = scorer.score(weights, cancel)
                lowest = min(lowest, scores["loss"])
                rows += [(name, step, value) for name, value in scores.items()]
                now, last = time.perf_counter(), index == len(points) - 1
                if last or now - written >= WRITE_SECONDS:
                    state = "done" if last else "running"
                    store.add_scalars(run_id, key, rows, state=state, step=index + 1, loss=lowest, seconds=now - began)
                    rows, written = [], now
        except Cancelled:
            store.reset_unit(run_id, key)
            raise

    return score
