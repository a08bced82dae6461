"""Construct the units of a run: write each step's numbers to the store and the anchors to files."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

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
from fda.architectures.blocks import Block
from fda.cancel import Cancel, Cancelled
from fda.jobs.lanes import run_lanes
from fda.measures import ANGLE_LOSS
from fda.merging.registry import METHODS
from fda.requests.runs import adapt_settings
from fda.stages.arithmetic import Steps, steps_of
from fda.stages.measuring import Measures
from fda.stages.real_inputs import RealBlockInputs, real_block_inputs
from fda.stages.real_samples import write_real_samples
from fda.stages.work import Work
from fda.store.files import anchors_file, save_tensors
from fda.store.records import UNCHANGED
from fda.store.store import UnitKey
from fda.zoos.hub import tell_on_stderr

REAL_SAMPLES = 64  # samples whose block inputs serve as "real data"


def construct_units(work: Work) -> None:
    """Construct every unfinished unit. A unit is finished if its row is done and its file has not changed since.

    A unit whose task did not change the block is done without a file; its row says why. Units for which the device has no
    memory are constructed after the others, fewer at once; torch.OutOfMemoryError if one alone does not fit.
    """
    store, run_id = work.store, work.run_id
    units = [UnitKey("construct", task, block.index) for task in work.spec.tasks for block in work.blocks]
    store.add_units(run_id, [(key, work.construction.steps) for key in units])
    todo = unfinished_units(work, units)
    settings, model = work.construction, work.opened.model
    if todo and model.token_source and settings.tokens is None:
        tell_on_stderr(f"anchors have {model.tokens} tokens: {model.token_source}")
    real = all_real_inputs(work, dict.fromkeys(key.name for key in todo))
    steps = steps_of(work)

    too_large: list[UnitKey] = []  # for the device's memory, beside the others

    def piece(keys: Sequence[UnitKey], steps: Steps) -> Callable[[Cancel], None]:
        def construct(stop: Cancel) -> None:
            try:
                _construct_batch(work, keys, real, steps, stop)
            except torch.OutOfMemoryError:
                if steps.fewer is None:
                    raise
                too_large.extend(keys)

        return construct

    if steps.arithmetic == "plain":
        work.phases.finish("start")
    with work.phases.during("construct"), sdpa_kernel(SDPBackend.MATH):  # process-wide: set before the lanes start
        while todo:
            pieces = [piece(keys, steps) for keys in batches(todo, steps.together)]
            run_lanes(pieces, work.device, work.cancel, lanes=steps.lanes)
            todo = unfinished_units(work, too_large)
            too_large.clear()
            if todo and steps.fewer is not None:
                steps = steps.fewer
                tell_on_stderr(f"the device ran out of memory; units in a batch from now on: {steps.together}")
    work.phases.finish("start", "compile", "construct")


def unfinished_units(work: Work, keys: Sequence[UnitKey]) -> list[UnitKey]:
    """Units that are not done or whose anchors file is missing or damaged. Unchanged units need no file."""
    done = {unit.key: unit for unit in work.store.units(work.run_id, "construct") if unit.state == "done"}
    return [
        key
        for key in keys
        if key not in done or not (done[key].unchanged or work.is_whole(anchors_file(work.folder, key.name, key.block)))
    ]


def skip_unchanged(work: Work, key: UnitKey, base: Parameters, finetuned: Parameters) -> None:
    """Mark a unit without live tensors as done without anchors; adaptation then skips the task in this block."""
    moved = any(not torch.equal(tensor, finetuned[name]) for name, tensor in base.items())
    why = "moved only tensors that its output does not depend on" if moved else "left it as it is in the base"
    message = f"{UNCHANGED}: task {key.name!r} {why}, so block {key.block} has no anchors of it."
    work.store.reset_unit(work.run_id, key, state="done", step=0, seconds=0.0, message=message)


def batches(units: Sequence[UnitKey], most: int) -> list[list[UnitKey]]:
    """Group units of the same block into batches of at most `most`. With `most` = 1 the order of the units stays."""
    if most == 1:
        return [[key] for key in units]
    by_block: dict[int, list[list[UnitKey]]] = {}
    for key in units:
        of_block = by_block.setdefault(key.block, [[]])
        if len(of_block[-1]) == most:
            of_block.append([])
        of_block[-1].append(key)
    return [batch for of_block in by_block.values() for batch in of_block]


def all_real_inputs(work: Work, tasks: Collection[str]) -> dict[str, RealBlockInputs | None]:
    """`real_inputs` of each of these tasks."""
    found: dict[str, RealBlockInputs | None] = {}
    work.phases.count("inputs", len(tasks))
    with work.phases.during("inputs"):
        for task in tasks:
            found[task] = real_inputs(work, task)
            work.phases.advance("inputs")
    work.phases.finish("inputs")
    return found


def real_inputs(work: Work, task: str) -> RealBlockInputs | None:
    """The inputs that real samples of the task give each block of its finetuned model; None if the task has no data.

    The samples come from the first split that the zoo names among train, validation and test. Copies of them go to the run's
    folder for display.
    """
    data = work.spec.zoo.task(task).data
    if data is None:
        return None
    split = data.train_split or data.validation_split or data.split
    write_real_samples(work, task, split, REAL_SAMPLES)
    return real_block_inputs(work, task, split, REAL_SAMPLES)


def measures_of(
    work: Work,
    key: UnitKey,
    block: Block,
    base: Parameters,
    finetuned: Parameters,
    real: RealBlockInputs | None,
    steps: tuple[int, ...],
) -> Measures:
    """The unit's recorder at these steps. With real inputs it also needs a merged model: task arithmetic at the default λ."""
    merged: dict[str, Tensor] = {}
    if real is not None:
        scale = METHODS["ta"].defaults["scale"]
        merged = {name: (1 - scale * len(work.finetuned)) * tensor for name, tensor in base.items()}
        for weights in work.finetuned:
            for name, tensor in block.of(weights, work.device).items():
                merged[name] += scale * tensor
    return Measures(
        work.store,
        work.run_id,
        key,
        block,
        base,
        finetuned,
        merged,
        None if real is None else real[key.block].to(work.device),
        steps,
        adapt_settings(work.spec.zoo, work.spec.adaptation),
    )


@dataclass
class _Record:
    """Writes one unit's progress to the store and its anchors to a file."""

    work: Work
    key: UnitKey
    measures: Measures
    live: tuple[str, ...]
    metadata: dict[str, object]  # of its file, beside the settings
    rows: list[tuple[str, int, float]] = field(default_factory=list)
    step: int = 0  # number of finished steps
    seconds: float = 0.0
    done: bool = False

    def begin(self) -> None:
        self.reset(state="running", steps=self.work.construction.steps)

    def reset(self, **columns: object) -> None:
        """Make the unit pending, without numbers, unless it is finished."""
        if not self.done:
            self.work.store.reset_unit(self.work.run_id, self.key, **columns)

    def take(self, event: Event) -> None:
        if isinstance(event, Snapshot):
            self.measures.at(event)
        elif isinstance(event, Step):
            self._step(event)
        else:
            self._finish(event)

    def _step(self, event: Step) -> None:
        self.step, self.seconds = event.step + 1, event.seconds
        self.rows += [
            (ANGLE_LOSS.key, event.step, event.angle_loss),
            ("learning_rate", event.step, event.learning_rate),
        ]
        if event.step in self.measures.steps:
            self.rows += self.measures.cosines(event.step, self.live, event.cosines)
        if len(self.rows) >= 20:
            self._write(step=self.step, loss=event.angle_loss, seconds=self.seconds)

    def _finish(self, event: Constructed) -> None:
        self.rows += self.measures.cosines(self.work.construction.steps, event.live, event.cosines)
        save_anchors(self.work, self.key, event, **self.metadata)  # first: the unit is done once its file is whole
        loss, best = event.angle_loss, event.step
        self._write(state="done", step=self.step, seconds=self.seconds, loss=loss, best_step=best)
        self.done = True

    def _write(self, **columns: object) -> None:
        self.work.store.add_scalars(self.work.run_id, self.key, self.rows, **columns)
        self.rows = []


def _construct_batch(
    work: Work,
    keys: Sequence[UnitKey],
    real: Mapping[str, RealBlockInputs | None],
    steps: Steps,
    cancel: Cancel,
) -> None:
    """Construct units of one block; those with the same live tensors together."""
    settings, opened, device = work.construction, work.opened, work.device
    block = opened.model.blocks[keys[0].block].copy(device)
    base = block.of(opened.base, device)

    def seed_of(key: UnitKey) -> int:
        return unit_seed(settings.seed, key.name, key.block)

    same_live: dict[tuple[str, ...], list[tuple[_Record, Parameters]]] = {}
    for key in keys:
        finetuned = block.of(opened.tasks[key.name], device)
        live = checked_live_tensors(block, base, finetuned)
        if not live:
            skip_unchanged(work, key, base, finetuned)
            continue
        measures = measures_of(work, key, block, base, finetuned, real[key.name], spaced_steps(settings.steps))
        metadata = {"arithmetic": steps.arithmetic, "seed": settings.seed, "unit_seed": seed_of(key)}
        same_live.setdefault(live, []).append((_Record(work, key, measures, live, metadata), finetuned))
    for live, batch in same_live.items():
        records = [record for record, _ in batch]
        for record in records:
            record.begin()
        try:
            for index, event in construct_together(
                block,
                base,
                [finetuned for _, finetuned in batch],
                settings,
                live=live,
                seeds=[seed_of(record.key) for record in records],
                snapshot_steps=spaced_steps(settings.steps),
                make_step=steps.make,
            ):
                cancel.check()
                records[index].take(event)
        except (Cancelled, torch.OutOfMemoryError):
            for record in records:
                record.reset()
            raise


def save_anchors(work: Work, key: UnitKey, result: Constructed, **metadata: object) -> None:
    """Write a unit's anchors; the file's metadata names their checkpoints and settings and includes `metadata`."""
    settings, opened = work.construction, work.opened
    path = anchors_file(work.folder, key.name, key.block)
    save_tensors(
        path,
        {"anchors": result.anchors},
        {
            "angle_loss": repr(result.angle_loss),
            "step": result.step,
            "init": "unknown" if "init" in work.spec.unknown else settings.init,
            "preset": settings.preset,
            "distance": settings.distance,
            "layout": opened.model.layout,
            "live_tensors": ",".join(result.live),
            "base_fingerprint": opened.base.fingerprint,
            "checkpoint_fingerprint": opened.tasks[key.name].fingerprint,
            **metadata,
        },
    )
    work.keep(path)
