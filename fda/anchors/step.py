"""One step of construction: the angle loss's gradient with respect to the anchors, computed plainly or fast.

Plain: block as its library wrote it, eager, float32, differentiated twice by autograd; what the paper does. Fast: the same
composition written with `torch.func` on a written-out block and compiled once for all units of one shape, with matrix
products in float32 or bfloat16, and with several tasks of a block in one batch. Tests hold the paths together.

The gradient is differentiated backwards, not forwards: both need nine matrix products a layer, but compiled the forward
derivative took 1.5 times as long on the demo's block and 1.6 times on RoBERTa's (`bench construct --paths compiled,forward`).
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, grad_and_value

from fda.anchors.loss import Parameters, angle_losses, cosines, induced_gradient, similarity
from fda.architectures.blocks import Block
from fda.architectures.precision import written_out
from fda.settings import Distance

StepFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Anchors of units as matrices (units, n·tokens, d) → (∂ angle loss / ∂ anchors, cosines of the live tensors a unit)."""
MakeStep = Callable[[Block, Parameters, Sequence[Parameters], tuple[str, ...], torch.Size, Distance], StepFunction]
"""Block, θ0, θi of each unit, live tensors, shape of a unit's anchors (n, tokens, d), distance → the units' step."""


def plain_step(
    block: Block,
    base: Parameters,
    finetuned: Sequence[Parameters],
    live: tuple[str, ...],
    shape: torch.Size,
    distance: Distance,
) -> StepFunction:
    """Autograd differentiates its own gradient, a unit after the other."""
    task_vectors = [{name: parameters[name] - base[name] for name in live} for parameters in finetuned]

    def one(matrix: Tensor, parameters: Parameters, task_vector: Parameters) -> tuple[Tensor, Tensor]:
        matrix = matrix.detach().requires_grad_()
        cosine = cosines(induced_gradient(block, base, parameters, matrix.view(shape), distance), task_vector, live)
        (gradient,) = torch.autograd.grad(angle_losses(cosine)[0], matrix)
        return gradient, cosine.detach()

    def step(matrices: Tensor) -> tuple[Tensor, Tensor]:
        of_units = [one(*unit) for unit in zip(matrices, finetuned, task_vectors, strict=True)]
        gradients, cosine = zip(*of_units, strict=True)
        return torch.stack(gradients), torch.stack(cosine)

    return step


class CompiledSteps:
    """Compiled steps of one run: one for each shape and number of units, shared by its blocks, tasks and threads.

    `products`: dtype of the matrix products. `around`: entered while a step is made. The first step of a shape takes some ten
    seconds, in which the others wait.
    """

    def __init__(
        self, products: torch.dtype = torch.float32, around: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.products, self.around = products, around
        self._compiled: dict[tuple, Callable[..., Any]] = {}
        self._sample: dict[tuple, Block] = {}
        self._lock = Lock()
        torch._dynamo.config.recompile_limit = 256  # one for each shape and set of live tensors
        # To compile for a CPU, torch looks for CUDA too and warns where it finds the toolkit but no GPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

    def step(
        self,
        block: Block,
        base: Parameters,
        finetuned: Sequence[Parameters],
        live: tuple[str, ...],
        shape: torch.Size,
        distance: Distance,
    ) -> StepFunction:
        """The step of these units. Raises what `torch.compile` raises where there is no compiler."""
        base = dict(base)
        if len(finetuned) == 1:
            parameters = dict(finetuned[0])
        else:
            parameters = {name: torch.stack([one[name] for one in finetuned]) for name in base}
        task_vector = {name: parameters[name] - base[name] for name in live}
        kind = (len(finetuned), tuple(shape), distance, live, tuple(block.shapes.items()))
        with self._lock:
            while kind in self._compiled and not same_function(self._sample[kind], block, base):
                kind = (*kind, "another function of the same shapes")
            if kind not in self._compiled:
                some = next(iter(base.values()))
                composition = _composition(written_out(block, self.products), live, shape, distance)
                matrix = torch.zeros(shape).flatten(0, 1).to(some)
                if len(finetuned) > 1:
                    composition = torch.vmap(composition, in_dims=(0, None, 0, 0))
                    matrix = matrix.expand(len(finetuned), *matrix.shape).contiguous()
                compiled = torch.compile(composition, options=compiler_options(some.device))
                with self.around():
                    compiled(matrix, base, parameters, task_vector)
                self._compiled[kind], self._sample[kind] = compiled, block.copy()  # its owner goes on using it
            compiled = self._compiled[kind]

        def step(matrices: Tensor) -> tuple[Tensor, Tensor]:
            matrix = matrices.detach()
            if len(finetuned) > 1:
                gradient, (_, cosine) = compiled(matrix, base, parameters, task_vector)
                return gradient, cosine
            gradient, (_, cosine) = compiled(matrix[0], base, parameters, task_vector)
            return gradient[None], cosine[None]

        return step


def compiler_options(device: torch.device) -> dict[str, Any]:
    """Options of `torch.compile`. On a CPU kernels are called from C++: that takes a tenth less time, and lanes do not wait for
    each other, because a kernel called from Python holds the interpreter's lock while it computes. Precompiled headers are
    off: we compile a single file.
    """
    return {"cpp_wrapper": True, "cpp_cache_precompile_headers": False} if device.type == "cpu" else {}


def _composition(block: Block, live: tuple[str, ...], shape: torch.Size, distance: Distance) -> Callable[..., Any]:
    """(matrix, θ0, θi, τ) → (∂ loss / ∂ matrix, (loss, cosines)), as nested `torch.func` transforms."""

    def score(theta: Parameters, finetuned: Parameters, x: Tensor) -> Tensor:
        return similarity(block(theta, x), block(finetuned, x), distance)

    def loss(matrix: Tensor, base: Parameters, finetuned: Parameters, task_vector: Parameters) -> tuple[Tensor, Tensor]:
        gradient = grad(score)(base, finetuned, matrix.view(shape))
        cosine = cosines(gradient, task_vector, live)
        return angle_losses(cosine)[0], cosine

    return grad_and_value(loss, has_aux=True)


@torch.no_grad()
def same_function(sample: Block, block: Block, parameters: Parameters) -> bool:
    """Whether two blocks of equal shapes compute the same, so that one compiled step serves both.

    Heads, masks and norms do not show in shapes, so both answer the same random input. Compiling takes 25 s on the demo's
    block: a step for each of its four blocks would take the main job past its limit of 60 s.
    """
    x = torch.randn(2, block.probe_tokens, block.width, generator=torch.Generator().manual_seed(0))
    x = x.to(next(iter(parameters.values())))
    return bool(torch.allclose(sample(parameters, x), block(parameters, x), rtol=1e-4, atol=1e-5))
