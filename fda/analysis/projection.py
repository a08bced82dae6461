"""Projection energy: the share of an update induced by anchors that real data could have induced (paper, figure 5).

The updates of m batches of real data span a non-negative cone; non-negative least squares projects an update on it. The
projection takes plain vectors; `induced_update` and `induced_cone` make them from a block and its inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from fda.anchors.arithmetic import distances
from fda.anchors.loss import Parameters
from fda.architectures.blocks import Block
from fda.settings import AdaptSettings

CHUNK = 2**20  # entries of each vector in float64 at a time
RANK_TOLERANCE = 1e-12  # eigenvalues of the Gram matrix of unit vectors below this are rounding


@dataclass(frozen=True)
class Projection:
    """The point of the cone nearest to an update: Σ_k coefficients_k · cone_k, coefficients ≥ 0, shape (m,).

    `ratio` = ‖projection‖² / ‖update‖², 0..1: 1 inside the cone, 0 if no vector of it makes an acute angle with the update.
    """

    ratio: float
    coefficients: Tensor


def project_on_cone(cone: Tensor, update: Tensor) -> Projection:
    """Project `update` (p,) on the non-negative cone spanned by the rows of `cone` (m, p); rows of zeros add nothing.

    Needs only inner products of the vectors, in float64: m² p operations and no copy of the cone. With C the rows scaled to
    length 1 and C Cᵀ = V Λ Vᵀ, min ‖Cᵀc − u‖ over c ≥ 0 is min ‖Λ^½ Vᵀ c − Λ^-½ Vᵀ C u‖, which has m rows. ValueError if
    shapes do not fit, or if the update is zero and so has no ratio.
    """
    if cone.ndim != 2 or update.shape != cone.shape[1:]:
        raise ValueError(
            f"a cone (m, p) and an update (p,) are needed, not {tuple(cone.shape)} and {tuple(update.shape)}"
        )
    gram, inner, energy = _inner_products(cone, update)
    if energy == 0:
        raise ValueError("the update is zero: it has no direction to project")
    lengths = np.sqrt(gram.diagonal())
    used = lengths > 0
    coefficients = np.zeros(len(cone))
    if used.any():
        scale = lengths[used]
        values, vectors = np.linalg.eigh(gram[np.ix_(used, used)] / np.outer(scale, scale))
        kept = values > RANK_TOLERANCE * len(values)
        root, vectors = np.sqrt(values[kept])[:, None], vectors[:, kept].T
        coefficients[used] = nnls(root * vectors, vectors @ (inner[used] / scale) / root[:, 0])[0] / scale
    ratio = float(coefficients @ gram @ coefficients / energy)
    return Projection(min(ratio, 1.0), torch.from_numpy(coefficients))


def projection_energy(cone: Tensor, update: Tensor) -> float:
    """‖projection‖² / ‖update‖² of `update` (p,) on the non-negative cone of the rows of `cone` (m, p) (paper, figure 5)."""
    return project_on_cone(cone, update).ratio


def induced_update(
    block: Block, parameters: Parameters, finetuned: Parameters, x: Tensor, settings: AdaptSettings
) -> Tensor:
    """−∂/∂θ Σ_j Dist(φ(θ, x_j), φ(θi, x_j)) at θ = `parameters`: the first step of adapting on x; shape (p,).

    `parameters`: the block's tensors in the pretrained model, or in another, such as a merged one. x: (n, tokens, d), taken in
    batches of `settings.batch`. The result has the tensors of the block flattened in the order of `block.names`.
    """
    theta = {name: parameters[name].detach().requires_grad_() for name in block.names}
    total = [torch.zeros_like(tensor) for tensor in theta.values()]
    for batch in x.split(settings.batch):
        with torch.no_grad():
            targets = block(finetuned, batch)
        loss = distances(block(theta, batch), targets, settings.distance)
        for update, gradient in zip(total, torch.autograd.grad(loss, list(theta.values())), strict=True):
            update -= gradient
    return torch.cat([update.flatten() for update in total])


def induced_cone(
    block: Block, parameters: Parameters, finetuned: Parameters, batches: Sequence[Tensor], settings: AdaptSettings
) -> Tensor:
    """The updates that m batches (n, tokens, d) of real inputs induce, as rows (m, p): they span the cone of figure 5."""
    return torch.stack([induced_update(block, parameters, finetuned, batch, settings) for batch in batches])


def _inner_products(cone: Tensor, update: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """C Cᵀ (m, m), C u (m,) and ‖u‖² in float64, chunk by chunk along p."""
    rows = len(cone)
    total = torch.zeros(rows + 1, rows + 1, dtype=torch.float64, device=cone.device)
    for start in range(0, cone.shape[1], CHUNK):
        part = torch.cat([cone[:, start : start + CHUNK], update[None, start : start + CHUNK]]).double()
        total += part @ part.T
    products = total.cpu().numpy()
    return products[:rows, :rows], products[:rows, rows], float(products[rows, rows])
