"""Construction of the anchors of one unit, or of several tasks of a block together, as a generator of events.

The worker, the tests and the benchmark consume the same generator. It writes no files and no store.
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

FLUSH_SECONDS = 0.25  # interval at which numbers are fetched from the device: steps do not wait for them
STRETCH = 25  # steps between two checks that the loss still falls


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
    """The anchors before a step's update: (n, tokens, d), detached, on the device. `live`: the tensors of the cosines."""

    step: int
    anchors: Tensor
    live: tuple[str, ...]


@dataclass(frozen=True)
class Constructed:
    """The anchors of lowest loss, float32 on the CPU, with their loss computed once more by the plain step."""

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
    initial: Tensor | None = None,
    make_step: MakeStep = plain_step,
) -> Iterator[Event]:
    """Optimise anchors of one unit until the gradient they induce at `base` points along `finetuned` − `base`.

    base, finetuned: the block's tensors by name, float32, on the device to compute on. `initial`: the anchors to start
    from, by default `initial_anchors`. `make_step`: how to compute a step's gradient (`fda.anchors.step`).
    Yields a `Step` for every step, a `Snapshot` at each of `snapshot_steps` (`settings.steps` means after the last step), and
    finally one `Constructed`. With a `tolerance` the unit may end before `settings.steps`.
    Raises UserError if weights are not finite or the loss becomes NaN, and ValueError if no tensor is live: such a block
    has no anchors, and callers skip it.
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
        initial=None if initial is None else [initial],
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
    initial: Sequence[Tensor] | None = None,
    make_step: MakeStep = plain_step,
) -> Iterator[tuple[int, Event]]:
    """`construct` for several tasks of one block with the same live tensors (`checked_live_tensors`): (unit, event).

    The units share only each step's pass over the device; each has its own seed, best anchors and end.
    """
    device = next(iter(base.values())).device
    if initial is None:
        initial = [
            initial_anchors(block, weights, settings, seed) for weights, seed in zip(finetuned, seeds, strict=True)
        ]
    units, shape = len(finetuned), initial[0].shape
    matrices = torch.stack([anchors.to(device).flatten(0, 1) for anchors in initial])  # (n·tokens) × d each
    trained = [matrices[unit].requires_grad_() for unit in range(units)]  # views: updating them updates `matrices`
    optimizer = make_optimizer(trained, settings)
    step_function = make_step(block, base, finetuned, live, shape, settings.distance)
    best = matrices.clone()
    best_loss = torch.full((units,), math.inf, device=device)
    best_step = torch.zeros(units, dtype=torch.long, device=device)
    pending: list[_Pending] = []
    ends, previous = [settings.steps] * units, [math.inf] * units
    step, running, runs = 0, list(range(units)), None
    began = flushed = time.perf_counter()

    while step < max(ends):
        if len(still := [unit for unit in running if step < ends[unit]]) < len(running):
            running, runs = still, torch.tensor([step < end for end in ends], device=device)
        if step in snapshot_steps:
            for unit in running:
                yield unit, Snapshot(step, matrices[unit].reshape(shape).clone(), live)
        gradients, cosine = step_function(matrices)
        reported = (1 - cosine).mean(1)
        better = reported < best_loss
        if runs is not None:
            better &= runs
        best = torch.where(better[:, None, None], matrices, best)
        best_loss = torch.where(better, reported, best_loss)
        best_step = torch.where(better, step, best_step)
        rates = [learning_rate(settings, step, end) if step < end else 0.0 for end in ends]
        for matrix, gradient, group, rate in zip(trained, gradients, optimizer.param_groups, rates, strict=True):
            matrix.grad, group["lr"] = gradient, rate
        optimizer.step()
        pending.append(_Pending(step, torch.cat([reported[:, None], cosine], 1), running, rates))
        step += 1
        if settings.tolerance and step % STRETCH == 0 and settings.steps in ends:
            lowest = best_loss.tolist()
            for unit, end in enumerate(ends):
                if end == settings.steps and lowest[unit] > (1 - settings.tolerance) * previous[unit]:
                    ends[unit] = _early_end(settings, step)
            previous = lowest
        now = time.perf_counter()
        if now - flushed > FLUSH_SECONDS or step == max(ends):
            yield from _flush(pending, block.index, now - began)
            pending, flushed = [], time.perf_counter()

    for unit, anchors in enumerate(best):
        if settings.steps in snapshot_steps:
            yield unit, Snapshot(settings.steps, anchors.reshape(shape), live)
        _, cosine = plain_step(block, base, [finetuned[unit]], live, shape, settings.distance)(anchors[None])
        loss = (1 - cosine).mean().item()
        final = anchors.reshape(shape).float().cpu()
        yield unit, Constructed(final, loss, tuple(cosine[0].tolist()), int(best_step[unit].item()), live)


def checked_live_tensors(block: Block, base: Parameters, finetuned: Parameters) -> tuple[str, ...]:
    """Names of the live tensors; empty if the block is unchanged. UserError if weights are not finite."""
    for model, tensors in (("base", base), ("finetuned", finetuned)):
        broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
        if broken:
            raise UserError(
                f"tensor {block.prefix}{broken} of the {model} model holds values that are not finite: "
                "give another checkpoint."
            )
    return live_tensors(block, base, finetuned)


@dataclass(frozen=True)
class _Pending:
    """A step whose numbers are still on the device: (units, 1 + live tensors), valid for the `running` units."""

    step: int
    numbers: Tensor
    running: Sequence[int]
    rates: Sequence[float]


def _flush(pending: Sequence[_Pending], block: int, seconds: float) -> Iterator[tuple[int, Step]]:
    """Fetch all pending numbers in one transfer and yield their events."""
    fetched = torch.stack([step.numbers for step in pending]).tolist()
    for step, numbers in zip(pending, fetched, strict=True):
        for unit in step.running:
            loss, *values = numbers[unit]
            if not math.isfinite(loss):
                raise UserError(
                    f"the angle loss of block {block} is no longer a number at step {step.step}: lower the learning rate."
                )
            yield unit, Step(step.step, loss, tuple(values), step.rates[unit], seconds)


def _early_end(settings: ConstructSettings, step: int) -> int:
    """The end of a unit whose loss has stopped falling at `step`.

    A constant rate ends at once. A trapezoid decays to zero over as many steps again. A cosine runs to its planned end.
    """
    if settings.schedule == "trapezoid":
        return min(2 * step, settings.steps)
    return step if settings.schedule == "constant" else settings.steps


def learning_rate(settings: ConstructSettings, step: int, end: int) -> float:
    """The rate at a step of `end`: constant; half a cosine to zero; or constant, then linear to zero in the second half."""
    done = step / end
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "trapezoid":
        return settings.learning_rate * min(1.0, 2 * (1 - done))
    return settings.learning_rate


def make_optimizer(matrices: Sequence[Tensor], settings: ConstructSettings) -> torch.optim.Optimizer:
    """AdamW as in the paper, or Muon (orthogonalised momentum); each ((n·tokens) × d) anchor matrix is a parameter group."""
    groups = [{"params": [matrix]} for matrix in matrices]
    lr, weight_decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    return torch.optim.Muon(groups, lr=lr, weight_decay=weight_decay, momentum=settings.momentum)


def spaced_steps(steps: int, count: int = 20) -> tuple[int, ...]:
    """About `count` steps from 0 to `steps`, denser at the beginning, where anchors change most."""
    return tuple(sorted({round(steps * (i / (count - 1)) ** 2) for i in range(count)}))
