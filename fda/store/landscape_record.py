"""A landscape run's results: the coordinates of its models on the plane (landscape.json) and their scores (in the store).

`fda.stages.landscape` writes them; pages and the command line read them, so this module imports no torch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from fda.atomic import write_text
from fda.errors import UserError
from fda.settings import Directions
from fda.store.records import UnitKey
from fda.store.store import Store

FDA_PATHS = ("fda:pretrained", "fda:ta")
TA, FINETUNED = "ta", "finetuned"
MEAN = "all tasks"


class Track(BaseModel):
    """A series of models: a path in its order, or the finetuned models in the tasks' order.

    `at`: λ for task arithmetic, finished epochs for FDA, the task's number for finetuned models. `a`, `b` and the `distance`
    from the plane are in units of ‖Σ τ_i‖.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    at: tuple[float, ...]
    a: tuple[float, ...]
    b: tuple[float, ...]
    distance: tuple[float, ...]

    @property
    def travelled(self) -> np.ndarray:
        """‖θ − θ0‖ in units of ‖Σ τ_i‖."""
        return np.sqrt(np.square(self.a) + np.square(self.b) + np.square(self.distance))


class LandscapeMap(BaseModel):
    """The plane of a run, stored as `landscape.json`: `a` of the grid's columns, `b` of its rows, and all tracks.

    `scale`: λ of the task arithmetic that FDA starts from. `unit`: ‖Σ τ_i‖ inside the blocks. `samples`: task → scored count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    directions: Directions
    unit: float
    scale: float
    split: str
    samples: dict[str, int]
    a: tuple[float, ...]
    b: tuple[float, ...]
    tracks: tuple[Track, ...]
    fingerprints: tuple[str, ...]

    def track(self, name: str) -> Track:
        return next(track for track in self.tracks if track.name == name)


@dataclass(frozen=True, eq=False)
class LandscapeNumbers:
    """`loss` and `accuracy` (0..1), averaged over tasks or of the one named by `of`; NaN where not yet scored.

    `grid`: metric → (points, points), rows by b. `tracks`: metric → track → (its points,), scored at the models' full weights,
    not at their projections onto the plane.
    """

    of: str
    grid: dict[str, np.ndarray]
    tracks: dict[str, dict[str, np.ndarray]]


def map_file(run_dir: Path) -> Path:
    return run_dir / "landscape.json"


def directions_file(run_dir: Path) -> Path:
    """Holds the plane's directions as tensors `u/NAME` and `v/NAME`, for every tensor NAME inside the blocks."""
    return run_dir / "landscape.safetensors"


def paths_folder(run_dir: Path) -> Path:
    return run_dir / "paths"


def snapshot_file(run_dir: Path, method: str, block: int, epoch: int) -> Path:
    """One block's tensors after `epoch` epochs of adaptation; deleted once all recorded weights are scored."""
    return paths_folder(run_dir) / method / f"{block}-{epoch}.safetensors"


def tile_key(tile: int) -> UnitKey:
    return UnitKey("landscape", "grid", tile)


def track_key(name: str) -> UnitKey:
    return UnitKey("landscape", name)


def save_map(run_dir: Path, landscape: LandscapeMap) -> None:
    write_text(map_file(run_dir), landscape.model_dump_json(indent=1) + "\n")


def load_map(run_dir: Path) -> LandscapeMap | None:
    """The run's map; None until its plane is computed. UserError if the file is damaged."""
    path = map_file(run_dir)
    try:
        return LandscapeMap.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, ValueError):
        raise UserError(f"{path} is damaged: delete run {run_dir.name} and compute the landscape anew.") from None


def read_numbers(store: Store, run_id: str, landscape: LandscapeMap, of: str = MEAN) -> LandscapeNumbers:
    """All scores so far, averaged over tasks or of the task `of`."""
    keys = {metric: metric if of == MEAN else f"{metric}/{of}" for metric in ("loss", "accuracy")}
    return LandscapeNumbers(
        of=of,
        grid={metric: _grid_values(store, run_id, key, len(landscape.a)) for metric, key in keys.items()},
        tracks={metric: _track_values(store, run_id, key, landscape) for metric, key in keys.items()},
    )


def _grid_values(store: Store, run_id: str, key: str, points: int) -> np.ndarray:
    values = np.full(points * points, np.nan)
    for steps, known in store.scalars(run_id, key, stage="landscape", names=("grid",), points=None).values():
        values[steps] = known
    return values.reshape(points, points)


def _track_values(store: Store, run_id: str, key: str, landscape: LandscapeMap) -> dict[str, np.ndarray]:
    values = {track.name: np.full(len(track.at), np.nan) for track in landscape.tracks}
    for unit, (steps, known) in store.scalars(run_id, key, stage="landscape", names=tuple(values), points=None).items():
        values[unit.name][steps] = known
    return values
