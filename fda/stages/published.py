"""Import published anchors as the units of a run: recompute their angle loss at θ0 and measure them like constructed ones.

`fda.requests.published` maps files to units and knows how they were constructed; `fda.checkpoints.readers.published_anchors`
reads the .npy format.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fda.anchors.construct import Constructed, Snapshot, checked_live_tensors
from fda.anchors.loss import Parameters, cosines, induced_gradient
from fda.architectures.blocks import Block
from fda.cancel import Cancel
from fda.checkpoints.readers.published_anchors import read_published_anchors
from fda.errors import UserError
from fda.jobs.lanes import run_lanes
from fda.measures import ANGLE_LOSS
from fda.requests.published import layer_file, task_folders
from fda.settings import Distance
from fda.stages.construct import all_real_inputs, unfinished_units
from fda.stages.real_inputs import RealBlockInputs
from fda.stages.unit import finished_anchors, measures_of, unchanged
from fda.stages.unit_update import UnitUpdate, write_update
from fda.stages.work import Work
from fda.store.store import UnitKey

ADVICE = "give anchors of this architecture"


def import_units(work: Work) -> None:
    """Import every unfinished unit. UserError for a file that is missing or does not fit its block.

    A unit has the number of steps that its anchors were constructed with; all measures are recorded at the last step.
    """
    store, run_id, spec = work.store, work.run_id, work.spec
    if spec.published is None:
        raise ValueError("the run imports no anchors")
    folders = task_folders(Path(spec.published), spec.tasks)
    keys = [UnitKey("construct", task, block.index) for task in spec.tasks for block in work.blocks]
    files = {key: layer_file(folders[key.name], key.block) for key in keys}
    store.add_units(run_id, [(key, work.construction.steps) for key in keys])
    todo = unfinished_units(work, keys)
    real = all_real_inputs(work, dict.fromkeys(key.name for key in todo))

    def piece(key: UnitKey) -> Callable[[Cancel], None]:
        return lambda stop: _import_unit(work, key, files[key], real[key.name], stop)

    work.phases.finish("start")
    with work.phases.during("construct"), sdpa_kernel(SDPBackend.MATH):  # process-wide: set before the lanes start
        run_lanes([piece(key) for key in todo], work.device, work.cancel)
    work.phases.finish("construct")


def _import_unit(work: Work, key: UnitKey, file: Path, real: RealBlockInputs | None, cancel: Cancel) -> None:
    cancel.check()
    store, run_id, settings = work.store, work.run_id, work.construction
    block = work.opened.model.blocks[key.block].copy(work.device)
    base, finetuned = block.of(work.opened.base, work.device), block.of(work.opened.tasks[key.name], work.device)
    steps = settings.steps
    store.reset_unit(run_id, key, state="running", steps=steps)
    x = read_published_anchors(file)
    require_fitting(x, file, block, (settings.anchors, settings.tokens), images=work.opened.model.images)
    result = measured(block, base, finetuned, x.to(work.device), settings.distance, steps)
    if result is None:
        write_update(work, unchanged(key, base, finetuned))
        return
    measures = measures_of(work, key, block, base, finetuned, real, (steps,))
    write_update(work, measures.at(Snapshot(steps, x.to(work.device), result.live)))
    rows = [(ANGLE_LOSS.key, steps, result.angle_loss), *measures.cosines(steps, result.live, result.cosines)]
    columns = {"state": "done", "step": steps, "loss": result.angle_loss, "best_step": steps}
    write_update(work, UnitUpdate(key, columns, rows, anchors=finished_anchors(work, key, result, source=file)))


def require_fitting(x: Tensor, file: Path, block: Block, first: tuple[int, int | None], *, images: bool) -> None:
    """UserError if anchors (n, tokens, d) do not fit the block or differ in (n, tokens) from the first file."""
    count, tokens, width = x.shape
    if width != block.width:
        raise UserError(f"{file} holds anchors of width {width}, but block {block.index} has {block.width}: {ADVICE}.")
    if images and tokens != block.tokens:
        raise UserError(
            f"{file} holds anchors of {tokens} tokens, but images give this model {block.tokens}: {ADVICE}."
        )
    if (count, tokens) != first:
        raise UserError(
            f"{file} holds {count} anchors of {tokens} tokens, where the first file holds {first[0]} of {first[1]}: "
            "give files of one set."
        )
    if not x.isfinite().all():
        raise UserError(f"{file} holds anchors that are not finite numbers: copy or download it again.")


def measured(
    block: Block, base: Parameters, finetuned: Parameters, x: Tensor, distance: Distance, steps: int
) -> Constructed | None:
    """The construction result for given anchors (n, tokens, d), with the plain loss at θ0.

    None if the block is unchanged. UserError if weights are not finite or the loss is NaN.
    """
    live = checked_live_tensors(block, base, finetuned)
    if not live:
        return None
    task_vector = {name: finetuned[name] - base[name] for name in live}
    with torch.enable_grad():
        cosine = cosines(induced_gradient(block, base, finetuned, x, distance), task_vector, live)
    loss = (1 - cosine).mean().item()
    if loss != loss:
        raise UserError(f"the angle loss of block {block.index} is not a number on these anchors: {ADVICE}.")
    return Constructed(x.float().cpu(), loss, tuple(cosine.tolist()), steps, live)
