"""The angle loss: how far the gradient that anchors induce at the pretrained weights is from the task vector.

Plain functions of a block φ(parameters, x), without any optimisation.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.architectures.blocks import Block
from fda.settings import Distance

Parameters = Mapping[str, Tensor]


def similarity(outputs: Tensor, targets: Tensor, distance: Distance) -> Tensor:
    """s(θ, X): mean over anchors of the cosine of the flattened outputs, or −MSE, or −L1. Shapes (n, tokens, d)."""
    if distance == "cos":
        return torch.nn.functional.cosine_similarity(outputs.flatten(1), targets.flatten(1)).mean()
    if distance == "mse":
        return -torch.nn.functional.mse_loss(outputs, targets)
    return -torch.nn.functional.l1_loss(outputs, targets)


def induced_gradient(
    block: Block, base: Parameters, finetuned: Parameters, x: Tensor, distance: Distance = "cos"
) -> dict[str, Tensor]:
    """g_p = ∂ s(θ, X) / ∂ θ_p at θ = θ0 for every tensor p of the block, differentiable in x (paper, anchor construction).

    x: (n, tokens, d). Uses the math attention kernel, the only one with a second derivative.
    """
    theta = {name: tensor.detach().requires_grad_() for name, tensor in base.items()}
    with sdpa_kernel(SDPBackend.MATH):
        score = similarity(block(theta, x), block(finetuned, x), distance)
        gradients = torch.autograd.grad(score, list(theta.values()), create_graph=x.requires_grad)
    return dict(zip(theta, gradients, strict=True))


def cosines(gradient: Parameters, task_vector: Parameters, live: tuple[str, ...]) -> Tensor:
    """cos(g_p, τ_p) of the live tensors p, in the order of `live`; shape (len(live),)."""
    tiny = torch.finfo(torch.float32).tiny
    values = []
    for name in live:
        g, tau = gradient[name].flatten(), task_vector[name].flatten()
        values.append(torch.dot(g, tau) / (g.norm() * tau.norm()).clamp_min(tiny))
    return torch.stack(values)


def angle_losses(cosine: Tensor) -> tuple[Tensor, Tensor]:
    """(Σ_p [1 − cos_p], the loss to optimise; its mean over p, the loss to report)."""
    terms = 1 - cosine
    return terms.sum(), terms.mean()


def live_tensors(block: Block, base: Parameters, finetuned: Parameters) -> tuple[str, ...]:
    """Names of the tensors whose cosine can change: τ ≠ 0 and an induced gradient that is not identically zero.

    Empty if the task left the block unchanged, or moved only tensors that its output does not depend on.

    Dead tensors (frozen ones; key biases, whose gradient vanishes in attention) would only add a constant to the loss. One
    gradient in float64 at a random point finds them: a gradient that is zero by mathematics stays at rounding level there.
    Its float64 copies, each twice the block's size, are in memory one at a time, since a block can fill most of it.
    """
    moved = {name for name, tensor in base.items() if not torch.equal(tensor, finetuned[name])}
    if not moved:
        return ()
    device = next(iter(base.values())).device
    device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    probe = (
        torch.randn(2, block.probe_tokens, block.width, generator=torch.Generator().manual_seed(0)).double().to(device)
    )
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        target = block(_in_float64(finetuned, device), probe)
    theta = {name: tensor.requires_grad_() for name, tensor in _in_float64(base, device).items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        score = similarity(block(theta, probe), target, "cos")
        norms = {
            name: torch.autograd.grad(score, tensor, retain_graph=True)[0].norm().item()
            for name, tensor in theta.items()
        }
    largest = max(norms.values(), default=0.0)
    return tuple(name for name in base if name in moved and norms[name] > 1e-10 * largest)


def _in_float64(parameters: Parameters, device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.detach().to(device, torch.float64, copy=True) for name, tensor in parameters.items()}
