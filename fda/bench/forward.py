"""One step of construction by forward-over-reverse differentiation, to compare its speed with the package's double backward.

X are the anchors of one unit (a task and a block) and s(θ, X) says how similar the block's outputs are with the weights θ and
with the finetuned weights θi. The angle loss L depends on X only through g = ∇_θ s(θ0, X). With v = ∂L / ∂g, the gradient of L
with respect to X is the derivative of ∇_X s(θ, X) in θ along v, taken at θ0: one forward-mode derivative of one backward pass,
where `fda.anchors.step` differentiates backwards twice. Both are compiled with the same options.
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
    """Compile the step of a single unit, whose θi is the only element of `finetuned`, in float32; return it.

    `live`: names of the tensors whose cosine counts in the loss. `shape`: of the unit's anchors, (n, tokens, d). The returned
    function takes the anchors as matrices (1, n · tokens, d), and gives ∂L / ∂X of that shape and the cosines (1, len(live)).
    """
    (theta_i,) = map(dict, finetuned)
    base = dict(base)
    task_vector = {name: theta_i[name] - base[name] for name in live}
    block = written_out(block)  # linear layers and attention as plain matrix products

    def score(theta: Parameters, finetuned: Parameters, x: Tensor) -> Tensor:
        return similarity(block(theta, x), block(finetuned, x), distance)

    def angle_loss(gradient: Parameters, task_vector: Parameters) -> tuple[Tensor, Tensor]:
        cosine = cosines(gradient, task_vector, live)
        summed, _ = angle_losses(cosine)
        return summed, cosine

    def composition(
        matrix: Tensor, theta0: Parameters, finetuned: Parameters, task_vector: Parameters
    ) -> tuple[Tensor, Tensor]:
        x = matrix.view(shape)
        g = grad(score)(theta0, finetuned, x)
        v, (_, cosine) = grad_and_value(angle_loss, has_aux=True)(g, task_vector)
        _, gradient, *_ = jvp(lambda theta: grad(score, argnums=2)(theta, finetuned, x), (theta0,), (v,))
        return gradient.view(matrix.shape), cosine

    some = next(iter(base.values()))
    compiled = torch.compile(composition, options=compiler_options(some.device))
    # compiles here, not in the first step
    compiled(torch.zeros(shape).flatten(0, 1).to(some), base, theta_i, task_vector)

    def step(matrices: Tensor) -> tuple[Tensor, Tensor]:
        gradient, cosine = compiled(matrices[0].detach(), base, theta_i, task_vector)
        return gradient[None], cosine[None]

    return step
