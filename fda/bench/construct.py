"""Measure how soon a unit's anchors reach the final loss of the paper's loop: the reference loop first, then our paths.

Every path optimises the same unit from the same rows of weights, which preset `fast` scales. If the reference exceeds the
budget, its first steps are timed and the rest is extrapolated; its final loss then comes from compiled steps of the same
optimiser, as the result says, and is cached on disk. Our paths run until they reach that loss. Compiling starts with empty
caches, as on a new machine. A batch of several units repeats the same unit; its seconds are divided by their number.
"""

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
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
from fda.bench.units import UNITS, Unit, threads_of_torch
from fda.settings import ConstructSettings, presets
from fda.stages.meter import Meter, wait
from fda.store.bench_results import results_folder

PATHS = ("plain", "compiled", "bfloat16", "forward")
BATCHED = ("compiled", "bfloat16")
ZOO_UNITS = 96  # eight tasks, twelve blocks
WARM_UP = 0.1  # share of the first timings to leave out


@dataclass(frozen=True)
class Timed:
    """One path on one unit.

    `step_ms`: median, 10th and 90th percentile. `steps_to_target`, `seconds_to_target`: until the reference's final loss, with
    compilation; None if not reached. `extrapolated`: the seconds are step time × steps, since only the first steps were run.
    `share_of_ceiling`: counted operations of a plain step / (step time × ceiling of its products). `times_faster_of_zoo`: the
    reference's seconds over ours for ZOO_UNITS such units, which compile once.
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
    """Measure one unit; return plain data. `budget`: seconds for the reference; `steps`: its steps, default the paper's.

    `together`: compiled paths are measured with one unit and with this many in a batch.
    """
    with threads_of_torch(threads):
        return _measure(UNITS[size](device), size, device, budget, steps, paths, together)


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
    # Only what is asked for: a processor without bfloat16 takes minutes for such a product.
    ceilings = {
        name: ceiling(torch.bfloat16 if name == "bfloat16" else torch.float32, device) for name in {"plain", *paths}
    }
    with sdpa_kernel(SDPBackend.MATH):
        operations = _operations(unit, live, start)
        reference = _timed_reference(unit, live, start, steps, budget)
        whole = len(reference.losses) == steps
        target, deviation = (reference.losses[-1], 0.0) if whole else _target(unit, paper, start, reference)
        results = [_result("reference", reference, steps, target, operations / ceilings["plain"], whole=whole)]
        for name in paths:
            for units in (1, together) if together > 1 and name in BATCHED else (1,):
                run = _run(unit, fast, scaled, makers[name], units, until=target)
                title = f"fast, {name}" + (f", {units} together" if units > 1 else "")
                results.append(_result(title, run, fast.steps, target, operations / ceilings[name]))
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
    """Losses before each step, the time at which each step ended (seconds, without compilation), and the cost."""

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
    """(final loss of the paper's optimiser, computed with the device's fastest steps; largest relative deviation).

    The deviation compares these steps' losses with the reference's over the steps that the reference ran. Both numbers are
    cached on disk, keyed by the settings and the reference's first losses, since this takes longest of all.
    """
    identity = f"{paper.model_dump_json()} {[f'{loss:.3e}' for loss in reference.losses[:3]]} {torch.__version__}"
    path = results_folder() / "targets" / f"{sha256(identity.encode()).hexdigest()[:16]}.json"
    if path.is_file():
        cached = json.loads(path.read_text(encoding="utf-8"))
        return float(cached["target"]), float(cached["deviation"])
    steps = CompiledSteps(torch.bfloat16 if has_fast_bfloat16(str(start.device)) else torch.float32)
    losses = _run(unit, paper, start, steps.step).losses
    deviation = max(abs(loss / expected - 1) for loss, expected in zip(losses, reference.losses, strict=False))
    write_text(path, json.dumps({"target": losses[-1], "deviation": deviation, "of": identity}))
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
    """Run the package's generator to its last step, or to the batch of steps that reaches the loss `until`."""
    compiling = 0.0

    def timed_make(*arguments: Any) -> StepFunction:
        nonlocal compiling
        torch._dynamo.reset()  # so that nothing compiled before is reused
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
            initial=[start] * units,
            make_step=timed_make,
        )
        steps: list[Step] = []
        for index, event in events:
            if index == 0 and isinstance(event, Step):
                if steps and event.seconds != steps[-1].seconds and steps[-1].angle_loss <= until:
                    break
                steps.append(event)
    shares = [moment / units for moment in _spread([step.seconds for step in steps])]
    return _Run([step.angle_loss for step in steps], shares, compiling, meter.peak_bytes)


def _spread(seconds: Sequence[float]) -> Iterator[float]:
    """The time at which each step ended. Events carry their batch's time, which is spread evenly over the batch's steps."""
    before, index = 0.0, 0
    while index < len(seconds):
        stop = index
        while stop < len(seconds) and seconds[stop] == seconds[index]:
            stop += 1
        for step in range(index, stop):
            yield before + (seconds[index] - before) * (step - index + 1) / (stop - index)
        before, index = seconds[index], stop


def _result(path: str, run: _Run, steps: int, target: float, floor: float, *, whole: bool = True) -> Timed:
    """`floor`: seconds of a step at the ceiling. `whole`: all steps were run. The reference reaches its target at its end."""
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
    if path is reference or path.seconds_to_target is None or reference.seconds_to_target is None:
        return path
    zoo = path.compile_seconds + ZOO_UNITS * (path.seconds_to_target - path.compile_seconds)
    return replace(path, times_faster_of_zoo=ZOO_UNITS * reference.seconds_to_target / zoo)


def _operations(unit: Unit, live: tuple[str, ...], start: Tensor) -> float:
    """Floating-point operations of the matrix products of one plain step, counted by torch."""
    step = plain_step(unit.block, unit.base, [unit.finetuned], live, start.shape, "cos")
    with FlopCounterMode(display=False) as counter:
        step(start.flatten(0, 1)[None])
    return float(counter.get_total_flops())


@cache
def ceiling(products: torch.dtype, device: str) -> float:
    """Operations per second of a large square matrix product, the best of six. Measured once a process."""
    side = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(products) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        wait(device)
        began = time.perf_counter()
        torch.matmul(a, b)
        wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
