"""The construction step by forward-over-reverse differentiation, to measure against the package's double backward.

The angle loss depends on X only through g = ∇_θ s(θ0, X). With v = ∂ loss / ∂ g, its gradient is the derivative of ∇_X s(θ, X)
along v at θ0: one forward-mode derivative of one backward pass, where `fda.anchors.step` differentiates backwards twice. Both
are compiled in the same way.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, jvp

from fda.anchors.loss import Parameters, angle_losses, cosines, similarity
from fda.anchors.step import StepFunction, compiler_options
from fda.architectures.blocks import Block
from fda.architectures.precision import written_out
from fda.settings import Distance


def forward_step(
    block: Block,
    base: Parameters,
    finetuned: Sequence[Parameters],
    live: tuple[str, ...],
    shape: torch.Size,
    distance: Distance,
) -> StepFunction:
    """Like `CompiledSteps.step` in float32, for one unit."""
    (single,) = finetuned
    base, theta_i = dict(base), dict(single)
    task_vector = {name: theta_i[name] - base[name] for name in live}
    block = written_out(block)

    def score(theta: Parameters, theta_i: Parameters, x: Tensor) -> Tensor:
        return similarity(block(theta, x), block(theta_i, x), distance)

    def outer(gradient: Parameters, task_vector: Parameters) -> tuple[Tensor, Tensor]:
        cosine = cosines(gradient, task_vector, live)
        return angle_losses(cosine)[0], cosine

    def composition(
        matrix: Tensor, base: Parameters, theta_i: Parameters, task_vector: Parameters
    ) -> tuple[Tensor, Tensor]:
        x = matrix.view(shape)
        along, (_, cosine) = grad_and_value(outer, has_aux=True)(grad(score)(base, theta_i, x), task_vector)
        _, gradient = jvp(lambda theta: grad(score, argnums=2)(theta, theta_i, x), (base,), (along,))[:2]
        return gradient.view(matrix.shape), cosine

    compiled = torch.compile(composition, options={**compiler_options(next(iter(base.values())).device)})
    compiled(torch.zeros(shape).flatten(0, 1).to(next(iter(base.values()))), base, theta_i, task_vector)

    def step(matrices: Tensor) -> tuple[Tensor, Tensor]:
        gradient, cosine = compiled(matrices[0].detach(), base, theta_i, task_vector)
        return gradient[None], cosine[None]

    return step
