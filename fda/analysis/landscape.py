"""A plane of weights through θ0, and where models lie on it (paper, figure 2). Pure torch, no I/O.

Every model p is seen as its difference p − θ0 over the tensors inside the chosen blocks. Directions are combinations of such
differences, so all lengths, coordinates and distances follow from one small matrix of inner products, which is summed
tensor by tensor: memory follows the largest tensor, not the model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fda.errors import UserError
from fda.settings import Directions

CHUNK = 2**20  # entries of each difference that are in float64 at once
NO_PLANE = 1e-10  # squared length, relative to the first direction's, below which a second direction is rounding


@dataclass(frozen=True)
class Plane:
    """θ0 + a·u + b·v with u = Σ_j along_j d_j and v = Σ_j across_j d_j, over the differences d_j = p_j − θ0 of N models.

    u ⟂ v, both of length `unit` = ‖Σ_i τ_i‖, so the plane's geometry is true. `along`, `across`: (N,), `gram`: (N, N), float64.
    """

    along: Tensor
    across: Tensor
    gram: Tensor
    unit: float

    def place(self, combinations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the models θ0 + Σ_j c_j d_j lie, for the rows c of (M, N): a, b and the distance from the plane, each (M,).

        All three in units of ‖Σ τ_i‖. Below about 1e-8 a distance is rounding.
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
    pulse: Callable[[], None] = lambda: None,
) -> Tensor:
    """(N, N) float64 on the CPU: inner products of the differences of N models to the base, over the tensors `names`.

    Reads one tensor of every model at a time; `pulse` is called after each name and may raise to stop.
    """
    gram = torch.zeros(len(models), len(models), dtype=torch.float64)
    wide = torch.float32 if str(device).startswith("mps") else torch.float64  # that device has no float64
    for name in names:
        theta0 = base[name].flatten()
        rows = torch.stack([model[name].flatten().float() - theta0.float() for model in models])
        for part in rows.split(CHUNK, dim=1):
            part = part.to(device, wide)
            gram += (part @ part.T).cpu().double()
        pulse()
    return gram


def plane(gram: Tensor, tasks: int, end: int, directions: Directions) -> Plane:
    """The plane that `directions` mean. Of the N models the first `tasks` are the finetuned ones, `end` is FDA's end.

    ta_fda: u = Σ τ_i, v = FDA's end orthogonal to u. paths: the two principal directions of all N differences about θ0, not
    about their mean, for the plane passes through θ0. UserError if the models lie on one line.
    """
    total = torch.zeros(len(gram), dtype=gram.dtype)
    total[:tasks] = 1
    squared = float(total @ gram @ total)
    if squared <= 0:
        raise UserError(
            "the task vectors add up to nothing inside these blocks, so there is no direction to look along."
        )
    if directions == "ta_fda":
        along, across = total, torch.zeros_like(total)
        across[end] = 1
        across -= float(across @ gram @ total) / squared * total
    else:
        _, vectors = torch.linalg.eigh(gram)
        along, across = vectors[:, -1], vectors[:, -2]
    along, across = (_with_length(one, gram, squared) for one in (along, across))
    if float(along @ gram @ total) < 0:
        along = -along
    if float((across @ gram)[end]) < 0:
        across = -across
    return Plane(along, across, gram, squared**0.5)


def combined(
    combination: Tensor, name: str, base: Mapping[str, Tensor], models: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """One tensor of Σ_j c_j (p_j − θ0), float32; models whose coefficient is zero are not read."""
    theta0 = base[name].double()
    found = torch.zeros_like(theta0)
    for weight, model in zip(combination.tolist(), models, strict=True):
        if weight:
            found += weight * (model[name].double() - theta0)
    return found.float()


def _with_length(combination: Tensor, gram: Tensor, squared: float) -> Tensor:
    own = float(combination @ gram @ combination)
    if own <= NO_PLANE * squared:
        raise UserError(
            "the models all lie on one line, so they span no plane: choose more tasks, or more epochs of adaptation."
        )
    return combination * (squared / own) ** 0.5
