"""The anchors that a comparison reads from a construct run, and the blocks that it therefore adapts.

Constructing them is `fda.stages.construct`; a file of anchors is read by `fda.store.files`.
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

    from fda.zoos.survey import OpenZoo


def anchors_of(
    store: Store, source: str, opened: "OpenZoo", tasks: Sequence[str], block: int, device: "str | torch.device"
) -> "list[Tensor | None]":
    """The anchors of every task for one block, from run `source`, checked: their bytes, and the checkpoints in use.

    None for a task that left the block unchanged, which has no anchors. UserError if some are missing, or if they were made
    from other checkpoints.
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
        _require_unchanged(source, opened, key)
        return None
    if (path := anchors_file(store.run_dir(source), key.name, key.block)).is_file():
        require_whole(store, source, path)
    base, finetuned = opened.base.fingerprint, opened.tasks[key.name].fingerprint
    return load_anchors(store.run_dir(source), key.name, key.block, base=base, finetuned=finetuned).to(device)


def _require_unchanged(source: str, opened: "OpenZoo", key: UnitKey) -> None:
    """UserError if a block that had no anchors to construct would have some now: no file's metadata tells it."""
    from fda.anchors.loss import live_tensors

    block = opened.model.blocks[key.block].copy()
    if live_tensors(block, block.of(opened.base), block.of(opened.tasks[key.name])):
        raise UserError(
            f"run {source} found block {key.block} unchanged by task {key.name!r}, but the zoo names another checkpoint now: "
            f"construct the anchors of {key.name} again."
        )


def anchored_blocks(store: Store, source: str, tasks: Sequence[str], blocks: Sequence[int]) -> tuple[int, ...]:
    """The blocks of which run `source` constructs anchors, or those of them that `blocks` names; () for all of the model's.

    UserError if a block, or one of `tasks`, is not among the run's, or if the run constructs no anchors.
    """
    spec = store.run(source).spec
    if spec.construction is None:
        raise UserError(f"run {source} constructs no anchors: name another with --anchors RUN_ID.")
    if other := [task for task in tasks if task not in spec.tasks]:
        kept = ",".join(task for task in tasks if task in spec.tasks)
        do = f"leave it out with --tasks {kept}" if kept else "name another run with --anchors"
        raise UserError(f"run {source} has no anchors of task {other[0]!r}: {do}, or construct them.")
    if spec.blocks and (lacking := sorted(set(blocks) - set(spec.blocks))):
        named = ",".join(map(str, spec.blocks))
        raise UserError(
            f"run {source} has no anchors of block {lacking[0]}: give --blocks {named}, or leave --blocks away, which means "
            "the same here."
        )
    return tuple(blocks) or spec.blocks
