"""Where mixes are on a plane of weights, and how far each of their blocks is from the pretrained model's.

The plane is that of a run's landscape, whose losses are known, or else that of the two principal directions of the task
vectors. `fda.analysis.landscape` has the mathematics; this adds up a mix's inner products, tensor by tensor.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fda.analysis.landscape import combined, gram_of_differences, plane
from fda.checkpoints.weights import Checkpoint
from fda.errors import UserError
from fda.jobs.mixer_messages import Place as Coordinates
from fda.jobs.mixer_messages import PlaneAbout
from fda.merging.method import Weights
from fda.stages.mix import Place
from fda.store.landscape_record import LandscapeMap, directions_file, load_map
from fda.store.store import Store
from fda.zoos.survey import OpenZoo

MOST_RUNS = 200  # of landscapes that are looked through


@dataclass
class Measured:
    """Of one place of a model: ‖θ − θ0‖², ‖θ0‖², and the inner products of θ − θ0 with u and v; `inside`: ‖θ − θ0‖² there."""

    squared: float = 0.0
    base: float = 0.0
    along: float = 0.0
    across: float = 0.0
    inside: float = 0.0

    @property
    def change(self) -> float:
        """‖θ − θ0‖ / ‖θ0‖; 0 for a place without tensors."""
        return math.sqrt(self.squared / self.base) if self.base else 0.0

    def times(self, factor: float) -> "Measured":
        """Of the place whose θ − θ0 is this one's times `factor`."""
        square = factor * factor
        return Measured(
            self.squared * square, self.base, self.along * factor, self.across * factor, self.inside * square
        )


@dataclass
class Plane:
    """θ0 + a·u + b·v. `u`, `v`: name → direction in float32, of the tensors inside blocks; both of length `unit`."""

    landscape: str | None
    tasks: tuple[str, ...]
    unit: float
    u: Mapping[str, Tensor] = field(repr=False)
    v: Mapping[str, Tensor] = field(repr=False)

    def at(self, measured: Iterable[Measured]) -> Coordinates:
        """The place of a model, of which all blocks are `measured`."""
        whole, scale = list(measured), self.unit**2
        a, b = sum(one.along for one in whole) / scale, sum(one.across for one in whole) / scale
        outside = sum(one.inside for one in whole) / scale - a * a - b * b
        return Coordinates(a=a, b=b, distance=math.sqrt(max(outside, 0.0)))

    def about(self, opened: OpenZoo) -> PlaneAbout:
        names = list(self.u)
        base = {name: opened.base[name] for name in names}
        tasks = {}
        for task in self.tasks:
            of_task = Measured()
            for name in names:
                measure(of_task, name, opened.tasks[task][name], base, self)
            tasks[task] = self.at([of_task])
        a, b = (sum(getattr(one, axis) for one in tasks.values()) for axis in "ab")
        total = Coordinates(a=a, b=b, distance=math.sqrt(max(1 - a * a - b * b, 0.0)))
        return PlaneAbout(landscape=self.landscape, tasks=tasks, sum=total)


def measure(into: Measured, name: str, tensor: Tensor, base: Weights, spanned: Plane | None) -> None:
    """Add one tensor of a model to what is measured of its place."""
    theta0 = base[name].double().flatten()
    change = tensor.double().flatten() - theta0
    squared = float(change @ change)
    into.squared += squared
    into.base += float(theta0 @ theta0)
    if spanned is not None and name in spanned.u:
        into.along += float(change @ spanned.u[name].double().flatten())
        into.across += float(change @ spanned.v[name].double().flatten())
        into.inside += squared


def find_plane(opened: OpenZoo, store: Store, run_id: str | None, names: Mapping[Place, list[str]]) -> Plane | None:
    """The plane of the newest landscape of run `run_id`, or that of the task vectors; None if they span none."""
    inside = [name for place, of_place in names.items() if place is not None for name in of_place]
    for run, landscape in _landscapes(store, run_id):
        fits = landscape.fingerprints == (
            opened.base.fingerprint,
            *(opened.tasks[task].fingerprint for task in run.spec.tasks),
        )
        path = directions_file(store.run_dir(run.run_id))
        if fits and path.is_file():
            directions = Checkpoint(path)
            held = [name for name in inside if f"u/{name}" in directions]
            u, v = ({name: directions[f"{axis}/{name}"] for name in held} for axis in "uv")
            return Plane(run.run_id, run.spec.tasks, landscape.unit, u, v)
    models = list(opened.tasks.values())
    try:
        spanned = plane(gram_of_differences(inside, opened.base, models), len(models), 0, "paths")
    except UserError:
        return None
    u, v = (
        {name: combined(direction, name, opened.base, models) for name in inside}
        for direction in (spanned.along, spanned.across)
    )
    return Plane(None, tuple(opened.tasks), spanned.unit, u, v)


def _landscapes(store: Store, run_id: str | None) -> Iterator[tuple]:
    """(run, its map) of the landscapes of a run whose plane is known, the newest first."""
    for run in store.runs(kinds=("landscape",), limit=MOST_RUNS) if run_id is not None else ():
        if run.spec.landscape is not None and run.spec.landscape.source == run_id:
            landscape: LandscapeMap | None = load_map(store.run_dir(run.run_id))
            if landscape is not None:
                yield run, landscape
