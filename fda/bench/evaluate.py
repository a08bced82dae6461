"""Measure scoring several merged models in one pass over the data against scoring them one by one; answers must agree.

The plain loop reads, decodes and prepares every sample again for each model, like a script that evaluates one model. Both use
the same data, heads and batches, and all threads: the plain loop within a task, the one pass with a thread a task.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fda.merging.merge import merge
from fda.merging.registry import METHODS
from fda.requests.runs import need_data
from fda.stages.execute import resolve_device
from fda.stages.scoring import EvaluationSet, ModelToScore, answer
from fda.tasks.answers import Answers
from fda.tasks.data import CACHE_BYTES, load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import TaskHead, task_head
from fda.zoos.survey import OpenZoo, open_zoo
from fda.zoos.zoo import load_zoo

MODELS = 8


@dataclass(frozen=True)
class Way:
    """One way of scoring all models: seconds (median, least, most) over the repeats."""

    path: str
    seconds: tuple[float, float, float]


def bench_evaluate(
    zoo: str = "demo", *, models: int = MODELS, repeats: int = 3, device: str = "auto", limit: int = CACHE_BYTES
) -> dict[str, Any]:
    """Measure both paths in turn; return plain data, in which `equal` says whether all answers agree.

    `models`: number of models, task arithmetic at that many λ. `limit`: bytes of prepared samples that one pass keeps in
    memory. UserError if a task of the zoo cannot be scored.
    """
    loaded = load_zoo(zoo)
    need_data(loaded, loaded.task_names)
    opened, device = open_zoo(loaded), resolve_device(device)
    merged, threads = list(_merged_models(opened, models)), torch.get_num_threads()
    heads = {name: task_head(opened, name) for name in loaded.task_names}
    seconds: dict[str, list[float]] = {"one by one": [], "one pass": []}
    answers: dict[str, list[dict[str, Answers]]] = {}
    for _ in range(repeats):
        for path, took in seconds.items():
            torch.set_num_threads(threads)  # the lanes of one pass leave one
            began = time.perf_counter()
            if path == "one by one":
                answers[path] = [_alone(opened, one, heads, device) for one in merged]
            else:
                answers[path] = answer(opened.model, merged, _sets(opened, heads), device, limit=limit)
            took.append(time.perf_counter() - began)
    rows = [Way(path, (statistics.median(took), min(took), max(took))) for path, took in seconds.items()]
    sets = _sets(opened, heads)
    torch.set_num_threads(threads)
    return {
        "zoo": loaded.name,
        "models": models,
        "samples": sum(len(each.split) for each in sets.values()),
        "prepared_bytes": sum(each.split.bytes for each in sets.values()),
        "limit": limit,
        "device": device,
        "threads": threads,
        "repeats": repeats,
        "equal": _equal(*answers.values()),
        "rows": [asdict(row) for row in rows],
    }


def _merged_models(opened: OpenZoo, count: int) -> Iterator[ModelToScore]:
    """Merged models in memory, whose answers are not cached between repeats."""
    finetuned = list(opened.tasks.values())
    for index in range(count):
        scale = (index + 1) / count
        yield ModelToScore(
            f"ta at {scale:g}",
            dict(merge(METHODS["ta"], opened.base, finetuned, scale=scale)),
            opened.zoo.task_names,
        )


def _sets(opened: OpenZoo, heads: Mapping[str, TaskHead]) -> dict[str, EvaluationSet]:
    """Every task's test split, freshly loaded without prepared samples."""
    sets = {}
    for task in opened.zoo.tasks:
        if task.data is not None:
            split = load_split(task, task.data.split, opened.model.transform)
            sets[task.name] = EvaluationSet(split, heads[task.name], task.data)
    return sets


def _alone(opened: OpenZoo, one: ModelToScore, heads: Mapping[str, TaskHead], device: str) -> dict[str, Answers]:
    """The plain loop for one model: load each task's data from disk and evaluate."""
    opened.model.load(one.weights)
    opened.model.to(device)
    return {
        name: evaluate(opened.model, each.head, each.split, device, data=each.data)
        for name, each in _sets(opened, heads).items()
    }


def _equal(some: Sequence[dict[str, Answers]], others: Sequence[dict[str, Answers]]) -> bool:
    return all(
        np.array_equal(one[task].predicted, other[task].predicted)
        and np.array_equal(one[task].label, other[task].label)
        for one, other in zip(some, others, strict=True)
        for task in one
    )
