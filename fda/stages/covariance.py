"""The panel covariance: what stands in for each layer's input Gram matrix, and how well it agrees with the real one."""

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from fda.analysis.covariance import agreement, agreement_of_identity, task_vector_gram
from fda.architectures.blocks import Block
from fda.architectures.linears import linear_moments
from fda.merging.math.sides import transposed
from fda.stages.anchored import anchors_of, require_unchanged
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of
from fda.tasks.data import load_split
from fda.tasks.task_inputs import AnchorMoments

SAMPLES = 512  # real samples a task, in two halves: the second says how well real data agree with real data
BATCH = 32
GRAM_BYTES = 1 << 30  # of Gram matrices in memory at once: the blocks are gone through in groups of this size


def covariance_tables(work: Work) -> dict[Panel, Table]:
    """Cosines with the Gram matrix of one half of the samples, layer by layer. UserError if a task has no data."""
    rows, splits = [], set()
    source = work.run_id if work.spec.construction is not None else work.spec.anchors_run
    if source is not None:
        require_unchanged(work.store, source, work.opened, work.spec.tasks, work.blocks)
    for at, task in enumerate(work.spec.tasks):
        data = work.data(task)
        split = load_split(work.opened.zoo.task(task), data.train_split or data.split, work.opened.model.transform)
        splits.add(data.train_split or data.split)
        indices = split.spread(SAMPLES)
        halves = (indices[::2], indices[1::2])

        def batches(half: Sequence[int], split=split) -> Iterator:
            for start in range(0, len(half), BATCH):
                work.cancel.check()
                yield split.at(half[start : start + BATCH]).to(work.device)

        work.opened.model.load(work.opened.tasks[task])
        work.opened.model.to(work.device)
        for group in _groups(work.blocks):
            real, again = (_moments(work, group, list(batches(half))) for half in halves)
            for block in group:
                anchors = _anchor_moments(work, source, task, at, block)
                for name in real[block.index]:
                    rows.append((task, block.index, name, *_agreements(work, task, block, name, real, again, anchors)))
    notes = [
        f"The real Gram matrices are over the tokens of at most {SAMPLES // 2} samples a task of the "
        f"{' and the '.join(sorted(splits))} split, through the finetuned model; no label is read."
    ]
    if source is None:
        notes.append("The run has no anchors, so that their Gram matrices are missing.")
    return {"covariance": table_of("covariance", rows, notes)}


def _groups(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """The blocks in order, as many together as GRAM_BYTES allow; one at least."""
    group, size = [], 0
    for block in blocks:
        needed = 2 * sum(4 * max(shape) ** 2 for shape in block.shapes.values() if len(shape) == 2)
        if group and size + needed > GRAM_BYTES:
            yield group
            group, size = [], 0
        group.append(block)
        size += needed
    if group:
        yield group


def _moments(work: Work, group: Sequence[Block], batches: Sequence) -> dict[int, dict[str, Tensor]]:
    """Block → layer → mean of x xᵀ over the tokens of the batches, with the weights that are loaded."""

    def run() -> None:
        for batch in batches:
            work.opened.model.outputs(batch)
            work.cancel.check()

    moments: dict[int, dict[str, Tensor]] = {block.index: {} for block in group}
    for name, moment in linear_moments(nn.ModuleList([block.module for block in group]), run).items():
        position, _, layer = name.partition(".")
        moments[group[int(position)].index][layer] = moment
    return moments


def _anchor_moments(work: Work, source: str | None, task: str, at: int, block: Block) -> Mapping[str, Tensor]:
    """Layer of the block, with its prefix → mean of x xᵀ over the task's anchors; empty without anchors."""
    if source is None:
        return {}
    anchors = anchors_of(work.store, source, work.opened, work.spec.tasks, block.index, work.device)[at]
    block.module.to(work.device)
    return AnchorMoments([block], work.opened.tasks[task], [anchors]).moments()


def _agreements(
    work: Work,
    task: str,
    block: Block,
    layer: str,
    real: Mapping[int, Mapping[str, Tensor]],
    again: Mapping[int, Mapping[str, Tensor]],
    anchors: Mapping[str, Tensor],
) -> tuple[float, float, float, float]:
    """With the real Gram matrix: those of the task vector, of the anchors, of other real samples, and the identity."""
    gram, name = real[block.index][layer], block.prefix + layer
    tau = work.opened.tasks[task][name].double() - work.opened.base[name].double()
    tau = transposed(name, tau, work.opened.model.in_by_out)
    return (
        agreement(task_vector_gram(tau), gram),
        agreement(anchors[name], gram) if name in anchors else math.nan,
        agreement(again[block.index][layer], gram) if layer in again[block.index] else math.nan,
        agreement_of_identity(gram),
    )
