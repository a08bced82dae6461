"""What the steps of adaptation compute, plainly or by compiled functions; `fda.anchors.adapt` takes the steps.

Plain: the block as its library wrote it, eager, float32. Compiled: the block written out, one function for each shape of a
batch, with matrix products in float32 or bfloat16. Tests hold the two together.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value

from fda.anchors.step import compiler_options, same_function
from fda.architectures.blocks import Block
from fda.architectures.precision import written_out
from fda.architectures.within_memory import WithinMemory
from fda.settings import Distance

Gradient = Callable[[Mapping[str, Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]
"""(θ, x, y) → (Σ Dist(φ(θ, x), y) of a batch, its gradient at all entries of θ as one vector). x, y: (b, tokens, d)."""
Elementwise = Callable[..., None]
"""(numbers, *vectors) → None: changes some of the vectors, which are equally long, in place, entry by entry."""

PART = 2**15  # numbers of a vector that are read and written while they are in a core's cache


def distances(outputs: Tensor, targets: Tensor, distance: Distance) -> Tensor:
    """Dist summed over the anchors of a batch: 1 − cos of the flattened outputs, squared error, or absolute error."""
    if distance == "cos":
        return (1 - torch.nn.functional.cosine_similarity(outputs.flatten(1), targets.flatten(1))).sum()
    if distance == "mse":
        return torch.nn.functional.mse_loss(outputs, targets, reduction="sum")
    return torch.nn.functional.l1_loss(outputs, targets, reduction="sum")


def within_memory(gradient: Gradient) -> Gradient:
    """The same, but a batch for which the device has no memory is taken in parts, and so are those after it.

    Their losses and gradients are added. torch.OutOfMemoryError if one anchor alone does not fit.
    """
    memory = WithinMemory()

    def parted(theta: Mapping[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        def of_part(part: range) -> tuple[Tensor, Tensor]:
            return gradient(theta, x[part.start : part.stop], y[part.start : part.stop])

        parts = memory.parts(range(len(x)), of_part)
        loss, vector = next(parts)
        for more, other in parts:
            loss, vector = loss + more, vector + other
        return loss, vector

    return parted


class PlainArithmetic:
    """Eager, in float32."""

    def gradient(self, block: Block, distance: Distance) -> Gradient:
        """Autograd through the block."""

        def gradient(theta: Mapping[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            loss = distances(block(theta, x), y, distance)
            gradients = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
            return loss.detach(), torch.cat([one.flatten() for one in gradients])

        return gradient

    def elementwise(self, function: Elementwise) -> Elementwise:
        """On a CPU in parts, because each operation of the function goes over all entries."""

        def in_parts(numbers: Sequence[float], *vectors: Tensor) -> None:
            size = PART if vectors[0].device.type == "cpu" else len(vectors[0])
            for parts in zip(*(vector.split(size) for vector in vectors), strict=True):
                function(numbers, *parts)

        return in_parts


class CompiledArithmetic:
    """Compiled functions of one run: one for each shape of a batch, shared by its starts, blocks and threads.

    `products`: dtype of the matrix products. `around`: entered while a function is compiled, for which other threads wait.
    """

    def __init__(
        self, products: torch.dtype = torch.float32, around: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.products, self.around = products, around
        self._compiled: dict[tuple, tuple[Block, Callable[..., Any]]] = {}
        self._elementwise: dict[tuple, Callable[..., None]] = {}
        self._lock = Lock()
        torch._dynamo.config.recompile_limit = 256  # one for each shape

    def gradient(self, block: Block, distance: Distance) -> Gradient:
        """The gradient of a block. It raises what `torch.compile` raises where there is no compiler."""
        compiled: dict[torch.Size, Callable[..., Any]] = {}

        def gradient(theta: Mapping[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            detached = {name: tensor.detach() for name, tensor in theta.items()}
            with torch.no_grad():
                if x.shape not in compiled:
                    compiled[x.shape] = self._of(block, distance, detached, x, y)
                return compiled[x.shape](detached, x, y)

        return gradient

    def elementwise(self, function: Elementwise) -> Elementwise:
        """One pass over the entries. It raises what `torch.compile` raises where there is no compiler."""

        def in_one_pass(numbers: Sequence[float], *vectors: Tensor) -> None:
            kind, device = (function, len(vectors), len(vectors[0])), vectors[0].device
            # as tensors, because floats would become constants of the compiled function
            tensors = [torch.full((), number, device=device) for number in numbers]
            with torch.no_grad():
                with self._lock:
                    if kind not in self._elementwise:
                        compiled = torch.compile(function, dynamic=False, options=compiler_options(device))
                        with self.around():
                            compiled(tensors, *vectors)
                        self._elementwise[kind] = compiled
                        return
                self._elementwise[kind](tensors, *vectors)

        return in_one_pass

    def _of(
        self, block: Block, distance: Distance, theta: Mapping[str, Tensor], x: Tensor, y: Tensor
    ) -> Callable[..., Any]:
        kind = (tuple(x.shape), distance, tuple(block.shapes.items()))
        with self._lock:
            while kind in self._compiled and not same_function(self._compiled[kind][0], block, theta):
                kind = (*kind, "another function of the same shapes")
            if kind not in self._compiled:
                out = written_out(block, self.products)

                def loss(theta: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
                    return distances(out(theta, x), y, distance)

                def whole(theta: Mapping[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
                    gradients, value = grad_and_value(loss)(theta, x, y)
                    return value, torch.cat([gradients[name].flatten() for name in theta])

                compiled = torch.compile(whole, dynamic=False, options=compiler_options(x.device))
                with self.around():
                    compiled(theta, x, y)
                self._compiled[kind] = (block.copy(), compiled)
            return self._compiled[kind][1]


Arithmetic = PlainArithmetic | CompiledArithmetic
PLAIN = PlainArithmetic()
