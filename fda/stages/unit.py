"""Compute units of one block: from checkpoints and settings to updates. Writes no files and no store, so it runs anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fda.anchors.construct import (
    Constructed,
    Event,
    Snapshot,
    Step,
    checked_live_tensors,
    construct_together,
    spaced_steps,
)
from fda.anchors.init import unit_seed
from fda.anchors.loss import Parameters
from fda.anchors.step import MakeStep
from fda.architectures.blocks import Block
from fda.cancel import Cancel, Cancelled
from fda.measures import ANGLE_LOSS
from fda.merging.registry import METHODS
from fda.requests.runs import adapt_settings
from fda.stages.measuring import Measures
from fda.stages.unit_update import Scalars, UnitUpdate
from fda.stages.work import Material
from fda.store.records import UNCHANGED, UnitKey


class BlockInputs(Protocol):
    """Real inputs of a task: block index → (n, tokens, d) on the CPU."""

    def __getitem__(self, block: int, /) -> Tensor: ...


def unit_updates(
    material: Material,
    keys: Sequence[UnitKey],
    real: Mapping[str, BlockInputs | None],
    arithmetic: str,
    make_step: MakeStep,
    cancel: Cancel,
) -> Iterator[UnitUpdate]:
    """Construct units of one block; those with the same live tensors together. `real`: the inputs of each of their tasks.

    A unit whose task did not change the block is done without anchors. Cancelled soon after `cancel` asks for it, and
    torch.OutOfMemoryError where the device has no memory for these units together, when the last updates have made
    unfinished units pending.
    """
    settings, opened, device = material.construction, material.opened, material.device
    block = opened.model.blocks[keys[0].block].copy(device)
    base = block.of(opened.base, device)

    def seed_of(key: UnitKey) -> int:
        return unit_seed(settings.seed, key.name, key.block)

    same_live: dict[tuple[str, ...], list[tuple[_Record, Parameters]]] = {}
    for key in keys:
        finetuned = block.of(opened.tasks[key.name], device)
        live = checked_live_tensors(block, base, finetuned)
        if not live:
            yield unchanged(key, base, finetuned)
            continue
        measures = measures_of(material, key, block, base, finetuned, real[key.name], spaced_steps(settings.steps))
        metadata = {"arithmetic": arithmetic, "seed": settings.seed, "unit_seed": seed_of(key)}
        same_live.setdefault(live, []).append((_Record(material, key, measures, live, metadata), finetuned))
    for live, batch in same_live.items():
        records = [record for record, _ in batch]
        for record in records:
            yield UnitUpdate(record.key, {"state": "running", "steps": settings.steps}, anew=True)
        try:
            for index, event in construct_together(
                block,
                base,
                [finetuned for _, finetuned in batch],
                settings,
                live=live,
                seeds=[seed_of(record.key) for record in records],
                snapshot_steps=spaced_steps(settings.steps),
                make_step=make_step,
            ):
                cancel.check()
                yield from records[index].take(event)
        except (Cancelled, torch.OutOfMemoryError):
            yield from (UnitUpdate(record.key, anew=True) for record in records if not record.done)
            raise


def unchanged(key: UnitKey, base: Parameters, finetuned: Parameters) -> UnitUpdate:
    """A unit without live tensors is done without anchors; adaptation then skips the task in this block."""
    moved = any(not torch.equal(tensor, finetuned[name]) for name, tensor in base.items())
    why = "moved only tensors that its output does not depend on" if moved else "left it as it is in the base"
    message = f"{UNCHANGED}: task {key.name!r} {why}, so block {key.block} has no anchors of it."
    return UnitUpdate(key, {"state": "done", "step": 0, "seconds": 0.0, "message": message}, anew=True)


def measures_of(
    material: Material,
    key: UnitKey,
    block: Block,
    base: Parameters,
    finetuned: Parameters,
    real: BlockInputs | None,
    steps: tuple[int, ...],
) -> Measures:
    """The unit's measures at these steps. With real inputs they also need a merged model: task arithmetic at the default λ."""
    merged: dict[str, Tensor] = {}
    if real is not None:
        scale = METHODS["ta"].defaults["scale"]
        merged = {name: (1 - scale * len(material.finetuned)) * tensor for name, tensor in base.items()}
        for weights in material.finetuned:
            for name, tensor in block.of(weights, material.device).items():
                merged[name] += scale * tensor
    return Measures(
        key,
        block,
        base,
        finetuned,
        merged,
        None if real is None else real[key.block].to(material.device),
        steps,
        adapt_settings(material.spec.zoo, material.spec.adaptation),
    )


def finished_anchors(
    material: Material, key: UnitKey, result: Constructed, **metadata: object
) -> tuple[Tensor, Mapping[str, object]]:
    """A unit's anchors with the metadata of their file, which names their checkpoints and settings and includes `metadata`."""
    settings, opened = material.construction, material.opened
    return result.anchors, {
        "angle_loss": repr(result.angle_loss),
        "step": result.step,
        "init": "unknown" if "init" in material.spec.unknown else settings.init,
        "preset": settings.preset,
        "distance": settings.distance,
        "layout": opened.model.layout,
        "live_tensors": ",".join(result.live),
        "base_fingerprint": opened.base.fingerprint,
        "checkpoint_fingerprint": opened.tasks[key.name].fingerprint,
        **metadata,
    }


@dataclass
class _Record:
    """Turns the events of one unit into updates."""

    material: Material
    key: UnitKey
    measures: Measures
    live: tuple[str, ...]
    metadata: dict[str, object]  # of its file, beside the settings
    rows: Scalars = field(default_factory=list)
    step: int = 0  # number of finished steps
    seconds: float = 0.0
    done: bool = False

    def take(self, event: Event) -> Iterator[UnitUpdate]:
        if isinstance(event, Snapshot):
            yield self.measures.at(event)
        elif isinstance(event, Step):
            yield from self._step(event)
        else:
            yield self._finish(event)

    def _step(self, event: Step) -> Iterator[UnitUpdate]:
        self.step, self.seconds = event.step + 1, event.seconds
        self.rows += [
            (ANGLE_LOSS.key, event.step, event.angle_loss),
            ("learning_rate", event.step, event.learning_rate),
        ]
        if event.step in self.measures.steps:
            self.rows += self.measures.cosines(event.step, self.live, event.cosines)
        if len(self.rows) >= 20:
            yield self._update(step=self.step, loss=event.angle_loss, seconds=self.seconds)

    def _finish(self, event: Constructed) -> UnitUpdate:
        self.rows += self.measures.cosines(self.material.construction.steps, event.live, event.cosines)
        loss, best = event.angle_loss, event.step
        update = self._update(state="done", step=self.step, seconds=self.seconds, loss=loss, best_step=best)
        update.anchors = finished_anchors(self.material, self.key, event, **self.metadata)
        self.done = True
        return update

    def _update(self, **columns: object) -> UnitUpdate:
        rows, self.rows = self.rows, []
        return UnitUpdate(self.key, columns, rows)
