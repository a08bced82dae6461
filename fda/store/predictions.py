"""What each method answered to each sample of the test split: what confidence intervals are drawn from.

One file a method, `predictions/METHOD.safetensors` in the run's folder, with tensors `TASK/prediction` and `TASK/label` (int32;
float32 where they are no classes), of language models also `TASK/loss`; metadata `about`: task → metric, and a checksum. Read
by pages, so torch stays out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fda.atomic import whole_file
from fda.tasks.answers import Answers
from fda.tasks.metrics import METRICS


def predictions_file(run_dir: Path, method: str) -> Path:
    return run_dir / "predictions" / f"{method}.safetensors"


def save_predictions(run_dir: Path, method: str, tasks: Mapping[str, Answers]) -> None:
    """Write the answers of one method, whole or not at all."""
    write_answers(predictions_file(run_dir, method), tasks)


def write_answers(path: Path, tasks: Mapping[str, Answers]) -> None:
    """Task → answers in one file, whole or not at all."""
    tensors = {}
    for task, own in tasks.items():
        kind = np.float32 if own.metric == "pearson" else np.int32
        tensors[f"{task}/prediction"] = np.ascontiguousarray(own.predicted, dtype=kind)
        tensors[f"{task}/label"] = np.ascontiguousarray(own.label, dtype=kind)
        if own.loss is not None:
            tensors[f"{task}/loss"] = np.ascontiguousarray(own.loss, dtype=np.float32)
    with whole_file(path) as part:
        about = {"metrics": {task: own.metric for task, own in tasks.items()}, "sha256": _checksum(tensors)}
        save_file(tensors, part, {"about": json.dumps(about)})  # one entry: the library writes several in any order


def load_predictions(run_dir: Path, method: str) -> dict[str, Answers]:
    """Task → answers; empty if the method has none that can be read (runs of older versions kept none)."""
    return read_answers(predictions_file(run_dir, method))


def read_answers(path: Path) -> dict[str, Answers]:
    """Task → answers of a file; empty if there is none that can be read. Older files know accuracy only."""
    try:
        with safe_open(path, framework="numpy") as file:
            about = _about(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError):
        return {}
    if about["sha256"] not in (None, _checksum(tensors)):  # damaged: the samples are asked again
        return {}
    metrics = about["metrics"]
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


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Task → metric, and the checksum, of which older files have none. ValueError for what cannot be read."""
    about = (
        json.loads(metadata["about"]) if "about" in metadata else {"metrics": json.loads(metadata.get("metrics", "{}"))}
    )
    if not isinstance(about, dict) or not isinstance(about.get("metrics"), dict):
        raise ValueError("no metrics")
    return {"sha256": None} | about


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all tensors' names and bytes. A flipped bit in an answer would be a wrong score without a word."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


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
