"""Choose how a run computes its steps: plain, compiled, or compiled with bfloat16 products; and how many units at once."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.anchors.arithmetic import PLAIN, Arithmetic, CompiledArithmetic
from fda.anchors.init import initial_anchors
from fda.anchors.step import CompiledSteps, MakeStep, plain_step
from fda.architectures.blocks import Block
from fda.architectures.precision import has_fast_bfloat16
from fda.jobs.lanes import lane_count
from fda.requests.cost import PAYS_FROM
from fda.settings import AdaptSettings
from fda.stages.compiling import noticed
from fda.stages.meter import Meter, device_module
from fda.stages.work import Material, Work

Resolved = Literal["plain", "compiled", "bfloat16"]

ROOM = 0.8  # share of a GPU's free memory that units may fill
PER_PRODUCT = 20  # operations of a step per (token, weight): ten passes over the block, two operations each


@dataclass(frozen=True)
class Steps:
    """How all units of a run compute their steps.

    `together`: how many tasks of a block share a step. `lanes`: how many such batches run in parallel.
    """

    arithmetic: Resolved
    make: MakeStep
    together: int
    lanes: int

    @property
    def fewer(self) -> "Steps | None":
        """The same with fewer units at once, for a device that has run out of memory; None if it is one unit already."""
        if (self.together, self.lanes) == (1, 1):
            return None
        return replace(self, together=-(-self.together // 2), lanes=1)


def steps_of(work: Work) -> Steps:
    """The steps for a construct run's settings and device."""
    arithmetic = _resolved(work)
    make = _make_step(arithmetic, lambda: noticed(work.phases, work.spec, arithmetic))
    return Steps(arithmetic, make, *((1, lane_count(work.device)) if arithmetic == "plain" else _parallelism(work)))


def node_steps(material: Material) -> tuple[Resolved, MakeStep]:
    """The steps of units that are computed one at a time in a process of a cluster."""
    arithmetic = _resolved(material)
    return arithmetic, _make_step(arithmetic, nullcontext)


def _make_step(arithmetic: Resolved, compiling: Callable[[], AbstractContextManager[None]]) -> MakeStep:
    if arithmetic == "plain":
        return plain_step
    return CompiledSteps(torch.bfloat16 if arithmetic == "bfloat16" else torch.float32, compiling).step


def arithmetic_of(work: Work, settings: AdaptSettings) -> Arithmetic:
    """How a run's adaptation computes its steps; all its starts share what is compiled."""
    if settings.arithmetic == "plain":
        return PLAIN
    products = torch.bfloat16 if settings.arithmetic == "bfloat16" else torch.float32
    return CompiledArithmetic(products, lambda: work.phases.during("compile"))


def _parallelism(work: Work) -> tuple[int, int]:
    """(tasks a batch, lanes). On a CPU one task fills a core, so one task a lane; a GPU gets two lanes that fill its memory."""
    if device_module(work.device) is None:
        return 1, lane_count(work.device)
    try:
        room = _room(work)
    except torch.OutOfMemoryError:
        room = 1
    return (1, 1) if room < 2 else (min(len(work.spec.tasks), room // 2), 2)


def _room(work: Work) -> int:
    """How many units fit into a GPU's free memory, judged by the peak memory of one plain step."""
    settings, opened = work.construction, work.opened
    block = max(work.blocks, key=_size).copy(work.device)
    base, finetuned = (block.of(theta, work.device) for theta in (opened.base, opened.tasks[work.spec.tasks[0]]))
    x = initial_anchors(block, finetuned, settings, 0).to(work.device)
    step = plain_step(block, base, [finetuned], block.names, x.shape, settings.distance)
    with sdpa_kernel(SDPBackend.MATH), Meter(work.device) as meter:
        step(x.flatten(0, 1)[None])
    device: Any = device_module(work.device)
    device.empty_cache()  # releases what the step no longer needs
    free, _ = device.mem_get_info(work.device)
    return int(ROOM * free / meter.peak_bytes)


def _size(block: Block) -> int:
    """Number of parameters in a block."""
    return sum(torch.Size(shape).numel() for shape in block.shapes.values())


def _resolved(work: Material) -> Resolved:
    """Resolve `auto` for this run and device. Depends on the whole spec only, so a resumed run resolves it alike."""
    settings = work.construction
    if settings.arithmetic != "auto":
        return settings.arithmetic
    total = operations(work) * settings.steps * len(work.spec.tasks) * len(work.blocks)
    return long_arithmetic(work.device) if total >= PAYS_FROM else "plain"


def long_arithmetic(device: str) -> Resolved:
    """Resolve `auto` for a run that is long enough to pay for compiling."""
    if device == "mps" or not _has_compiler(device):
        return "plain"
    return "bfloat16" if has_fast_bfloat16(device) else "compiled"


def operations(work: Material) -> float:
    """Rough number of floating-point operations of one step of one unit, averaged over the blocks."""
    settings = work.construction
    weights = sum(map(_size, work.blocks))
    tokens = settings.anchors * (settings.tokens or work.opened.model.tokens)
    return PER_PRODUCT * float(weights) * tokens / len(work.blocks)


def _has_compiler(device: str) -> bool:
    """torch.compile needs a C++ compiler for a CPU; Triton, which it brings for an NVIDIA GPU, needs one for C."""
    cuda = device.startswith("cuda")
    names = (os.environ.get("CC", "cc"), "gcc", "clang") if cuda else (os.environ.get("CXX", "g++"), "clang++")
    return any(map(shutil.which, names))
