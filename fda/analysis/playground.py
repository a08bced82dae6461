"""Functional dual anchors of one linear layer, small enough to run while a slider moves. NumPy only, no torch.

The layer is φ(W, x) = W x, compared by squared distance. Its mathematics is the paper's analysis behind the initialisation
principle: anchors X (d × n, one a column) induce the gradient Δ X Xᵀ at W0, up to sign and scale, with the task vector
Δ = Wi − W0; with P the projector on the row space of Δ, the tail (I − P) X adds nothing along Δ.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fda.errors import UserError

Array = NDArray[np.float64]
Start = Literal["weight", "gauss"]

ENTRY = (
    0.03  # root mean square entry of W0, about that of trained transformers, so that weight rows and σ compare alike
)
CHANGE = 0.3  # ‖Δ‖ / ‖W0‖ in the Frobenius norm
WEIGHT_DECAY, BETAS, EPSILON = (
    0.01,
    (0.9, 0.999),
    1e-8,
)  # AdamW as in the paper's construction, otherwise torch's defaults
SNAPSHOTS = 10  # steps with stored spectrum and gradient, evenly spaced on a log axis: anchors change most early


@dataclass(frozen=True)
class Setting:
    """The values of the sliders. Raises UserError for a value out of range.

    `lean`: the energy of W0's rows along the j-th direction of the data, by variance, is proportional to j^(−2·lean); with
    0 the rows have no preferred direction, as before training. `rank`: Δ moves the first `rank` directions. `start`: how
    the anchors begin.
    """

    d: int = 32
    rank: int = 4
    anchors: int = 4
    start: Start = "gauss"
    sigma: float = 1.0
    learning_rate: float = 0.01
    steps: int = 200
    lean: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= self.d:
            raise UserError(
                f"rank is {self.rank} but must lie between 1 and the dimension d = {self.d}: choose another."
            )
        if self.start not in ("weight", "gauss"):
            raise UserError(f"start is {self.start!r} but must be 'weight' or 'gauss': choose one of them.")
        least = {"anchors": 1, "steps": 1, "lean": 0, "seed": 0}
        for name in ("sigma", "learning_rate"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UserError(f"{name} is {getattr(self, name)} but must be a number above 0: choose another.")
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"{name} is {getattr(self, name)} but must be at least {low}: choose another.")


@dataclass(frozen=True, eq=False)
class Problem:
    """A pretrained layer `base` (d, d) and its task vector Δ = `left` · diag(`values`) · `directions`[:, :rank]ᵀ.

    `directions` (d, d): orthonormal; the first `rank` span the row space of Δ (the head), the others the tail.
    `left` (d, rank): orthonormal; `values` (rank,): singular values of Δ, descending.
    """

    base: Array
    left: Array
    values: Array
    directions: Array

    @property
    def rank(self) -> int:
        return len(self.values)

    @property
    def task_vector(self) -> Array:
        """Δ (d, d)."""
        return self.left @ self.compact

    @property
    def compact(self) -> Array:
        """Δ without its left singular vectors, (rank, d): gives the same lengths and angles of ΔXXᵀ at a lower cost."""
        return self.values[:, None] * self.directions[:, : self.rank].T


@dataclass(frozen=True, eq=False)
class Course:
    """The course of one construction: T = steps + 1 points in time, S snapshots.

    `loss` (T,): angle loss. `head`, `tail` (T,): ‖PX‖² and ‖(I−P)X‖². `at` (S,): steps of the snapshots.
    `spectra` (S, min(d, n)): singular values of X over the largest. `gradients` (S, rank, d): ΔXXᵀ / ‖ΔXXᵀ‖ with rows and
    columns in the singular directions of Δ, where `target` (rank, d) = Δ / ‖Δ‖ is diagonal. `anchors` (d, n): the last X.
    """

    setting: Setting
    loss: Array
    head: Array
    tail: Array
    at: NDArray[np.int64]
    spectra: Array
    gradients: Array
    target: Array
    anchors: Array

    @property
    def tail_share(self) -> Array:
        """(T,): share of the anchors' energy in the tail, 0..1. Scaling X changes neither this nor the angle loss."""
        return self.tail / (self.head + self.tail)

    @property
    def degrees(self) -> Array:
        """(T,): angle between the induced gradient and Δ, 0..90."""
        return np.degrees(np.arccos(np.clip(1 - self.loss, -1, 1)))


def make_problem(setting: Setting) -> Problem:
    """Pretrained weights that lean towards the data, and a task whose data span the first `rank` directions.

    Finetuning moves a linear layer only within the row space of its inputs, so that Δ has exactly this rank.
    """
    random = np.random.default_rng(setting.seed)
    d, rank = setting.d, setting.rank
    directions = np.linalg.qr(random.standard_normal((d, d)))[0]
    spread = np.arange(1, d + 1) ** -float(setting.lean)
    base = random.standard_normal((d, d)) * spread @ directions.T
    base *= ENTRY * d / np.linalg.norm(base)
    left = np.linalg.qr(random.standard_normal((d, rank)))[0]
    values = np.linspace(1, 0.5, rank)
    values *= CHANGE * np.linalg.norm(base) / np.linalg.norm(values)
    return Problem(base, left, values, directions)


def initial_anchors(problem: Problem, setting: Setting) -> Array:
    """X (d, n): rows of Wi without replacement, then means of random pairs of rows if there are too few; or σ·N(0, I)."""
    random = np.random.default_rng([setting.seed, 1])
    if setting.start == "gauss":
        return setting.sigma * random.standard_normal((setting.d, setting.anchors))
    rows = problem.base + problem.task_vector
    chosen = rows[random.permutation(len(rows))[: setting.anchors]]
    pairs = random.integers(len(rows), size=(2, setting.anchors - len(chosen)))
    return np.concatenate([chosen, (rows[pairs[0]] + rows[pairs[1]]) / 2]).T


def induced_gradient(delta: Array, x: Array) -> Array:
    """−∂/∂W ½ Σ_j ‖W x_j − Wi x_j‖² at W0 = Δ X Xᵀ; delta (m, d), x (d, n), result (m, d)."""
    return delta @ x @ x.T


def angle_loss(delta: Array, x: Array) -> tuple[float, Array]:
    """1 − cos(ΔXXᵀ, Δ) and its gradient with respect to X (d, n); delta (m, d).

    With Z = ΔX and M = ZXᵀ: ⟨M, Δ⟩ = ‖Z‖², ∂‖Z‖²/∂X = 2ΔᵀZ, ∂‖M‖²/∂X = 2 (MᵀZ + ΔᵀMX).
    """
    z = delta @ x
    m = z @ x.T
    along, length = np.vdot(z, z), np.sqrt(np.vdot(m, m))
    scale = 1 / (length * np.sqrt(np.vdot(delta, delta)))
    turn = along / length**2
    gradient = scale * (turn * (m.T @ z) + delta.T @ (turn * (m @ x) - 2 * z))
    return float(1 - along * scale), gradient


def optimise(setting: Setting) -> Course:
    """Construct the anchors of a linear layer with AdamW, from one seed: the same setting gives the same course."""
    problem = make_problem(setting)
    path, loss = _descend(problem.compact, initial_anchors(problem, setting), setting)
    heads = problem.directions[:, : problem.rank].T @ path
    head = np.square(heads).sum((1, 2))
    at = snapshot_steps(setting.steps)
    return Course(
        setting=setting,
        loss=loss,
        head=head,
        tail=np.maximum(np.square(path).sum((1, 2)) - head, 0),
        at=at,
        spectra=_spectra(path[at]),
        gradients=_unit(problem.values[:, None] * heads[at] @ (problem.directions.T @ path[at]).transpose(0, 2, 1)),
        target=_unit(np.eye(problem.rank, setting.d) * problem.values[:, None]),
        anchors=path[-1].copy(),
    )


def snapshot_steps(steps: int) -> NDArray[np.int64]:
    """Up to `SNAPSHOTS` steps of 0..steps, ascending, with both ends."""
    return np.unique(np.concatenate([[0], np.geomspace(1, steps, SNAPSHOTS - 1).round()])).astype(np.int64)


def _descend(delta: Array, x: Array, setting: Setting) -> tuple[Array, Array]:
    """Run AdamW: X before and after every step (steps + 1, d, n) and its angle loss (steps + 1,)."""
    path, loss = np.empty((setting.steps + 1, *x.shape)), np.empty(setting.steps + 1)
    first, second = np.zeros_like(x), np.zeros_like(x)
    beta1, beta2 = BETAS
    for step in range(setting.steps + 1):
        path[step] = x
        loss[step], gradient = angle_loss(delta, x)
        first += (1 - beta1) * (gradient - first)
        second += (1 - beta2) * (gradient * gradient - second)
        size = setting.learning_rate / (1 - beta1 ** (step + 1))
        x = x * (1 - setting.learning_rate * WEIGHT_DECAY)
        x -= size * first / (np.sqrt(second / (1 - beta2 ** (step + 1))) + EPSILON)
    return path, loss


def _spectra(x: Array) -> Array:
    """Singular values of each matrix of x (S, d, n), descending, divided by the largest: (S, min(d, n))."""
    values = np.linalg.svd(x, compute_uv=False)
    return values / values[:, :1]


def _unit(x: Array) -> Array:
    """Each matrix of the last two axes, scaled to Frobenius norm 1."""
    return x / np.linalg.norm(x, axis=(-2, -1), keepdims=True)
