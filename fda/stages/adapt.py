"""Adapt a start model block by block: on the anchors of all tasks (FDA) or on real block inputs (layer-wise distillation).

Each finished block is saved to a file, so a resumed run continues with the next block, and memory scales with the block.
"""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from fda.anchors.adapt import Adapted, Epoch, adapt_coefficients, adapt_weights, pool, rate_unit
from fda.anchors.init import unit_seed
from fda.architectures.blocks import Block
from fda.cancel import Cancel
from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import kinds_of, write_tensors
from fda.jobs.lanes import run_lanes
from fda.merging.merge import merge_to_file, storable, with_rest
from fda.merging.method import Method, Weights
from fda.merging.methods.ta import task_weights
from fda.merging.registry import METHODS
from fda.settings import AdaptSettings
from fda.stages.anchored import anchors_of, require_unchanged
from fda.stages.arithmetic import arithmetic_of
from fda.stages.real_inputs import real_block_inputs
from fda.stages.work import Work
from fda.store.files import adapted_file, merged_file, save_tensors
from fda.store.records import UNCHANGED
from fda.store.store import UnitKey

# block index → one (n, tokens, d) a task; None for a task that did not change the block and so has no anchors
BlockInputs = Callable[[int], list[Tensor | None]]
SAVE_EVERY = 10  # epochs per write to the store
KEPT = 2**28  # bytes


def epochs(method: Method, settings: AdaptSettings) -> int:
    """The method's number of epochs, for what it trains."""
    return settings.epochs(method.trained)


class Pools:
    """What all starts of a run share: each block's inputs of all tasks with their targets, and how gradients are computed.

    Inputs and targets stay on the device for the next start up to KEPT bytes; beyond that they are made again.
    """

    def __init__(self, work: Work, settings: AdaptSettings, inputs: BlockInputs) -> None:
        self.arithmetic = arithmetic_of(work, settings)
        self._work, self._inputs = work, inputs
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._lock = threading.Lock()

    def of(self, block: Block) -> tuple[Tensor, Tensor] | None:
        """(x, y), both (N, tokens, d) in the tasks' order, without tasks that have no inputs; None if no task has any."""
        if (kept := self._kept.get(block.index)) is not None:
            return kept
        given = zip(self._work.finetuned, self._inputs(block.index), strict=True)
        pairs = [(block.of(weights, self._work.device), x) for weights, x in given if x is not None]
        if not pairs:
            return None
        x, y = pool(block, *zip(*pairs, strict=True))
        with self._lock:
            if x.nbytes + y.nbytes + sum(a.nbytes + b.nbytes for a, b in self._kept.values()) <= KEPT:
                self._kept[block.index] = (x, y)
        return x, y


def anchor_pools(work: Work, settings: AdaptSettings) -> Pools:
    """The anchors of the run that `work` names. UserError as `require_unchanged`."""
    source = work.anchors_run
    require_unchanged(work.store, source, work.opened, work.spec.tasks, work.blocks)
    return Pools(
        work,
        settings,
        lambda block: anchors_of(work.store, source, work.opened, work.spec.tasks, block, work.device),
    )


def input_pools(work: Work, settings: AdaptSettings, examples: int) -> Pools:
    """Real inputs, `examples` samples of each task's training split."""
    inputs = [real_block_inputs(work, task, work.train_split(task), examples) for task in work.spec.tasks]
    return Pools(work, settings, lambda block: [of_task[block].to(work.device) for of_task in inputs])


def adapt_to_file(work: Work, method: Method, settings: AdaptSettings, pools: Pools) -> None:
    """Write the merged file of a method that has a `start`, adapted on `pools`."""
    if method.start is None:
        raise ValueError(f"{method.name} adapts no start model")
    started = _started(work, METHODS[method.start])

    def piece(block: Block) -> Callable[[Cancel], None]:
        def adapt(cancel: Cancel) -> None:
            file = adapted_file(work.folder, method.name, block.index)
            if not work.is_whole(file):
                tensors = adapt_block(work, method, settings, started, pools, block, cancel)
                save_tensors(file, {block.prefix + name: tensor for name, tensor in tensors.items()}, {})
                work.keep(file)

        return adapt

    with work.phases.during("adapt"):
        run_lanes([piece(block.copy(work.device)) for block in work.blocks], work.device, work.cancel)
    parts = [Checkpoint(adapted_file(work.folder, method.name, block.index)) for block in work.blocks]
    adapted = ((name, part[name]) for part in parts for name in part)
    base = work.opened.base
    kinds = kinds_of(base)
    write_tensors(
        merged_file(work.folder, method.name),
        kinds,
        with_rest(base, storable(method.name, kinds, adapted)),
        {"method": method.name},
        cancel=work.cancel,
    )
    for block in work.blocks:
        work.store.forget_file(work.run_id, adapted_file(Path(), method.name, block.index).as_posix())
    shutil.rmtree(adapted_file(work.folder, method.name, 0).parent)
    with contextlib.suppress(OSError):  # not empty while it holds another method's blocks
        adapted_file(work.folder, method.name, 0).parent.parent.rmdir()


def _started(work: Work, start: Method) -> Weights | None:
    """The start model's merged weights; None for pretrained and TA, where the task vectors themselves are adapted."""
    if start.name in ("pretrained", "ta"):
        return None
    path = merged_file(work.folder, start.name)
    if not work.is_whole(path):
        options = work.spec.hyperparameters.get(start.name, {}) | {
            "in_by_out": work.opened.model.in_by_out,
            "cancel": work.cancel,
        }
        merge_to_file(start, work.opened.base, work.finetuned, path, {"method": start.name}, **options)
        work.keep(path)
    return Checkpoint(path)


def ta_scale(work: Work) -> float:
    """λ of the task arithmetic that FDA starts from."""
    return (METHODS["ta"].defaults | work.spec.hyperparameters.get("ta", {}))["scale"]


def ta_weights(work: Work) -> list[float]:
    """The factor of each task's vector in the task arithmetic that FDA starts from."""
    return task_weights(work.spec.hyperparameters.get("ta", {}).get("weights", ""), len(work.finetuned))


def start_of(work: Work, method: Method, started: Weights | None, block: Block) -> dict[str, Tensor]:
    """One block's tensors before adaptation: θ0, θ0 + λ Σ w_i τ_i, or the merged model `started`."""
    base = block.of(work.opened.base, work.device)
    if method.start == "pretrained":
        return base
    if started is not None:
        return block.of(started, work.device)
    taus = _weighted_task_vectors(work, base, [block.of(weights, work.device) for weights in work.finetuned])
    return {name: base[name] + ta_scale(work) * sum(tau[name] for tau in taus) for name in base}


def _weighted_task_vectors(
    work: Work, base: dict[str, Tensor], finetuned: list[dict[str, Tensor]]
) -> list[dict[str, Tensor]]:
    """w_i τ_i of one block, with task arithmetic's weights."""
    return [
        {name: weight * (theta[name] - base[name]) for name in base}
        for weight, theta in zip(ta_weights(work), finetuned, strict=True)
    ]


def adapt_block(
    work: Work,
    method: Method,
    settings: AdaptSettings,
    started: Weights | None,
    pools: Pools,
    block: Block,
    cancel: Cancel,
    *,
    seen: Callable[[Epoch], None] = lambda _: None,
) -> dict[str, Tensor]:
    """Adapt one block on the pooled inputs of all tasks and return its tensors. `seen` is called after every epoch.

    Without any inputs the block keeps its start tensors. `started`: the merged model to start from; None where task vectors
    are adapted. Progress goes to the unit (adapt, method, block).
    """
    key = UnitKey("adapt", method.name, block.index)
    pooled = pools.of(block)
    if pooled is None:
        message = f"{UNCHANGED}: no task has anchors of block {block.index}, so it stays as it starts."
        work.store.update_unit(
            work.run_id, key, state="done", step=epochs(method, settings), seconds=0.0, message=message
        )
        return start_of(work, method, started, block)
    (x, y), base = pooled, block.of(work.opened.base, work.device)
    how: dict[str, Any] = {
        "seed": unit_seed(work.spec.seed, "adapt", block.index),
        "arithmetic": pools.arithmetic,
    }
    if method.trained == "weights":
        begin = base if started is None else block.of(started, work.device)
        unit = rate_unit(settings, base, (block.of(weights, work.device) for weights in work.finetuned))
        events: Iterator[Epoch | Adapted] = adapt_weights(block, begin, x, y, settings, unit=unit, **how)
    else:
        if started is None:
            finetuned = [block.of(weights, work.device) for weights in work.finetuned]
            taus, value = _weighted_task_vectors(work, base, finetuned), ta_scale(work)
        else:
            end = block.of(started, work.device)
            taus, value = [{name: end[name] - base[name] for name in base}], 1.0
        events = adapt_coefficients(block, base, taus, value, x, y, settings, **how)
    work.store.update_unit(work.run_id, key, state="running", step=0)
    rows: list[tuple[str, int, float]] = []
    began = time.perf_counter()
    for event in events:
        if isinstance(event, Adapted):
            work.store.add_scalars(
                work.run_id,
                key,
                rows,
                state="done",
                step=epochs(method, settings),
                loss=rows[-1][2],
                seconds=time.perf_counter() - began,
            )
            return event.parameters
        cancel.check()
        seen(event)
        rows.append(("adapt_loss", event.epoch, event.loss))
        if len(rows) >= SAVE_EVERY:
            seconds = time.perf_counter() - began
            work.store.add_scalars(work.run_id, key, rows, step=event.epoch + 1, loss=event.loss, seconds=seconds)
            rows = rows[-1:]
    raise AssertionError("adaptation ended without a result")
