"""How a construct run computes its steps: plain, compiled, or compiled with bfloat16 products; and how many units at once."""

import os
import shutil
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.anchors.init import initial_anchors
from fda.anchors.step import CompiledSteps, MakeStep, plain_step
from fda.architectures.blocks import Block
from fda.architectures.precision import has_fast_bfloat16
from fda.jobs.lanes import lane_count
from fda.requests.cost import PAYS_FROM
from fda.stages.meter import Meter
from fda.stages.work import Work

Resolved = Literal["plain", "compiled", "bfloat16"]

ROOM = 0.8  # share of a GPU's free memory that units may fill
PER_PRODUCT = 20  # operations of a step per (token, weight): ten passes over the block, two operations each


@dataclass(frozen=True)
class Steps:
    """How all units of a run compute their steps, and what that is called.

    `together`: how many tasks of a block share a step; `lanes`: how many such batches are at work at once.
    """

    arithmetic: Resolved
    make: MakeStep
    together: int
    lanes: int


def steps_of(work: Work) -> Steps:
    """The steps that a construct run asks for."""
    arithmetic = _resolved(work)
    if arithmetic == "plain":
        return Steps(arithmetic, plain_step, 1, lane_count(work.device))
    products = torch.bfloat16 if arithmetic == "bfloat16" else torch.float32
    return Steps(arithmetic, CompiledSteps(products).step, *_at_once(work))


def _at_once(work: Work) -> tuple[int, int]:
    """(tasks in a batch, lanes): on a CPU one task a lane, whose products fill a core; on a GPU two lanes, filling it."""
    if not work.device.startswith("cuda"):
        return 1, lane_count(work.device)
    room = _room(work)
    return (1, 1) if room < 2 else (min(len(work.spec.tasks), room // 2), 2)


def _room(work: Work) -> int:
    """How many units a GPU's free memory holds, by what a plain step of one takes."""
    settings, opened = work.spec.construction, work.opened
    block = max(work.blocks, key=_size).copy()
    base, finetuned = (block.of(one, work.device) for one in (opened.base, opened.tasks[work.spec.tasks[0]]))
    x = initial_anchors(block, finetuned, settings, 0).to(work.device)
    step = plain_step(block, base, [finetuned], block.names, x.shape, settings.distance)
    with sdpa_kernel(SDPBackend.MATH), Meter(work.device) as meter:
        step(x.flatten(0, 1)[None])
    torch.cuda.empty_cache()  # what the step no longer needs is free
    free, _ = torch.cuda.mem_get_info(work.device)
    return int(ROOM * free / meter.peak_bytes)


def _size(block: Block) -> int:
    """How many numbers a block's tensors hold."""
    return sum(torch.Size(shape).numel() for shape in block.shapes.values())


def _resolved(work: Work) -> Resolved:
    """What `auto` means for this run on this device. Decided by the whole request, so that a resumed run keeps to it."""
    settings = work.spec.construction
    if settings.arithmetic != "auto":
        return settings.arithmetic
    run = operations(work) * settings.steps * len(work.spec.tasks) * len(work.blocks)
    return long_arithmetic(work.device) if run >= PAYS_FROM else "plain"


def long_arithmetic(device: str) -> Resolved:
    """What `auto` means for a run that is long enough to compile for."""
    if device == "mps" or not _has_compiler(device):
        return "plain"
    return "bfloat16" if has_fast_bfloat16(device) else "compiled"


def operations(work: Work) -> float:
    """Roughly, of one step of one unit: the mean over the blocks."""
    settings = work.spec.construction
    weights = sum(map(_size, work.blocks))
    tokens = settings.anchors * (settings.tokens or work.opened.model.tokens)
    return PER_PRODUCT * float(weights) * tokens / len(work.blocks)


def _has_compiler(device: str) -> bool:
    """torch.compile needs a C++ compiler for a CPU and brings Triton for an NVIDIA GPU."""
    return device.startswith("cuda") or any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
