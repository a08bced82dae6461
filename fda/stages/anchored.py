"""Read and check the anchors of a construct run for a comparison; find the blocks that the comparison adapts.

`fda.stages.construct` makes anchors; `fda.store.files` reads their files.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fda.errors import UserError
from fda.store.files import anchors_file, load_anchors
from fda.store.finished import require_whole
from fda.store.store import Store, Unit, UnitKey

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fda.architectures.blocks import Block
    from fda.zoos.survey import OpenZoo


def anchors_of(
    store: Store, source: str, opened: "OpenZoo", tasks: Sequence[str], block: int, device: "str | torch.device"
) -> "list[Tensor | None]":
    """Each task's anchors (n, tokens, d) of one block from run `source`, or None for a task that did not change the block.

    Checks the files' checksums and that they were made from the checkpoints in use; `require_unchanged` checks the tasks that
    have none. UserError if one is missing or differs.
    """
    units = {unit.key: unit for unit in store.units(source, "construct")}
    return [_anchors(store, source, opened, units, UnitKey("construct", task, block), device) for task in tasks]


def _anchors(
    store: Store,
    source: str,
    opened: "OpenZoo",
    units: dict[UnitKey, Unit],
    key: UnitKey,
    device: "str | torch.device",
) -> "Tensor | None":
    if key in units and units[key].unchanged:
        return None
    if (path := anchors_file(store.run_dir(source), key.name, key.block)).is_file():
        require_whole(store, source, path)
    base, finetuned = opened.base.fingerprint, opened.tasks[key.name].fingerprint
    return load_anchors(store.run_dir(source), key.name, key.block, base=base, finetuned=finetuned).to(device)


def require_unchanged(
    store: Store, source: str, opened: "OpenZoo", tasks: Sequence[str], blocks: "Sequence[Block]"
) -> None:
    """UserError if a task has changed a block that run `source` found unchanged by it; no file's metadata records that.

    Call it before lanes start: it sets the attention kernel of the whole process for a moment.
    """
    from fda.anchors.loss import live_tensors

    units = {unit.key: unit for unit in store.units(source, "construct")}
    for task in tasks:
        for block in blocks:
            unit = units.get(UnitKey("construct", task, block.index))
            if unit is None or not unit.unchanged:
                continue
            copied = block.copy("cpu")
            if live_tensors(copied, copied.of(opened.base), copied.of(opened.tasks[task])):
                raise UserError(
                    f"run {source} found block {block.index} unchanged by task {task!r}, but the zoo names another "
                    f"checkpoint now: construct the anchors of {task} again."
                )


def anchored_blocks(store: Store, source: str, tasks: Sequence[str], blocks: Sequence[int]) -> tuple[int, ...]:
    """The blocks that run `source` has anchors of, limited to `blocks` if that is not empty; () means all of the model's.

    UserError if the run lacks one of `blocks` or `tasks`, or constructs no anchors.
    """
    spec = store.run(source).spec
    if spec.construction is None:
        raise UserError(f"run {source} constructs no anchors: name another with --anchors RUN_ID.")
    if unknown := [task for task in tasks if task not in spec.tasks]:
        kept = ",".join(task for task in tasks if task in spec.tasks)
        advice = f"leave it out with --tasks {kept}" if kept else "name another run with --anchors"
        raise UserError(f"run {source} has no anchors of task {unknown[0]!r}: {advice}, or construct them.")
    if spec.blocks and (lacking := sorted(set(blocks) - set(spec.blocks))):
        existing = ",".join(map(str, spec.blocks))
        raise UserError(
            f"run {source} has no anchors of block {lacking[0]}: give --blocks {existing}, or leave --blocks out, which means "
            "the same here."
        )
    return tuple(blocks) or spec.blocks
