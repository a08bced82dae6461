"""Measure adaptation of one block side by side, from each kind of start: the paper's loop, ours plain and compiled.

All paths see the same batches in the same order and must end at the same block. No float32 path can be faster than the block's
matrix products, so their time at the device's best rate is told too.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch._inductor.utils import fresh_cache

from fda.anchors.adapt import Adapted, Epoch, adapt_coefficients, adapt_weights, pool
from fda.anchors.arithmetic import PLAIN, Arithmetic, CompiledArithmetic
from fda.anchors.reference import reference_adaptation
from fda.bench.construct import ceiling
from fda.bench.units import UNITS, Unit, threads_of_torch
from fda.settings import PAPER_ADAPT, AdaptSettings, paper_family

REFERENCE = "paper's loop"
PATHS = ("plain", "compiled", "bfloat16")
STARTS = {"pretrained": None, "ta": "all", "tsv or wudi": "one"}  # whose task vectors' coefficients are trained
PER_PRODUCT = 6  # operations of a gradient per (token, weight): three passes over the block
LAMBDA = 0.3


def bench_adapt(
    size: str,
    *,
    tasks: int = 5,
    batch: int | None = None,
    epochs: int = 6,
    device: str = "cpu",
    threads: int | None = None,
    paths: Sequence[str] = PATHS[:2],
) -> dict[str, Any]:
    """Seconds of an epoch for each start and path, as plain data. `batch`: anchors a step, None: the paper's.

    `first`: seconds of the first epoch, which compiles; `seconds`: median, least and most of the others. `difference`: how far
    the outputs of the adapted block are from those by the paper's loop, over how far that one moved them. `floor_seconds`: the
    matrix products of an epoch at the rate of a large product. A task has half the paper's anchors, as in preset `fast`.
    """
    with threads_of_torch(threads):
        return _measure(UNITS[size](device), size, tasks, batch, epochs, device, paths)


def _measure(
    unit: Unit, size: str, tasks: int, batch: int | None, epochs: int, device: str, paths: Sequence[str]
) -> dict[str, Any]:
    settings = PAPER_ADAPT[paper_family(unit.family)]
    settings = settings.model_copy(
        update={"weights_epochs": epochs, "coefficients_epochs": epochs, "batch": batch or settings.batch}
    )
    finetuned, x, y = _tasks(unit, tasks, device)
    taus = [{name: theta[name] - unit.base[name] for name in unit.base} for theta in finetuned]
    arithmetics: dict[str, Arithmetic] = {
        "plain": PLAIN,
        "compiled": CompiledArithmetic(),
        "bfloat16": CompiledArithmetic(torch.bfloat16),
    }
    rows: list[dict[str, Any]] = []
    with fresh_cache():  # compiled anew, as on a new machine
        for start, whose in STARTS.items():
            chosen = {None: None, "all": taus, "one": taus[:1]}[whose]
            value = LAMBDA if whose == "all" else 1.0
            runs: dict[str, Iterator[Any]] = {
                REFERENCE: reference_adaptation(unit.block, unit.base, chosen, value, x, y, settings, 0)
            }
            runs |= {path: _ours(unit, chosen, value, x, y, settings, arithmetics[path]) for path in paths}
            took, ends = _in_turn(runs, epochs)
            begun = {
                name: tensor + value * sum(tau[name] for tau in chosen or ()) for name, tensor in unit.base.items()
            }
            before, right, *ours = (_outputs(unit, theta, x) for theta in (begun, *ends))
            for path, seconds, outputs in zip(runs, took, (right, *ours), strict=True):
                first, *rest = seconds
                row = {"start": start, "path": path, "first": first, "seconds": [median(rest), min(rest), max(rest)]}
                rows.append(row | {"difference": ((outputs - right).norm() / (right - before).norm()).item()})
    weights = sum(tensor.numel() for tensor in unit.base.values() if tensor.ndim > 1)
    operations = PER_PRODUCT * float(weights) * x.shape[0] * x.shape[1]
    return {
        "size": size,
        "device": device,
        "threads": torch.get_num_threads(),
        "tasks": tasks,
        "anchors": len(x),
        "tokens": x.shape[1],
        "batch": settings.batch,
        "epochs": epochs,
        "floor_seconds": operations / ceiling(torch.float32, device),
        "rows": rows,
    }


def _tasks(unit: Unit, tasks: int, device: str) -> tuple[list[dict[str, Tensor]], Tensor, Tensor]:
    """Blocks of made-up tasks, each with its own share of every entry of the unit's task vector; anchors and targets."""
    random = torch.Generator().manual_seed(0)
    finetuned, anchors = [], []
    for _ in range(tasks):
        share = {name: torch.rand(tensor.shape, generator=random).to(device) for name, tensor in unit.base.items()}
        finetuned.append({name: base + share[name] * (unit.finetuned[name] - base) for name, base in unit.base.items()})
        anchors.append(torch.randn(unit.anchors // 2, unit.tokens, unit.block.width, generator=random).to(device))
    return finetuned, *pool(unit.block, finetuned, anchors)


def _ours(
    unit: Unit,
    taus: Sequence[dict[str, Tensor]] | None,
    value: float,
    x: Tensor,
    y: Tensor,
    settings: AdaptSettings,
    arithmetic: Arithmetic,
) -> Iterator[Epoch | Adapted]:
    if taus is None:
        return adapt_weights(unit.block, unit.base, x, y, settings, seed=0, arithmetic=arithmetic)
    return adapt_coefficients(unit.block, unit.base, taus, value, x, y, settings, seed=0, arithmetic=arithmetic)


def _in_turn(runs: dict[str, Iterator[Any]], epochs: int) -> tuple[list[list[float]], list[dict[str, Tensor]]]:
    """Seconds of each epoch of each run, and where the runs end. An epoch of each in turn, so that a busy machine slows all."""
    took: dict[str, list[float]] = {path: [] for path in runs}
    ends: dict[str, dict[str, Tensor]] = {}
    for _ in range(epochs):
        for path, run in runs.items():
            began = time.perf_counter()
            event = next(run)
            tensors = event[1] if path == REFERENCE else event.parameters()  # waits for the device
            took[path].append(time.perf_counter() - began)
            ends[path] = tensors
    return list(took.values()), list(ends.values())


@torch.no_grad()
def _outputs(unit: Unit, theta: dict[str, Tensor], x: Tensor) -> Tensor:
    return unit.block(theta, x)
