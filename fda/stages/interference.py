"""The panel interference: for every matrix of the blocks, STI and the share of conflicting signs. Reads checkpoints alone."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from fda.analysis.interference import sign_conflict, singular_task_interference
from fda.architectures.blocks import Block
from fda.cancel import Cancel
from fda.checkpoints.treatments import is_matrix
from fda.merging.math.singular import top_triples
from fda.merging.method import Weights, task_vectors
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of


def interference_tables(work: Work) -> dict[Panel, Table]:
    """Of the run's tasks and blocks. UserError if a tensor is not finite."""
    device = "cpu" if work.device == "mps" else work.device  # MPS has no float64
    return {"interference": interference_table(work.opened.base, work.finetuned, work.blocks, device, work.cancel)}


def interference_table(
    base: Weights, finetuned: Sequence[Weights], blocks: Sequence[Block], device: str, cancel: Cancel
) -> Table:
    """Each task keeps ⌊min(m, n) / T⌋ singular triples, as TSV-M does; NaN for a matrix that has fewer than T."""
    rows = []
    for block in blocks:
        for layer, theta0, taus in matrices(block, base, finetuned):
            taus = [tau.to(device) for tau in taus]
            keep = min(theta0.shape) // len(taus)
            triples = [top_triples(tau, keep) for tau in taus] if keep else []
            interference = singular_task_interference(triples) if triples else math.nan
            rows.append((block.index, layer, interference, sign_conflict(taus)))
            cancel.check()
    return table_of("interference", rows)


def matrices(block: Block, base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, Tensor, list[Tensor]]]:
    """Of each matrix of the block: its layer, its weights in the base, and its task vectors, all float32 on the CPU."""
    for layer in block.names:
        name = block.prefix + layer
        theta0 = base[name].float()
        if is_matrix(name, theta0):
            yield layer, theta0, list(task_vectors(name, theta0, finetuned))
