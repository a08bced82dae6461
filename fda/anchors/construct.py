"""Construction of a unit's anchors, or those of several tasks of a block together, as a generator of events.

The same generator feeds the worker, the tests and the benchmark. It writes nothing and knows no store.
"""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fda.anchors.init import initial_anchors
from fda.anchors.loss import Parameters, live_tensors
from fda.anchors.step import MakeStep, plain_step
from fda.architectures.blocks import Block
from fda.errors import UserError
from fda.settings import ConstructSettings

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
    Raises UserError if weights are not finite, or if the loss stops being a number, and ValueError if no tensor is live: such
    a block has no anchors, and callers skip it.
    """
    live = checked_live_tensors(block, base, finetuned)
    if not live:
        raise ValueError(f"block {block.index} is unchanged: it has no anchors")
    events = construct_together(
        block,
        base,
        [finetuned],
        settings,
        live=live,
        seeds=[seed],
        snapshot_steps=snapshot_steps,
        starts=None if start is None else [start],
        make_step=make_step,
    )
    for _, event in events:
        yield event


def construct_together(
    block: Block,
    base: Parameters,
    finetuned: Sequence[Parameters],
    settings: ConstructSettings,
    *,
    live: tuple[str, ...],
    seeds: Sequence[int],
    snapshot_steps: Collection[int] = (),
    starts: Sequence[Tensor] | None = None,
    make_step: MakeStep = plain_step,
) -> Iterator[tuple[int, Event]]:
    """`construct` of several tasks of one block, whose live tensors (`checked_live_tensors`) are the same: (place, event).

    The units share nothing but each step's pass over the device; each has its own seed, its own best and its own end.
    """
    device = next(iter(base.values())).device
    if starts is None:
        starts = [initial_anchors(block, own, settings, seed) for own, seed in zip(finetuned, seeds, strict=True)]
    units, shape = len(finetuned), starts[0].shape
    matrices = torch.stack([start.to(device).flatten(0, 1) for start in starts])  # (n·tokens) × d each
    rows = [matrices[place].requires_grad_() for place in range(units)]  # views: what moves them moves `matrices`
    optimizer = make_optimizer(rows, settings)
    step_function = make_step(block, base, finetuned, live, shape, settings.distance)
    best = matrices.clone()
    best_loss = torch.full((units,), math.inf, device=device)
    best_step = torch.zeros(units, dtype=torch.long, device=device)
    pending: list[_Pending] = []
    ends, before = [settings.steps] * units, [math.inf] * units
    step = 0
    began = flushed = time.perf_counter()

    while step < max(ends):
        at_work = [place for place in range(units) if step < ends[place]]
        if step in snapshot_steps:
            for place in at_work:
                yield place, Snapshot(step, matrices[place].reshape(shape).clone(), live)
        gradients, cosine = step_function(matrices)
        reported = (1 - cosine).mean(1)
        better = reported < best_loss
        if len(at_work) < units:
            better &= torch.tensor([step < end for end in ends], device=device)
        best = torch.where(better[:, None, None], matrices, best)
        best_loss = torch.where(better, reported, best_loss)
        best_step = torch.where(better, step, best_step)
        rates = [learning_rate(settings, step, end) if step < end else 0.0 for end in ends]
        for row, gradient, group, rate in zip(rows, gradients, optimizer.param_groups, rates, strict=True):
            row.grad, group["lr"] = gradient, rate
        optimizer.step()
        pending.append(_Pending(step, torch.cat([reported[:, None], cosine], 1), at_work, rates))
        step += 1
        if settings.tolerance and step % STRETCH == 0 and settings.steps in ends:
            lowest = best_loss.tolist()
            for place, end in enumerate(ends):
                if end == settings.steps and lowest[place] > (1 - settings.tolerance) * before[place]:
                    ends[place] = _early_end(settings, step)
            before = lowest
        now = time.perf_counter()
        if now - flushed > FLUSH_SECONDS or step == max(ends):
            yield from _flush(pending, block.index, now - began)
            pending, flushed = [], time.perf_counter()

    for place, anchors in enumerate(best):
        if settings.steps in snapshot_steps:
            yield place, Snapshot(settings.steps, anchors.reshape(shape), live)
        _, cosine = plain_step(block, base, [finetuned[place]], live, shape, settings.distance)(anchors[None])
        loss = (1 - cosine).mean().item()
        final = anchors.reshape(shape).float().cpu()
        yield place, Constructed(final, loss, tuple(cosine[0].tolist()), int(best_step[place].item()), live)


def checked_live_tensors(block: Block, base: Parameters, finetuned: Parameters) -> tuple[str, ...]:
    """Names of the live tensors; none if the block is unchanged. UserError if weights are not finite."""
    for whose, tensors in (("base", base), ("finetuned", finetuned)):
        broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if broken:
            raise UserError(
                f"tensor {block.prefix}{broken} of the {whose} model holds values that are not finite: "
                "give a checkpoint that is whole."
            )
    return live_tensors(block, base, finetuned)


@dataclass(frozen=True)
class _Pending:
    """A step whose numbers are still on the device: (units, 1 + live tensors); those of units at work count."""

    step: int
    numbers: Tensor
    at_work: Sequence[int]
    rates: Sequence[float]


def _flush(pending: Sequence[_Pending], block: int, seconds: float) -> Iterator[tuple[int, Step]]:
    """The events of the steps since the last flush, fetched from the device at once."""
    fetched = torch.stack([one.numbers for one in pending]).tolist()
    for one, numbers in zip(pending, fetched, strict=True):
        for place in one.at_work:
            loss, *values = numbers[place]
            if not math.isfinite(loss):
                raise UserError(
                    f"the angle loss of block {block} is no longer a number at step {one.step}: lower the learning rate."
                )
            yield place, Step(one.step, loss, tuple(values), one.rates[place], seconds)


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


def make_optimizer(matrices: Sequence[Tensor], settings: ConstructSettings) -> torch.optim.Optimizer:
    """AdamW as in the paper, or Muon (orthogonalised momentum), on ((n·tokens) × d) anchor matrices, each a group."""
    groups = [{"params": [matrix]} for matrix in matrices]
    shared = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, **shared)
    return torch.optim.Muon(groups, momentum=settings.momentum, **shared)


def spaced_steps(steps: int, count: int = 20) -> tuple[int, ...]:
    """About `count` steps from 0 to `steps`, denser at the start where anchors change most."""
    return tuple(sorted({round(steps * (i / (count - 1)) ** 2) for i in range(count)}))
