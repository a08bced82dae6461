"""Construct the units of a run: write each step's numbers to the store and the anchors to files."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.cancel import Cancel
from fda.jobs.lanes import run_lanes
from fda.stages.arithmetic import Steps, steps_of
from fda.stages.real_inputs import RealBlockInputs, real_block_inputs
from fda.stages.real_samples import write_real_samples
from fda.stages.unit import unit_updates
from fda.stages.unit_update import write_update
from fda.stages.work import Work
from fda.store.files import anchors_file
from fda.store.store import UnitKey
from fda.zoos.hub import tell_on_stderr

REAL_SAMPLES = 64  # samples whose block inputs serve as "real data"


def construct_units(work: Work) -> None:
    """Construct every unfinished unit. A unit is finished if its row is done and its file has not changed since.

    A unit whose task did not change the block is done without a file; its row says why.
    """
    store, run_id = work.store, work.run_id
    units = [UnitKey("construct", task, block.index) for task in work.spec.tasks for block in work.blocks]
    store.add_units(run_id, [(key, work.construction.steps) for key in units])
    todo = unfinished_units(work, units)
    settings, model = work.construction, work.opened.model
    if todo and model.token_source and settings.tokens is None:
        tell_on_stderr(f"anchors have {model.tokens} tokens: {model.token_source}")
    real = all_real_inputs(work, dict.fromkeys(key.name for key in todo))
    if work.spec.engine == "ray":
        _construct_on_cluster(work, todo, real)
    else:
        _construct_here(work, todo, real)
    work.phases.finish("start", "compile", "construct")


def _construct_here(work: Work, todo: Sequence[UnitKey], real: Mapping[str, RealBlockInputs | None]) -> None:
    """Construct the units side by side in this process.

    Those for which the device has no memory are constructed after the others, fewer at once; torch.OutOfMemoryError if one
    alone does not fit.
    """
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


def _construct_on_cluster(work: Work, todo: Sequence[UnitKey], real: Mapping[str, RealBlockInputs | None]) -> None:
    """Construct the units on a Ray cluster. This process computes nothing meanwhile."""
    from fda.stages.ray_engine import construct_on_ray  # Ray is an extra

    work.phases.finish("start")
    if todo:
        with work.phases.during("construct"):
            construct_on_ray(work, todo, real)


def unfinished_units(work: Work, keys: Sequence[UnitKey]) -> list[UnitKey]:
    """Units that are not done or whose anchors file is missing or damaged. Unchanged units need no file."""
    done = {unit.key: unit for unit in work.store.units(work.run_id, "construct") if unit.state == "done"}
    return [
        key
        for key in keys
        if key not in done or not (done[key].unchanged or work.is_whole(anchors_file(work.folder, key.name, key.block)))
    ]


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
    inputs: dict[str, RealBlockInputs | None] = {}
    work.phases.count("inputs", len(tasks))
    with work.phases.during("inputs"):
        for task in tasks:
            inputs[task] = real_inputs(work, task)
            work.phases.advance("inputs")
    work.phases.finish("inputs")
    return inputs


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


def _construct_batch(
    work: Work,
    keys: Sequence[UnitKey],
    real: Mapping[str, RealBlockInputs | None],
    steps: Steps,
    cancel: Cancel,
) -> None:
    """Construct units of one block in this thread."""
    for update in unit_updates(work, keys, real, steps.arithmetic, steps.make, cancel):
        write_update(work, update)
