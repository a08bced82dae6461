"""One unit on a node of a Ray cluster: open the checkpoints there, compute, and send updates a few times a second.

Knows no store: `ray_engine.py`, in the run's worker, asks for units and writes what they send. Imports no Ray.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda import __version__
from fda.anchors.step import MakeStep
from fda.cancel import NEVER
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.interpreter import begin
from fda.stages.arithmetic import node_steps
from fda.stages.unit import unit_updates
from fda.stages.unit_update import UnitUpdate
from fda.stages.work import NodeMaterial
from fda.store.records import UnitKey
from fda.store.spec import RunSpec
from fda.zoos.survey import open_zoo

SEND_SECONDS = 0.3  # between two messages; more often would cost the unit more than a page can show


@dataclass(frozen=True)
class NodeUnit:
    """A unit to compute on a node.

    `spec`: the run's, as JSON. `version`: of fda. `base`, `finetuned`: fingerprints of the checkpoints that the run's worker
    has. `brought`: a folder of the worker's machine that Ray has copied to the working directory of the task, or None.
    """

    spec: str
    key: UnitKey
    device: str
    version: str
    base: str
    finetuned: str
    brought: str | None


def compute_unit(unit: NodeUnit, real: np.ndarray | None) -> Iterator[list[UnitUpdate]]:
    """The updates of a unit, several at a time. `real`: real inputs of its block, (n, tokens, d), or None.

    UserError, with the node's name, for whatever a user can mend: another version of fda, missing or other checkpoints.
    """
    try:
        yield from _grouped(_updates(unit, real))
    except UserError as error:
        raise UserError(f"node {socket.gethostname()}: {error}") from None


def _updates(unit: NodeUnit, real: np.ndarray | None) -> Iterator[UnitUpdate]:
    torch.set_num_threads(1)  # as in a lane: other threads give other bytes
    material, arithmetic, make_step = _opened(unit.spec, unit.device, unit.brought, unit.version)
    key, finetuned = unit.key, material.opened.tasks[unit.key.name]
    require_same([(material.opened.base, unit.base), (finetuned, unit.finetuned)])
    inputs = {key.name: None if real is None else {key.block: torch.tensor(real)}}
    with sdpa_kernel(SDPBackend.MATH):
        yield from unit_updates(material, [key], inputs, arithmetic, make_step, NEVER)


def brought_spec(spec: str, brought: str | None, version: str) -> RunSpec:
    """A run's spec as it holds on this node, which it prepares. UserError if the run's worker has another `version` of fda."""
    if version != __version__:
        raise UserError(f"it has fda {__version__}, the run's worker {version}: install the same version on all nodes.")
    begin()
    asked = RunSpec.model_validate_json(spec)
    return asked if brought is None else RunSpec.model_validate(moved(asked.model_dump(), brought, os.getcwd()))


def require_same(checkpoints: Iterable[tuple[Weights, str]]) -> None:
    """UserError if a checkpoint here has not the fingerprint that the run's worker has found."""
    for weights, expected in checkpoints:
        if weights.fingerprint != expected:
            raise UserError(f"{weights.path} is another checkpoint than on the run's machine: copy it from there.")


@lru_cache(maxsize=1)
def _opened(spec: str, device: str, brought: str | None, version: str) -> tuple[NodeMaterial, str, MakeStep]:
    """The checkpoints and steps of a run, which all units that this process computes share."""
    asked = brought_spec(spec, brought, version)
    material = NodeMaterial(asked, open_zoo(asked.zoo, asked.tasks), device)
    return material, *node_steps(material)


def moved(value: Any, folder: str, to: str) -> Any:
    """The value with every path below `folder`, at any depth, below `to` instead."""
    if isinstance(value, dict):
        return {name: moved(one, folder, to) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [moved(one, folder, to) for one in value]
    inside = isinstance(value, str) and value.startswith(folder.rstrip(os.sep) + os.sep)
    return os.path.join(to, os.path.relpath(value, folder)) if inside else value


def _grouped(updates: Iterator[UnitUpdate]) -> Iterator[list[UnitUpdate]]:
    """The first update at once, then all of SEND_SECONDS together, and the rest at the end."""
    group: list[UnitUpdate] = []
    sent = -SEND_SECONDS
    for update in updates:
        group.append(update)
        if time.monotonic() - sent >= SEND_SECONDS:
            yield group
            group, sent = [], time.monotonic()
    if group:
        yield group
