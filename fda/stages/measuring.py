"""Record measures of a unit's anchors at its snapshot steps, for the paper's figures 3, 4 and 5.

  always            snapshot `spectrum`; scalars `effective_rank`, `tail_energy`, `cosine/TENSOR` of each live tensor
  with real inputs  snapshots `similarity_by_share` (at 2, 4 … 100 % of d) and `angles` (at 20 %)
                    scalars `similarity` (at 20 %); at every fourth snapshot `projection_energy` and
                    `projection_energy_merged`; once, both for a held-out batch of real inputs, ending in `_real`
  at the last step  snapshots `map` (n + m, 2), `nearest` (n, 5, 2: index, cosine) and `real_nearest` (m,), flattened

Measuring does not change the anchors. `fda.analysis` computes the measures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fda.analysis.neighbours import centre_of, directions, nearest, nearest_others, plane_map
from fda.analysis.projection import induced_cone, induced_update, projection_energy
from fda.analysis.spectrum import decomposed, effective_rank, tail_energy, top_count
from fda.analysis.subspace import principal_angles, similarity_by_count
from fda.anchors.construct import Snapshot
from fda.anchors.loss import Parameters
from fda.architectures.blocks import Block
from fda.measures import (
    ANGLES,
    COSINES,
    EFFECTIVE_RANK,
    NEAREST,
    NEAREST_INPUTS,
    PLANE_MAP,
    PROJECTION_ENERGY,
    PROJECTION_ENERGY_MERGED,
    REAL_NEAREST,
    SHARES,
    SIMILARITY,
    SIMILARITY_BY_SHARE,
    SPECTRUM,
    TAIL_ENERGY,
)
from fda.settings import AdaptSettings
from fda.stages.unit_update import Scalars, UnitUpdate
from fda.store.store import UnitKey

CONE = 6  # batches of real inputs whose updates span the cone; one more is held out
PROJECTED = 4  # projection energy at every fourth snapshot only, since each costs two passes through the block
MOST_CONE_BYTES = 2**29  # no cone for larger blocks, such as the MLP of a 13-billion-parameter model


@dataclass
class Measures:
    """Measures one unit. `real`: real block inputs (m, tokens, d) on the unit's device, or None.

    `merged`: the merged model's tensors of the block, for `projection_energy_merged`; unused without real inputs.
    """

    key: UnitKey
    block: Block
    base: Parameters
    finetuned: Parameters
    merged: Parameters
    real: Tensor | None
    steps: Sequence[int]
    adaptation: AdaptSettings
    _real_directions: Tensor | None = field(default=None, repr=False)
    _cones: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def at(self, event: Snapshot) -> UnitUpdate:
        """The numbers of a snapshot's anchors."""
        step, anchors = event.step, event.anchors
        spectrum, axes = decomposed(anchors)
        width = anchors.shape[-1]
        update = UnitUpdate(
            self.key,
            rows=[
                (EFFECTIVE_RANK.key, step, effective_rank(spectrum)),
                (TAIL_ENERGY.key, step, tail_energy(spectrum, width)),
            ],
        )
        _snapshot(update, step, SPECTRUM.key, spectrum)
        if self.real is not None:
            self._alignment(update, step, axes, self.real)
            update.rows += self._projection(step, anchors, self.real)
            if step == self.steps[-1] and len(self.real) >= NEAREST:
                _neighbours(update, step, anchors, self.real)
        return update

    def cosines(self, step: int, live: Iterable[str], cosines: Iterable[float]) -> Scalars:
        """Rows of the cosine between induced gradient and task vector, one a tensor."""
        return [(f"{COSINES.key}{name}", step, value) for name, value in zip(live, cosines, strict=True)]

    def _alignment(self, update: UnitUpdate, step: int, axes: Tensor, real: Tensor) -> None:
        if self._real_directions is None:
            self._real_directions = decomposed(real)[1]
        real_axes, width = self._real_directions, len(axes)
        by_count = similarity_by_count(axes, real_axes)
        counts = torch.tensor([top_count(width, share) for share in SHARES])
        _snapshot(update, step, SIMILARITY_BY_SHARE.key, by_count.cpu()[counts - 1])
        k = top_count(width)
        _snapshot(update, step, ANGLES.key, principal_angles(axes[:, -k:], real_axes[:, -k:]))
        update.rows.append((SIMILARITY.key, step, float(by_count[k - 1])))

    def _projection(self, step: int, anchors: Tensor, real: Tensor) -> Scalars:
        entries = sum(tensor.numel() for tensor in self.base.values())
        chosen = {*self.steps[::PROJECTED], self.steps[-1]}
        if step not in chosen or len(real) <= CONE or 8 * (CONE + 1) * entries > MOST_CONE_BYTES:
            return []
        rows: Scalars = []
        for measure, parameters in ((PROJECTION_ENERGY, self.base), (PROJECTION_ENERGY_MERGED, self.merged)):
            key = measure.key
            if key not in self._cones:
                *batches, held_out = (real[start :: CONE + 1] for start in range(CONE + 1))
                self._cones[key] = induced_cone(self.block, parameters, self.finetuned, batches, self.adaptation)
                rows += self._energy(measure.real_key, 0, key, parameters, held_out)
            rows += self._energy(key, step, key, parameters, anchors)
        return rows

    def _energy(self, name: str, step: int, cone: str, parameters: Parameters, x: Tensor) -> Scalars:
        update = induced_update(self.block, parameters, self.finetuned, x, self.adaptation)
        if not update.any():  # anchors so extreme that the output does not depend on the weights: no direction
            return []
        return [(name, step, projection_energy(self._cones[cone], update))]


def _neighbours(update: UnitUpdate, step: int, anchors: Tensor, real: Tensor) -> None:
    centre = centre_of(real)
    points, real_points = directions(anchors, centre), directions(real, centre)
    indices, cosines = nearest(points, real_points, NEAREST)
    _snapshot(update, step, PLANE_MAP.key, plane_map(points, real_points))
    _snapshot(update, step, NEAREST_INPUTS.key, torch.stack([indices.to(cosines.dtype), cosines], dim=-1))
    _snapshot(update, step, REAL_NEAREST.key, nearest_others(real_points))


def _snapshot(update: UnitUpdate, step: int, kind: str, values: Tensor) -> None:
    update.snapshots.append((step, kind, values.cpu().numpy()))
