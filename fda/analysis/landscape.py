"""A plane of weights through θ0, and the positions of models on it (paper, figure 2). Pure torch, no I/O.

A model p enters as its difference p − θ0 over the tensors of the chosen blocks. Directions are combinations of these
differences, so all lengths, coordinates and distances follow from one small matrix of inner products, which is summed
tensor by tensor: memory follows the largest tensor, not the model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fda.cancel import NEVER, Cancel
from fda.errors import UserError
from fda.settings import Directions

CHUNK = 2**20  # entries of each difference in float64 at a time
NO_PLANE = 1e-10  # a second direction whose squared length relative to the first is below this is rounding


@dataclass(frozen=True)
class Plane:
    """θ0 + a·u + b·v with u = Σ_j along_j d_j and v = Σ_j across_j d_j, over the differences d_j = p_j − θ0 of N models.

    u ⟂ v, both of length `unit` = ‖Σ_i τ_i‖, so the plane shows true angles and lengths. `along`, `across`: (N,), `gram`:
    (N, N), float64.
    """

    along: Tensor
    across: Tensor
    gram: Tensor
    unit: float

    def coordinates(self, combinations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a, b and the distance from the plane, each (M,), of the models θ0 + Σ_j c_j d_j, for the rows c of (M, N).

        All three are in units of ‖Σ τ_i‖. A distance below about 1e-8 is rounding.
        """
        inner = combinations.to(self.gram) @ self.gram
        scale = self.unit**2
        a, b = inner @ self.along / scale, inner @ self.across / scale
        squared = (inner * combinations.to(self.gram)).sum(1) / scale
        return a, b, (squared - a.square() - b.square()).clamp_min(0).sqrt()


def gram_of_differences(
    names: Iterable[str],
    base: Mapping[str, Tensor],
    models: Sequence[Mapping[str, Tensor]],
    device: str | torch.device = "cpu",
    cancel: Cancel = NEVER,
) -> Tensor:
    """(N, N) float64 on the CPU: inner products of the differences between N models and the base, over the tensors `names`.

    Reads one tensor of every model at a time; `cancel` is checked after each name.
    """
    gram = torch.zeros(len(models), len(models), dtype=torch.float64)
    wide = torch.float32 if str(device).startswith("mps") else torch.float64  # that device has no float64
    for name in names:
        theta0 = base[name].flatten()
        rows = torch.stack([model[name].flatten().float() - theta0.float() for model in models])
        for part in rows.split(CHUNK, dim=1):
            part = part.to(device, wide)
            gram += (part @ part.T).cpu().double()
        cancel.check()
    return gram


def plane(gram: Tensor, tasks: int, end: int, directions: Directions) -> Plane:
    """The plane spanned by `directions`. The first `tasks` of the N models are the finetuned ones; `end` indexes FDA's result.

    ta_fda: u = Σ τ_i, v = the part of FDA's result orthogonal to u. paths: the two principal directions of all N
    differences about θ0, not about their mean, because the plane passes through θ0. UserError if the models lie on one line.
    """
    total = torch.zeros(len(gram), dtype=gram.dtype)
    total[:tasks] = 1
    squared = float(total @ gram @ total)
    if squared <= 0:
        raise UserError(
            "the task vectors add up to zero inside these blocks, so they span no plane: choose other blocks or tasks."
        )
    if directions == "ta_fda":
        along, across = total, torch.zeros_like(total)
        across[end] = 1
        across -= float(across @ gram @ total) / squared * total
    else:
        _, vectors = torch.linalg.eigh(gram)
        along, across = vectors[:, -1], vectors[:, -2]
    along, across = (_with_length(combination, gram, squared) for combination in (along, across))
    if float(along @ gram @ total) < 0:
        along = -along
    if float((across @ gram)[end]) < 0:
        across = -across
    return Plane(along, across, gram, squared**0.5)


def combined(
    combination: Tensor, name: str, base: Mapping[str, Tensor], models: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """One tensor of Σ_j c_j (p_j − θ0), float32. Does not read models whose coefficient is zero."""
    theta0 = base[name].double()
    total = torch.zeros_like(theta0)
    for weight, model in zip(combination.tolist(), models, strict=True):
        if weight:
            total += weight * (model[name].double() - theta0)
    return total.float()


def _with_length(combination: Tensor, gram: Tensor, squared: float) -> Tensor:
    """The combination scaled to a length of √squared."""
    length_squared = float(combination @ gram @ combination)
    if length_squared <= NO_PLANE * squared:
        raise UserError(
            "the models all lie on one line, so they span no plane: choose more tasks, or more epochs of adaptation."
        )
    return combination * (squared / length_squared) ** 0.5
