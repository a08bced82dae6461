"""The panels over_accumulation and alignment: what a merged update keeps of each task vector, matrix by matrix."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import torch

from fda.analysis.updates import alignment_ratio, kept_rank, left_vectors, over_accumulation
from fda.architectures.blocks import Block
from fda.checkpoints.weights import Checkpoint
from fda.errors import UserError
from fda.merging.math.sides import Transposed
from fda.merging.math.singular import top_triples
from fda.merging.method import Weights, task_vectors
from fda.report.comparison import ALWAYS
from fda.stages.interference import matrices
from fda.stages.work import Work
from fda.store.analyses import Panel, Table, table_of
from fda.store.files import merged_file
from fda.store.finished import require_whole
from fda.zoos.survey import header_problem

RANKS = 16  # singular vectors of each update that over-accumulation is computed for


def merged_models(work: Work) -> tuple[dict[str, Checkpoint], list[str]]:
    """(method → its merged model, a note on those whose file is gone). UserError if there is none or one does not fit."""
    done = [
        one.method for one in work.store.results(work.run_id)[0] if one.state == "done" and one.method not in ALWAYS
    ]
    models, gone = {}, []
    shapes = {name: info.shape for name, info in work.opened.base.header.items()}
    for method in done:
        if not (path := merged_file(work.folder, method)).is_file():
            gone.append(method)
            continue
        require_whole(work.store, work.run_id, path)
        models[method] = Checkpoint(path)
        if wrong := header_problem(shapes, models[method], "the base that the zoo names now"):
            raise UserError(wrong)
    if not models:
        raise UserError(f"{work.folder / 'merged'} holds no merged model: compare the methods again.")
    return models, [f"Without {', '.join(gone)}: the merged models are gone."] if gone else []


def merged_update_tables(work: Work) -> dict[Panel, Table]:
    """Of every method whose merged model the run keeps. UserError as `merged_models`."""
    models, notes = merged_models(work)
    device = "cpu" if work.device == "mps" else work.device  # MPS has no float64
    sides = work.opened.model.in_by_out
    base = Transposed(work.opened.base, sides)
    finetuned = [Transposed(weights, sides) for weights in work.finetuned]
    counts, ratios = [], defaultdict(list)
    ranks = defaultdict(list)
    for block in work.blocks:
        of_block = defaultdict(list)
        for layer, theta0, taus in matrices(block, base, finetuned):
            taus = [tau.to(device) for tau in taus]
            for method, model in models.items():
                (update,) = task_vectors(block.prefix + layer, theta0, [Transposed(model, sides)])
                update = update.to(device)
                left, values = left_vectors(update)
                kept = kept_rank(values)
                ranks[method].append(kept / len(values))
                for task, tau in zip(work.spec.tasks, taus, strict=True):
                    ratios[method, task].append(alignment_ratio(left[:, :kept], tau))
                    of_block[method, task].append(over_accumulation(left[:, :RANKS], update, tau).cpu())
                work.cancel.check()
        counts += _counts(block, of_block)
    improvement = _improvement(work)
    aligned = [
        (method, task, _mean(alignments), _mean(ranks[method]), improvement.get((method, task), math.nan))
        for (method, task), alignments in ratios.items()
    ]
    return {
        "over_accumulation": table_of("over_accumulation", counts, notes),
        "alignment": table_of("alignment", aligned, notes),
    }


def sum_table(
    base: Weights, tasks: Mapping[str, Weights], blocks: Sequence[Block], in_by_out: Collection[str]
) -> Table:
    """Over-accumulation of the plain sum of all task vectors, which needs no merged model."""
    base, finetuned = Transposed(base, in_by_out), [Transposed(weights, in_by_out) for weights in tasks.values()]
    counts = []
    for block in blocks:
        of_block = defaultdict(list)
        for _, _, taus in matrices(block, base, finetuned):
            update = torch.stack(taus).sum(0)
            left, _, _ = top_triples(update, min(RANKS, *update.shape))
            for task, tau in zip(tasks, taus, strict=True):
                of_block["sum", task].append(over_accumulation(left.double(), update, tau))
        counts += _counts(block, of_block)
    return table_of("over_accumulation", counts)


def _counts(
    block: Block, of_block: Mapping[tuple[str, str], list[torch.Tensor]]
) -> list[tuple[str, str, int, int, float]]:
    """Rows of the panel over_accumulation."""
    return [
        (method, task, block.index, rank + 1, value)
        for (method, task), of_matrices in of_block.items()
        for rank, value in enumerate(_median(of_matrices))
    ]


def _median(of_matrices: list[torch.Tensor]) -> list[float]:
    """At each rank, over the matrices that have it."""
    least = min(map(len, of_matrices))
    return torch.stack([one[:least] for one in of_matrices]).nanmedian(0).values.tolist()


def _mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _improvement(work: Work) -> Mapping[tuple[str, str], float]:
    """(method, task) → NAI: (score − pretrained) / (individual − pretrained), where that is defined."""
    scores = {(one.method, one.task): one.value for one in work.store.results(work.run_id)[1]}
    improvement = {}
    for (method, task), score in scores.items():
        low, high = (scores.get((reference, task)) for reference in ALWAYS)
        if low is not None and high is not None and high != low:
            improvement[method, task] = (score - low) / (high - low)
    return improvement
