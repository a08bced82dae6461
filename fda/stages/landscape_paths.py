"""Record the paths of FDA adaptation: adapt the blocks as a comparison does and save their weights at spaced epochs.

One file a block and epoch, so memory scales with the block and a resumed run continues with the next block.
"""

from collections import ChainMap
from collections.abc import Callable, Sequence

from torch import Tensor

from fda.anchors.adapt import Epoch
from fda.anchors.construct import spaced_steps
from fda.architectures.blocks import Block
from fda.cancel import Cancel
from fda.checkpoints.weights import Checkpoint
from fda.jobs.lanes import run_lanes
from fda.merging.method import Weights
from fda.merging.registry import METHODS
from fda.requests.runs import adapt_settings
from fda.settings import AdaptSettings
from fda.stages.adapt import Pools, adapt_block, anchor_pools, epochs, start_of
from fda.stages.work import Work
from fda.store.files import save_tensors
from fda.store.landscape_record import FDA_PATHS, snapshot_file
from fda.store.store import UnitKey


def recorded_epochs(work: Work, method: str) -> tuple[int, ...]:
    """The epochs after which weights are saved, from 0 to the last, denser at the beginning."""
    count = epochs(METHODS[method], adapt_settings(work.spec.zoo, work.spec.adaptation))
    return spaced_steps(count, work.landscape.snapshots)


def adaptation_units(work: Work) -> list[tuple[UnitKey, int]]:
    return [
        (UnitKey("adapt", method, block.index), recorded_epochs(work, method)[-1])
        for method in FDA_PATHS
        for block in work.blocks
    ]


def record_paths(work: Work, methods: Sequence[str]) -> None:
    """Adapt every block by these methods of `FDA_PATHS`, skipping recorded blocks."""
    settings = adapt_settings(work.spec.zoo, work.spec.adaptation)
    pools = anchor_pools(work, settings)
    pieces = [
        _piece(work, method, settings, pools, block.copy(work.device)) for method in methods for block in work.blocks
    ]
    with work.phases.during("adapt"):
        run_lanes(pieces, work.device, work.cancel)


def weights_after(work: Work, method: str, epoch: int) -> Weights:
    """The blocks' tensors after `epoch` epochs, by their names in the checkpoint, read lazily."""
    files = [snapshot_file(work.folder, method, block.index, epoch) for block in work.blocks]
    # typeshed asks for mutable mappings, but ChainMap reads the ones it chains
    return ChainMap(*map(Checkpoint, files))  # pyright: ignore[reportArgumentType]


def _piece(work: Work, method: str, settings: AdaptSettings, pools: Pools, block: Block) -> Callable[[Cancel], None]:
    kept = recorded_epochs(work, method)

    def keep(epoch: int, tensors: dict[str, Tensor]) -> None:
        named = {block.prefix + name: tensor for name, tensor in tensors.items()}
        path = snapshot_file(work.folder, method, block.index, epoch)
        save_tensors(path, named, {"method": method, "epoch": epoch})
        work.keep(path)

    def seen(event: Epoch) -> None:
        if event.epoch + 1 in kept[:-1]:
            keep(event.epoch + 1, event.parameters())

    def adapt(cancel: Cancel) -> None:
        last = snapshot_file(work.folder, method, block.index, kept[-1])
        if last.is_file() and all(
            work.is_whole(snapshot_file(work.folder, method, block.index, epoch)) for epoch in kept
        ):
            return
        start = start_of(work, METHODS[method], None, block)
        changes = pools.of(block) is not None  # else the block stays at its start
        for epoch in kept[:1] if changes else kept[:-1]:
            keep(epoch, start)
        end = adapt_block(work, METHODS[method], settings, None, pools, block, cancel, seen=seen)
        keep(kept[-1], end)  # last, because this file marks the block as finished

    return adapt
