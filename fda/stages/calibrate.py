"""Measure, on this device and this zoo, what `cost.py` needs to tell how long a run will take.

Each piece is the run's own code on the run's own checkpoints, for a few seconds and with all lanes at work, in a store that is
thrown away. What was measured before is not measured again.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.anchors.adapt import Adapted, Epoch, adapt_coefficients, adapt_weights, pool, rate_unit
from fda.anchors.construct import Snapshot, Step, construct_together, spaced_steps
from fda.anchors.init import initial_anchors, unit_seed
from fda.anchors.loss import live_tensors
from fda.architectures.blocks import Block
from fda.cancel import NEVER, Cancel
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.jobs.lanes import lane_count, run_lanes
from fda.merging.registry import METHODS
from fda.requests import cost
from fda.requests.cost import Calibration, ScoreCost, StepCost
from fda.requests.runs import adapt_settings
from fda.stages.arithmetic import arithmetic_of, long_arithmetic, operations, steps_of
from fda.stages.construct import batches, real_inputs
from fda.stages.execute import check_spec, resolve_device
from fda.stages.meter import Meter, wait
from fda.stages.unit import measures_of
from fda.stages.unit_update import write_update
from fda.stages.work import Work
from fda.store.spec import RunSpec
from fda.store.store import Store, UnitKey
from fda.tasks.data import CACHE_BYTES, Split, load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo

SECONDS = 2.0  # that a piece of work is watched, if one step of it takes no longer
LEAST = 3  # steps or epochs that are watched, whatever they take
SCORED = 256  # samples a task


def calibrate(spec: RunSpec) -> Calibration:
    """Everything that `predict` needs for this spec, which constructs; measured or known, and kept for the next time.

    UserError if the zoo cannot be opened, or the spec does not fit it.
    """
    asked, known = spec, cost.kept_calibration(spec)
    if known is not None and not cost.missing(spec, known):
        return known
    spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    opened = open_zoo(spec.zoo, spec.tasks)
    check_spec(spec, opened)
    begun = time.time() - psutil.Process().create_time()
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder, sdpa_kernel(SDPBackend.MATH), Meter(spec.device) as meter:
            store = Store(Path(folder))
            work = Work(store, store.create_run(spec), spec, opened, spec.device, NEVER)
            calibration = _first(work, begun, known)
            calibration = _scoring(work, _merges(work, _epochs(work, _steps(work, calibration))))
            prepared = sum(min(CACHE_BYTES, split.bytes) for split in _splits(work).values())
    finally:
        torch.set_num_threads(threads)
    peak = meter.peak_bytes + (prepared if spec.device == "cpu" else 0)
    calibration = replace(calibration, peak_bytes=max(calibration.peak_bytes, peak))
    cost.keep_calibration(asked, calibration)
    return calibration


def _first(work: Work, begun: float, known: Calibration | None) -> Calibration:
    """What every run has: the zoo's size, real inputs, recording."""
    if known is not None:
        return known
    model, settings = work.opened.model, work.construction
    inputs, recording = _recording(work)
    return Calibration(
        lanes=lane_count(work.device),
        blocks=len(model.blocks),
        start=begun,
        inputs=inputs,
        recording=recording,
        operations=operations(work),
        long_arithmetic=long_arithmetic(work.device),
        parameter_bytes=work.opened.base.bytes,
        anchor_bytes=settings.anchors * (settings.tokens or model.tokens) * model.width * 4,
        peak_bytes=0,
        shapes=len({tuple(block.shapes.items()) for block in work.blocks}),
    )


# construction --------------------------------------------------------------------------------------------------------


def _units(work: Work) -> list[tuple[str, Block]]:
    """As many units as run side by side, in the run's order; the same ones again where there are fewer."""
    units = [(task, block) for task in work.spec.tasks for block in work.blocks]
    return [(task, block.copy(work.device)) for task, block in islice(cycle(units), lane_count(work.device))]


def _recording(work: Work) -> tuple[float, float]:
    """(seconds of one task's real inputs, seconds of one unit's records at all its snapshots)."""
    began = time.perf_counter()
    real = {task: real_inputs(work, task) for task in dict.fromkeys(task for task, _ in _units(work))}
    inputs = (time.perf_counter() - began) / len(real)
    took: list[float] = []

    def piece(task: str, block: Block) -> Callable[[Cancel], None]:
        def record(_: Cancel) -> None:
            key = UnitKey("construct", task, block.index)
            base, finetuned = block.of(work.opened.base, work.device), block.of(work.opened.tasks[task], work.device)
            steps = spaced_steps(work.construction.steps)
            measures = measures_of(work, key, block, base, finetuned, real[task], steps)
            x = initial_anchors(block, finetuned, work.construction, 0).to(work.device)
            began = time.perf_counter()
            for step in measures.steps:
                write_update(work, measures.at(Snapshot(step, x, ())))
            wait(work.device)
            took.append(time.perf_counter() - began)

        return record

    units = _units(work)
    work.store.add_units(work.run_id, [(UnitKey("construct", task, block.index), 1) for task, block in units])
    run_lanes([piece(task, block) for task, block in units], work.device, work.cancel)
    share = min(1.0, (work.construction.steps + 1) / cost.SNAPSHOTS)
    return inputs, fmean(took) / share


def _steps(work: Work, known: Calibration) -> Calibration:
    name = cost.arithmetic(work.spec, known)
    if name in known.steps:
        return known
    settings = work.construction.model_copy(update={"arithmetic": name})
    work = replace(work, spec=work.spec.model_copy(update={"construction": settings}))
    ways = steps_of(work)
    compiling = _compiling(work, ways.together) if name != "plain" else 0.0
    took: list[float] = []

    def piece(batch: list[UnitKey]) -> Callable[[Cancel], None]:
        def watch(_: Cancel) -> None:
            block, base, finetuned = _batch(work, batch)
            events = construct_together(
                block,
                base,
                finetuned,
                settings,
                live=live_tensors(block, base, finetuned[0]),
                seeds=[unit_seed(settings.seed, key.name, key.block) for key in batch],
                make_step=ways.make,
            )
            took.append(_pace(event.seconds for unit, event in events if unit == 0 and isinstance(event, Step)))

        return watch

    chosen = islice(cycle(_moved(work, ways.together)), ways.lanes)
    run_lanes([piece(batch) for batch in chosen], work.device, work.cancel, lanes=ways.lanes)
    step_cost = StepCost(fmean(took), compiling, ways.together, ways.lanes)
    return replace(known, steps=known.steps | {name: step_cost})


def _moved(work: Work, together: int) -> Iterator[list[UnitKey]]:
    """Batches of the run without their unchanged units, which take no time. UserError if all of them are unchanged."""
    keys = [UnitKey("construct", task, block.index) for task in work.spec.tasks for block in work.blocks]
    any_moved = False
    for batch in batches(keys, together):
        block, base, finetuned = _batch(work, batch)
        if moved := [key for key, theta in zip(batch, finetuned, strict=True) if live_tensors(block, base, theta)]:
            any_moved = True
            yield moved
    if not any_moved:
        raise UserError("every task left these blocks as they are in the base: there are no anchors to construct.")


def _batch(work: Work, batch: list[UnitKey]) -> tuple[Block, dict[str, Tensor], list[dict[str, Tensor]]]:
    """A batch's block, θ0 and every θi."""
    block = work.opened.model.blocks[batch[0].block].copy(work.device)
    finetuned = [block.of(work.opened.tasks[key.name], work.device) for key in batch]
    return block, block.of(work.opened.base, work.device), finetuned


def _compiling(work: Work, together: int) -> float:
    """Seconds until the first step of a run that finds in the compiler's cache what is compiled here, if it was not there."""
    block, base, finetuned = _batch(work, next(_moved(work, together)))
    settings = work.construction
    x = torch.stack([initial_anchors(block, theta, settings, 0) for theta in finetuned]).to(work.device)
    took = []
    for _ in range(2):
        torch._dynamo.reset()
        began = time.perf_counter()
        live = live_tensors(block, base, finetuned[0])
        steps_of(work).make(block, base, finetuned, live, x.shape[1:], settings.distance)(x.flatten(1, 2))
        wait(work.device)
        took.append(time.perf_counter() - began)
    return min(took)


def _pace(moments: Iterable[float]) -> float:
    """Seconds a step, of steps that have ended at these moments; the first batch of them warms up where there is another."""
    seen: list[float] = []
    for moment in moments:
        seen.append(moment)
        if moment > SECONDS and len(seen) >= LEAST:
            break
    first = seen.count(seen[0])
    return (seen[-1] - seen[0]) / (len(seen) - first) if len(seen) > first else seen[-1] / len(seen)


# adaptation, merging and scoring ---------------------------------------------------------------------------------------


def _epochs(work: Work, known: Calibration) -> Calibration:
    epochs = dict(known.epochs)
    for kind in dict.fromkeys(cost.adaptation_kind(name) for name in cost.adapted(work.spec)):
        if kind not in epochs:
            epochs[kind] = _epoch(work, kind)
    return replace(known, epochs=epochs)


def _epoch(work: Work, kind: str) -> float:
    """Seconds of an epoch of one block, on starts of anchors in place of anchors."""
    settings = adapt_settings(work.spec.zoo, work.spec.adaptation)
    how: dict[str, Any] = {"seed": 0, "arithmetic": arithmetic_of(work, settings)}
    took: list[float] = []

    def piece(block: Block) -> Callable[[Cancel], None]:
        def watch(_: Cancel) -> None:
            base = block.of(work.opened.base, work.device)
            finetuned = [block.of(weights, work.device) for weights in work.finetuned]
            x, y = pool(block, finetuned, [_anchors(work, block, theta) for theta in finetuned])
            if kind == "weights":
                events: Iterator[Epoch | Adapted] = adapt_weights(
                    block, base, x, y, settings, unit=rate_unit(settings, base, finetuned), **how
                )
            else:
                ends = finetuned if kind == "task coefficients" else finetuned[:1]
                taus = ({name: end[name] - base[name] for name in base} for end in ends)
                events = adapt_coefficients(block, base, taus, 0.3, x, y, settings, **how)
            began = time.perf_counter()
            took.append(_pace(time.perf_counter() - began for event in events if isinstance(event, Epoch)))

        return watch

    blocks = islice(cycle(work.blocks), lane_count(work.device))
    run_lanes([piece(block.copy(work.device)) for block in blocks], work.device, work.cancel)
    return fmean(took)


def _anchors(work: Work, block: Block, finetuned: dict[str, Tensor]) -> Tensor:
    return initial_anchors(block, finetuned, work.construction, 0).to(work.device)


class _Part(Weights):
    """The tensors of one block of a checkpoint."""

    def __init__(self, whole: Weights, prefix: str) -> None:
        self.whole, self.path = whole, whole.path
        self.names = [name for name in whole if name.startswith(prefix)]

    def __getitem__(self, name: str) -> Tensor:
        return self.whole[name]

    @property
    def header(self) -> dict:
        return {name: self.whole.header[name] for name in self.names}

    @property
    def fingerprint(self) -> str:
        return self.whole.fingerprint

    @property
    def bytes(self) -> int:
        return self.whole.bytes


def _merges(work: Work, known: Calibration) -> Calibration:
    """Seconds of merging whole models, from one block by its share of the numbers."""
    merges, prefix = dict(known.merges), work.opened.model.blocks[0].prefix
    base, *finetuned = (_Part(whole, prefix) for whole in (work.opened.base, *work.finetuned))
    share = sum(one.count for one in base.header.values()) / sum(one.count for one in work.opened.base.header.values())
    torch.set_num_threads(1 if work.device == "cpu" else torch.get_num_threads())
    for name in cost.merged(work.spec):
        if name not in merges:
            merge = METHODS[name].merge
            assert merge is not None, "`cost.merged` names only methods that have one"
            began = time.perf_counter()
            for _ in merge(base, finetuned, **METHODS[name].defaults):
                pass
            merges[name] = (time.perf_counter() - began) / share
    return replace(known, merges=merges)


def _scoring(work: Work, known: Calibration) -> Calibration:
    """Seconds to prepare a sample, and to score it, all lanes together."""
    if known.scoring is not None or not work.spec.methods:
        return known
    work.opened.model.load(work.opened.base)
    work.opened.model.to(work.device)
    heads = {task: task_head(work.opened, task) for task in work.spec.tasks}
    parts = {}
    for task, split in _splits(work).items():
        parts[task] = split.part(range(min(SCORED, len(split))))

    def piece(task: str) -> Callable[[Cancel], None]:
        data = work.spec.zoo.task(task).data
        return lambda _: evaluate(work.opened.model, heads[task], parts[task], work.device, data=data) and None

    took = []
    for _ in range(3):  # the first prepares the samples, the second warms up
        began = time.perf_counter()
        run_lanes([piece(task) for task in parts], work.device, work.cancel)
        took.append(time.perf_counter() - began)
    count, score = sum(map(len, parts.values())), min(took[1:])
    tests, validations = (sum(map(len, _splits(work, validation=one).values())) for one in (False, True))
    return replace(known, scoring=ScoreCost(tests, validations, max(0.0, took[0] - score) / count, score / count))


def _splits(work: Work, *, validation: bool = False) -> dict[str, Split]:
    """Task → its test split, or its validation split where there is one."""
    splits = {}
    for name in work.spec.tasks if work.spec.methods else ():
        data = work.data(name)
        split = data.validation_split if validation else data.split
        if split is not None:
            splits[name] = load_split(work.spec.zoo.task(name), split, work.opened.model.transform)
    return splits
