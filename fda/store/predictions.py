"""What each method answered to each sample of the test split: what confidence intervals are drawn from.

One file a method, `predictions/METHOD.safetensors` in the run's folder, with tensors `TASK/prediction` and `TASK/label` (int32;
float32 where they are no classes), of language models also `TASK/loss`; metadata: task → metric. Read by pages, so torch
stays out.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fda.tasks.answers import Answers
from fda.tasks.metrics import METRICS


def predictions_file(run_dir: Path, method: str) -> Path:
    return run_dir / "predictions" / f"{method}.safetensors"


def save_predictions(run_dir: Path, method: str, tasks: Mapping[str, Answers]) -> None:
    """Write the answers of one method, whole or not at all."""
    write_answers(predictions_file(run_dir, method), tasks)


def write_answers(path: Path, tasks: Mapping[str, Answers]) -> None:
    """Task → answers in one file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    tensors = {}
    for task, own in tasks.items():
        kind = np.float32 if own.metric == "pearson" else np.int32
        tensors[f"{task}/prediction"] = np.ascontiguousarray(own.predicted, dtype=kind)
        tensors[f"{task}/label"] = np.ascontiguousarray(own.label, dtype=kind)
        if own.loss is not None:
            tensors[f"{task}/loss"] = np.ascontiguousarray(own.loss, dtype=np.float32)
    try:
        save_file(tensors, part, {"metrics": json.dumps({task: own.metric for task, own in tasks.items()})})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_predictions(run_dir: Path, method: str) -> dict[str, Answers]:
    """Task → answers; empty if the method has none that can be read (runs of older versions kept none)."""
    return read_answers(predictions_file(run_dir, method))


def read_answers(path: Path) -> dict[str, Answers]:
    """Task → answers of a file; empty if there is none that can be read. Older files know accuracy only."""
    try:
        with safe_open(path, framework="numpy") as file:
            metrics = json.loads((file.metadata() or {}).get("metrics", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError):
        return {}
    tasks = dict.fromkeys(name.rsplit("/", 1)[0] for name in tensors)
    return {
        task: Answers(
            tensors[f"{task}/prediction"],
            tensors[f"{task}/label"],
            metrics.get(task, "accuracy"),
            tensors.get(f"{task}/loss"),
        )
        for task in tasks
    }


def correctness(run_dir: Path, methods: Sequence[str], task: str) -> np.ndarray | None:
    """Bool (methods, n): which samples of a task each method got right; None unless all of them answered the same samples."""
    found = _same_samples(run_dir, methods, task)
    return None if found is None else np.stack([one.correct for one in found])


def score_sums(run_dir: Path, methods: Sequence[str], task: str) -> tuple[str, np.ndarray] | None:
    """(metric, (methods, n, k)): what its score is made of, sample by sample; None as `correctness`.

    Of plain accuracy the (methods, n, 1) booleans of `correctness`, whose mean is the score.
    """
    found = _same_samples(run_dir, methods, task)
    if found is None or found[0].count == 0 or any(one.metric != found[0].metric for one in found):
        return None
    metric = METRICS[found[0].metric]
    if metric.name in ("accuracy", "exact_match"):
        return metric.name, np.stack([one.correct for one in found])[..., None]
    if metric.name == "matthews":  # its sums are as wide as there are classes: the same for all methods
        classes = max(int(max(one.predicted.max(), one.label.max())) for one in found) + 1
        return metric.name, np.stack([metric.sums(one.predicted, one.label, classes) for one in found])
    return metric.name, np.stack([metric.sums(one.predicted, one.label) for one in found])


def _same_samples(run_dir: Path, methods: Sequence[str], task: str) -> list[Answers] | None:
    found = [load_predictions(run_dir, method).get(task) for method in methods]
    if not found or any(one is None or not np.array_equal(one.label, found[0].label) for one in found):
        return None
    return found
