"""Which arithmetic the steps of a construct run use: plain, compiled, or compiled with bfloat16 products."""

import os
import shutil
from dataclasses import dataclass
from typing import Literal

import torch

from fda.anchors.step import CompiledSteps, MakeStep, plain_step
from fda.models.precision import has_fast_bfloat16
from fda.runs.cost import PAYS_FROM
from fda.runs.work import Work

Resolved = Literal["plain", "compiled", "bfloat16"]

PER_PRODUCT = 20  # operations of a step per (token, weight): ten passes over the block, two operations each


@dataclass(frozen=True)
class Steps:
    """How all units of a run compute their steps, and what that is called."""

    arithmetic: Resolved
    make: MakeStep


def steps_of(work: Work) -> Steps:
    """The steps that a construct run asks for."""
    arithmetic = _resolved(work)
    if arithmetic == "plain":
        return Steps(arithmetic, plain_step)
    return Steps(arithmetic, CompiledSteps(torch.bfloat16 if arithmetic == "bfloat16" else torch.float32).step)


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
    weights = sum(torch.Size(shape).numel() for block in work.blocks for shape in block.shapes.values())
    tokens = settings.anchors * (settings.tokens or work.opened.model.tokens)
    return PER_PRODUCT * float(weights) * tokens / len(work.blocks)


def _has_compiler(device: str) -> bool:
    """torch.compile needs a C++ compiler for a CPU and brings Triton for an NVIDIA GPU."""
    return device.startswith("cuda") or any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
