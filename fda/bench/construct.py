"""How soon a unit's anchors reach the loss that the paper's loop reaches: the reference loop and our paths, in turn.

Every path optimises the same unit from the same rows of weights, which `fast` scales. Where the reference's steps do not fit
into the budget, a stretch of them is timed, the rest is extrapolated from it, and the loss at their end is taken from
compiled steps of the same optimiser; the result says so. That loss is kept for the next time, and our paths run until they
have reached it. What is compiled is compiled anew, as on a machine that has not seen the shape. Several units in one batch are
the same unit several times, and their seconds are a unit's share.
"""

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch._inductor.utils import fresh_cache
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fda.anchors.construct import Step, construct_together
from fda.anchors.init import initial_anchors
from fda.anchors.loss import live_tensors
from fda.anchors.reference import reference_loop
from fda.anchors.step import CompiledSteps, MakeStep, StepFunction, plain_step
from fda.architectures.precision import has_fast_bfloat16
from fda.atomic import write_text
from fda.bench.forward import forward_step
from fda.bench.units import UNITS, Unit
from fda.settings import ConstructSettings, presets
from fda.stages.meter import Meter
from fda.store.bench_results import results_folder

PATHS = ("plain", "compiled", "bfloat16", "forward")
BATCHED = ("compiled", "bfloat16")
ZOO_UNITS = 96  # eight tasks, twelve blocks
WARM_UP = 0.1  # share of the timings left out at the start


@dataclass(frozen=True)
class Timed:
    """One path on one unit.

    `step_ms`: median, with the 10th and 90th percentile beside it. `to_target`: steps and seconds until the reference's last
    loss, compilation included; None if it was not reached. `extrapolated`: the seconds are step time × steps, because only
    a stretch was run. `share_of_ceiling`: counted operations of a plain step / (step time × ceiling of its products).
    `times_faster_of_zoo`: the reference's seconds over ours for ZOO_UNITS such units, which compile once.
    """

    path: str
    step_ms: tuple[float, float, float]
    compile_seconds: float
    steps: int
    steps_to_target: int | None
    seconds_to_target: float | None
    extrapolated: bool
    peak_bytes: int
    share_of_ceiling: float
    losses: list[float]
    seconds: list[float]
    times_faster_of_zoo: float | None = None


def bench_construct(
    size: str,
    *,
    device: str = "cpu",
    threads: int | None = None,
    budget: float = 120.0,
    steps: int | None = None,
    paths: Sequence[str] = PATHS[:3],
    together: int = 1,
) -> dict[str, Any]:
    """Measure one unit; plain data. `budget`: seconds that the reference may take; `steps`: it has, else the paper's.

    `together`: beside a unit alone, compiled paths are measured with so many in one batch.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _measure(UNITS[size](device), size, device, budget, steps, paths, together)
    finally:
        torch.set_num_threads(before)


def _measure(
    unit: Unit, size: str, device: str, budget: float, steps: int | None, paths: Sequence[str], together: int
) -> dict[str, Any]:
    block, base, finetuned = unit.block, unit.base, unit.finetuned
    live = live_tensors(block, base, finetuned)
    shared = {"anchors": unit.anchors, "tokens": unit.tokens}
    paper, fast = (presets(unit.family)[name].model_copy(update=shared) for name in ("paper", "fast"))
    if steps is not None:
        fast = fast.model_copy(update={"steps": max(1, steps * fast.steps // paper.steps)})
        paper = paper.model_copy(update={"steps": steps})
    steps = paper.steps
    start, scaled = (initial_anchors(block, finetuned, settings, 0).to(device) for settings in (paper, fast))
    makers: dict[str, MakeStep] = {
        "plain": plain_step,
        "compiled": CompiledSteps().step,
        "bfloat16": CompiledSteps(torch.bfloat16).step,
        "forward": forward_step,
    }
    ceilings = {name: _ceiling(torch.bfloat16 if name == "bfloat16" else torch.float32, device) for name in makers}
    with sdpa_kernel(SDPBackend.MATH):
        operations = _operations(unit, live, start)
        reference = _timed_reference(unit, live, start, steps, budget)
        whole = len(reference.losses) == steps
        target, deviation = (reference.losses[-1], 0.0) if whole else _target(unit, paper, start, reference)
        results = [_result("reference", reference, steps, target, operations / ceilings["plain"], whole=whole)]
        for name in paths:
            for units in (1, together) if together > 1 and name in BATCHED else (1,):
                run = _run(unit, fast, scaled, makers[name], units, until=target)
                told = f"fast, {name}" + (f", {units} together" if units > 1 else "")
                results.append(_result(told, run, fast.steps, target, operations / ceilings[name]))
    return {
        "size": size,
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "reference_steps": steps,
        "target": target,
        "target_measured": whole,
        "target_deviation": deviation,
        "operations_per_step": operations,
        "ceiling": ceilings,
        "paths": [asdict(_compared(result, results[0])) for result in results],
    }


@dataclass(frozen=True)
class _Run:
    """Losses before each step, when each step had ended (seconds, compilation left out), and the cost."""

    losses: list[float]
    ended: list[float]
    compile_seconds: float
    peak_bytes: int


def _timed_reference(unit: Unit, live: tuple[str, ...], start: Tensor, steps: int, budget: float) -> _Run:
    losses, ended = [], []
    with Meter(str(start.device)) as meter:
        began = time.perf_counter()
        for loss in reference_loop(unit.block, unit.base, unit.finetuned, live, start, steps):
            losses.append(loss)
            ended.append(time.perf_counter() - began)
            if ended[-1] > budget:
                break
    return _Run(losses, ended, 0.0, meter.peak_bytes)


def _target(unit: Unit, paper: ConstructSettings, start: Tensor, reference: _Run) -> tuple[float, float]:
    """The loss after all steps of the paper's optimiser, from the device's fastest steps; kept, for it takes longest of all.

    With it, by how much losses of these steps differ at most from the reference's over its stretch, relatively. Two courses
    are one where they have the same settings and the same losses at the stretch's start.
    """
    named = f"{paper.model_dump_json()} {[f'{loss:.3e}' for loss in reference.losses[:3]]} {torch.__version__}"
    path = results_folder() / "targets" / f"{sha256(named.encode()).hexdigest()[:16]}.json"
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        return float(told["target"]), float(told["deviation"])
    steps = CompiledSteps(torch.bfloat16 if has_fast_bfloat16(str(start.device)) else torch.float32)
    losses = _run(unit, paper, start, steps.step).losses
    deviation = max(abs(ours / theirs - 1) for ours, theirs in zip(losses, reference.losses, strict=False))
    write_text(path, json.dumps({"target": losses[-1], "deviation": deviation, "of": named}))
    return losses[-1], deviation


def _run(
    unit: Unit,
    settings: ConstructSettings,
    start: Tensor,
    make: MakeStep,
    units: int = 1,
    *,
    until: float = -math.inf,
) -> _Run:
    """The product's own generator, from its first step to its last, or to the batch of steps that reaches a loss."""
    compiling = 0.0

    def timed_make(*arguments: Any) -> StepFunction:
        nonlocal compiling
        torch._dynamo.reset()  # compiled as in a process and on a machine that have not seen this shape
        began = time.perf_counter()
        with fresh_cache():
            step = make(*arguments)
        compiling = time.perf_counter() - began
        return step

    with Meter(str(start.device)) as meter:
        events = construct_together(
            unit.block,
            unit.base,
            [unit.finetuned] * units,
            settings,
            live=live_tensors(unit.block, unit.base, unit.finetuned),
            seeds=[0] * units,
            starts=[start] * units,
            make_step=timed_make,
        )
        found: list[Step] = []
        for place, event in events:
            if place == 0 and isinstance(event, Step):
                if found and event.seconds != found[-1].seconds and found[-1].angle_loss <= until:
                    break
                found.append(event)
    shares = [moment / units for moment in _spread([event.seconds for event in found])]
    return _Run([event.angle_loss for event in found], shares, compiling, meter.peak_bytes)


def _spread(seconds: Sequence[float]) -> Iterator[float]:
    """When each step ended, from events that carry the moment of their batch: the steps of a batch share its time."""
    before, index = 0.0, 0
    while index < len(seconds):
        stop = index
        while stop < len(seconds) and seconds[stop] == seconds[index]:
            stop += 1
        for place in range(index, stop):
            yield before + (seconds[index] - before) * (place - index + 1) / (stop - index)
        before, index = seconds[index], stop


def _result(path: str, run: _Run, steps: int, target: float, floor: float, *, whole: bool = True) -> Timed:
    """`floor`: seconds a step would take at the ceiling. The reference's target is its own last step."""
    took = [later - earlier for earlier, later in pairwise([0.0, *run.ended])]
    took = sorted(took[int(len(took) * WARM_UP) :])
    low, typical, high = (took[int(q * (len(took) - 1))] for q in (0.1, 0.5, 0.9))
    reached = next((index for index, loss in enumerate(run.losses) if loss <= target), None)
    if path == "reference":
        reached = steps - 1
    seconds = None
    if reached is not None:
        seconds = run.compile_seconds + (run.ended[reached] if whole else statistics.median(took) * (reached + 1))
    return Timed(
        path=path,
        step_ms=(typical * 1e3, low * 1e3, high * 1e3),
        compile_seconds=run.compile_seconds,
        steps=len(run.losses),
        steps_to_target=None if reached is None else reached + 1,
        seconds_to_target=seconds,
        extrapolated=not whole,
        peak_bytes=run.peak_bytes,
        share_of_ceiling=floor / typical,
        losses=run.losses,
        seconds=[run.compile_seconds + moment for moment in run.ended],
    )


def _compared(path: Timed, reference: Timed) -> Timed:
    if path is reference or path.seconds_to_target is None:
        return path
    zoo = path.compile_seconds + ZOO_UNITS * (path.seconds_to_target - path.compile_seconds)
    return replace(path, times_faster_of_zoo=ZOO_UNITS * reference.seconds_to_target / zoo)


def _operations(unit: Unit, live: tuple[str, ...], start: Tensor) -> float:
    """Floating-point operations of the matrix products of one plain step, counted by torch."""
    step = plain_step(unit.block, unit.base, [unit.finetuned], live, start.shape, "cos")
    with FlopCounterMode(display=False) as counter:
        step(start.flatten(0, 1)[None])
    return float(counter.get_total_flops())


def _ceiling(products: torch.dtype, device: str) -> float:
    """Operations a second of a large square matrix product, the best of six."""
    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(products) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
