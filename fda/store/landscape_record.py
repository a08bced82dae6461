"""What a landscape run has found: where everything lies on its plane, and the numbers there.

For pages and the command line, so torch-free. Written by `landscape.py`; the numbers themselves are in the store.
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
    """Models that belong together: a path in its order, or the finetuned models in the tasks' order.

    `at`: λ of task arithmetic, finished epochs of FDA, the task's number. `a`, `b` and the `distance` from the plane are in
    units of ‖Σ τ_i‖.
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
    """The plane of a run: a of the grid's columns, b of its rows, and all tracks. `landscape.json` in the run's folder.

    `scale` is λ of the task arithmetic that FDA starts from; `unit` is ‖Σ τ_i‖ inside the blocks; `samples` are those scored.
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
    """`loss` and `accuracy` (0..1) of all tasks on average, or of one (`of`); NaN where not yet known.

    `grid`: metric → (points, points), rows by b. `tracks`: metric → track → (its points,), of the true weights, not of their
    projections on the plane.
    """

    of: str
    grid: dict[str, np.ndarray]
    tracks: dict[str, dict[str, np.ndarray]]


def map_file(run_dir: Path) -> Path:
    return run_dir / "landscape.json"


def directions_file(run_dir: Path) -> Path:
    """Tensors `u/NAME` and `v/NAME`: the directions of the plane, for every tensor inside the blocks."""
    return run_dir / "landscape.safetensors"


def paths_folder(run_dir: Path) -> Path:
    return run_dir / "paths"


def snapshot_file(run_dir: Path, method: str, block: int, epoch: int) -> Path:
    """One block's tensors after so many epochs of adaptation; there until all recorded weights are scored."""
    return paths_folder(run_dir) / method / f"{block}-{epoch}.safetensors"


def tile_key(tile: int) -> UnitKey:
    return UnitKey("landscape", "grid", tile)


def track_key(name: str) -> UnitKey:
    return UnitKey("landscape", name)


def save_map(run_dir: Path, found: LandscapeMap) -> None:
    """Whole or not at all."""
    write_text(map_file(run_dir), found.model_dump_json(indent=1) + "\n")


def load_map(run_dir: Path) -> LandscapeMap | None:
    """None until the run has found its plane. UserError if the file cannot be read."""
    path = map_file(run_dir)
    try:
        return LandscapeMap.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, ValueError):
        raise UserError(f"{path} is damaged: delete run {run_dir.name} and compute the landscape anew.") from None


def read_numbers(store: Store, run_id: str, found: LandscapeMap, of: str = MEAN) -> LandscapeNumbers:
    """Everything scored so far, of all tasks on average or of one."""
    keys = {metric: metric if of == MEAN else f"{metric}/{of}" for metric in ("loss", "accuracy")}
    return LandscapeNumbers(
        of=of,
        grid={metric: _grid_values(store, run_id, key, len(found.a)) for metric, key in keys.items()},
        tracks={metric: _track_values(store, run_id, key, found) for metric, key in keys.items()},
    )


def _grid_values(store: Store, run_id: str, key: str, points: int) -> np.ndarray:
    values = np.full(points * points, np.nan)
    for steps, known in store.scalars(run_id, key, stage="landscape", names=("grid",), points=None).values():
        values[steps] = known
    return values.reshape(points, points)


def _track_values(store: Store, run_id: str, key: str, found: LandscapeMap) -> dict[str, np.ndarray]:
    values = {track.name: np.full(len(track.at), np.nan) for track in found.tracks}
    for unit, (steps, known) in store.scalars(run_id, key, stage="landscape", names=tuple(values), points=None).items():
        values[unit.name][steps] = known
    return values
