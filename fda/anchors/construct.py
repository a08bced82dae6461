"""Construction of one unit's anchors, as a generator of events.

The same generator feeds the worker, the tests and the benchmark. It writes nothing and knows no store.
"""

import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fda.anchors.init import initial_anchors
from fda.anchors.loss import Parameters, live_tensors
from fda.anchors.settings import ConstructSettings
from fda.anchors.step import MakeStep, plain_step
from fda.errors import UserError
from fda.models.blocks import Block

FLUSH_SECONDS = 0.25  # numbers are fetched from the device in batches this far apart, so that steps need not wait
STRETCH = 25  # steps after which is asked whether the loss still falls


@dataclass(frozen=True)
class Step:
    """One optimiser step. `angle_loss` is the mean over live tensors of 1 − cos, before the step's update."""

    step: int
    angle_loss: float
    cosines: tuple[float, ...]
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Snapshot:
    """The anchors at a step, before its update: (n, tokens, d), detached, on the device. `live`: what the cosines are of."""

    step: int
    anchors: Tensor
    live: tuple[str, ...]


@dataclass(frozen=True)
class Constructed:
    """The best anchors by loss, float32 on the CPU, with the loss computed for them once more by the plain step."""

    anchors: Tensor
    angle_loss: float
    cosines: tuple[float, ...]
    step: int
    live: tuple[str, ...]


Event = Step | Snapshot | Constructed


def construct(
    block: Block,
    base: Parameters,
    finetuned: Parameters,
    settings: ConstructSettings,
    *,
    seed: int,
    snapshot_steps: Collection[int] = (),
    start: Tensor | None = None,
    make_step: MakeStep = plain_step,
) -> Iterator[Event]:
    """Optimise anchors of one unit until the gradient they induce at `base` points along `finetuned` − `base`.

    base, finetuned: the block's tensors by name, float32, on the device to be used. Yields a `Step` for every step, a
    `Snapshot` at each of `snapshot_steps` (the step count itself means the end), and at last one `Constructed`. With a
    `tolerance` there may be fewer steps than `settings.steps`.
    `make_step` decides how a step's gradient is computed (`fda.anchors.step`).
    Raises UserError if weights are not finite, if no tensor is live, or if the loss stops being a number.
    """
    live = checked_live_tensors(block, base, finetuned)
    device = next(iter(base.values())).device
    x = (initial_anchors(block, finetuned, settings, seed) if start is None else start).to(device)
    shape = x.shape
    matrix = x.reshape(-1, block.width).clone().requires_grad_()  # (n·tokens) × d
    optimizer = make_optimizer(matrix, settings)
    step_function = make_step(block, base, finetuned, live, shape, settings.distance)
    best = matrix.detach().clone()
    best_loss = torch.full((), math.inf, device=device)
    best_step = torch.zeros((), dtype=torch.long, device=device)
    pending: list[tuple[int, Tensor, float]] = []
    step, end, before = 0, settings.steps, math.inf
    began = flushed = time.perf_counter()

    while step < end:
        if step in snapshot_steps:
            yield Snapshot(step, matrix.detach().reshape(shape).clone(), live)
        rate = learning_rate(settings, step, end)
        for group in optimizer.param_groups:
            group["lr"] = rate
        matrix.grad, cosine = step_function(matrix)
        reported = (1 - cosine).mean()
        with torch.no_grad():
            better = reported < best_loss
            best = torch.where(better, matrix, best)
            best_loss = torch.where(better, reported, best_loss)
            best_step = torch.where(better, step, best_step)
        optimizer.step()
        pending.append((step, torch.cat([reported[None], cosine]), rate))
        step += 1
        if settings.tolerance and step % STRETCH == 0 and end == settings.steps:
            lowest = best_loss.item()
            if lowest > (1 - settings.tolerance) * before:
                end = _early_end(settings, step)
            before = lowest
        now = time.perf_counter()
        if now - flushed > FLUSH_SECONDS or step == end:
            yield from _flush(pending, block.index, now - began)
            pending, flushed = [], time.perf_counter()

    if settings.steps in snapshot_steps:
        yield Snapshot(settings.steps, best.reshape(shape), live)
    _, cosine = plain_step(block, base, finetuned, live, shape, settings.distance)(best)
    loss = (1 - cosine).mean().item()
    yield Constructed(best.reshape(shape).float().cpu(), loss, tuple(cosine.tolist()), int(best_step.item()), live)


def checked_live_tensors(block: Block, base: Parameters, finetuned: Parameters) -> tuple[str, ...]:
    """Names of the live tensors. UserError if weights are not finite, or if no tensor is live."""
    for whose, tensors in (("base", base), ("finetuned", finetuned)):
        broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if broken:
            raise UserError(
                f"tensor {block.prefix}{broken} of the {whose} model holds values that are not finite: "
                "give a checkpoint that is whole."
            )
    live = live_tensors(block, base, finetuned)
    if not live:
        raise UserError(f"block {block.index} is the same in the base and the finetuned model: leave it out.")
    return live


def _flush(pending: list[tuple[int, Tensor, float]], block: int, seconds: float) -> Iterator[Step]:
    """The events of the steps since the last flush, fetched from the device at once."""
    rows = torch.stack([values for _, values, _ in pending]).tolist()
    for (step, _, rate), (loss, *values) in zip(pending, rows, strict=True):
        if not math.isfinite(loss):
            raise UserError(
                f"the angle loss of block {block} is no longer a number at step {step}: lower the learning rate."
            )
        yield Step(step, loss, tuple(values), rate, seconds)


def _early_end(settings: ConstructSettings, step: int) -> int:
    """Where a unit ends whose loss has stopped falling at `step`: now, or after as many steps on the way to zero.

    Half a cosine has its course settled beforehand, and what is on its way to zero goes on.
    """
    if settings.schedule == "trapezoid":
        return min(2 * step, settings.steps)
    return step if settings.schedule == "constant" else settings.steps


def learning_rate(settings: ConstructSettings, step: int, end: int) -> float:
    """At a step of `end`: constant, half a cosine from its full value to zero, or constant and in the second half a line."""
    done = step / end
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "trapezoid":
        return settings.learning_rate * min(1.0, 2 * (1 - done))
    return settings.learning_rate


def make_optimizer(matrix: Tensor, settings: ConstructSettings) -> torch.optim.Optimizer:
    """AdamW as in the paper, or Muon (orthogonalised momentum) on the ((n·tokens) × d) anchor matrix."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW([matrix], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.Muon(
        [matrix], lr=settings.learning_rate, weight_decay=settings.weight_decay, momentum=settings.momentum
    )


def spaced_steps(steps: int, count: int = 20) -> tuple[int, ...]:
    """About `count` steps from 0 to `steps`, denser at the start where anchors change most."""
    return tuple(sorted({round(steps * (i / (count - 1)) ** 2) for i in range(count)}))
