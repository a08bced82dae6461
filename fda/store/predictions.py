"""Each method's answers to the samples of the test split, from which confidence intervals are computed.

One file a method, `predictions/METHOD.safetensors` in the run's folder: tensors `TASK/prediction` and `TASK/label` (int32;
float32 for regression), for language models also `TASK/loss`, for classes also `TASK/top_class` (int32) and
`TASK/top_probability` (float32), the three likeliest classes of each sample; metadata `about` holds each task's metric and a
checksum. Pages read these files, so this module imports no torch.
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
from fda.tasks.answers import Answers, Top
from fda.tasks.metrics import METRICS, SHARES_OF_RIGHT


def predictions_file(run_dir: Path, method: str) -> Path:
    return run_dir / "predictions" / f"{method}.safetensors"


def save_predictions(run_dir: Path, method: str, tasks: Mapping[str, Answers]) -> None:
    """Write one method's answers (task → answers)."""
    write_answers(predictions_file(run_dir, method), tasks)


def write_answers(path: Path, tasks: Mapping[str, Answers]) -> None:
    """Task → answers in one file, whole or not at all."""
    tensors = {}
    for task, answers in tasks.items():
        kind = np.float32 if answers.metric == "pearson" else np.int32
        tensors[f"{task}/prediction"] = np.ascontiguousarray(answers.predicted, dtype=kind)
        tensors[f"{task}/label"] = np.ascontiguousarray(answers.label, dtype=kind)
        if answers.loss is not None:
            tensors[f"{task}/loss"] = np.ascontiguousarray(answers.loss, dtype=np.float32)
        if answers.top is not None:
            tensors[f"{task}/top_class"] = np.ascontiguousarray(answers.top.classes, dtype=np.int32)
            tensors[f"{task}/top_probability"] = np.ascontiguousarray(answers.top.probabilities, dtype=np.float32)
    with whole_file(path) as part:
        # one metadata entry, since the library writes several in arbitrary order
        about = {"metrics": {task: answers.metric for task, answers in tasks.items()}, "sha256": _checksum(tensors)}
        save_file(tensors, part, {"about": json.dumps(about)})


def load_predictions(run_dir: Path, method: str) -> dict[str, Answers]:
    """Task → answers; empty if the file is missing (runs of older versions) or cannot be read."""
    return read_answers(predictions_file(run_dir, method))


def read_answers(path: Path) -> dict[str, Answers]:
    """Task → answers of a file; empty if it is missing or damaged. Older files name no metric: it is accuracy."""
    try:
        with safe_open(path, framework="numpy") as file:
            about = _about(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError):
        return {}
    if about["sha256"] not in (None, _checksum(tensors)):  # damaged: the model answers the samples again
        return {}
    metrics = about["metrics"]
    tasks = dict.fromkeys(name.rsplit("/", 1)[0] for name in tensors)
    return {
        task: Answers(
            tensors[f"{task}/prediction"],
            tensors[f"{task}/label"],
            metrics.get(task, "accuracy"),
            tensors.get(f"{task}/loss"),
            _top(tensors, task),
        )
        for task in tasks
    }


def _top(tensors: Mapping[str, np.ndarray], task: str) -> Top | None:
    """None for older files, and for tensors that do not fit the answers."""
    classes, probabilities = (tensors.get(f"{task}/{name}") for name in ("top_class", "top_probability"))
    if classes is None or probabilities is None or classes.ndim != 2 or classes.shape != probabilities.shape:
        return None
    return Top(classes, probabilities) if len(classes) == len(tensors[f"{task}/prediction"]) else None


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    """{"metrics": task → metric, "sha256": checksum or None (older files)}. ValueError if the metadata cannot be read."""
    about = (
        json.loads(metadata["about"]) if "about" in metadata else {"metrics": json.loads(metadata.get("metrics", "{}"))}
    )
    if not isinstance(about, dict) or not isinstance(about.get("metrics"), dict):
        raise ValueError("no metrics")
    return {"sha256": None} | about


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all tensors' names and bytes: a flipped bit would silently change a score."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def correctness(run_dir: Path, methods: Sequence[str], task: str) -> np.ndarray | None:
    """Bool (methods, n): which samples of a task each method got right; None unless all answered the same samples."""
    answers = _same_samples(run_dir, methods, task)
    return None if answers is None else np.stack([given.correct for given in answers])


def score_sums(run_dir: Path, methods: Sequence[str], task: str) -> tuple[str, np.ndarray] | None:
    """(metric, (methods, n, k)): the per-sample terms of the task's score; None as for `correctness`.

    For accuracy they are the booleans of `correctness` as (methods, n, 1); their mean is the score.
    """
    answers = _same_samples(run_dir, methods, task)
    if answers is None or answers[0].count == 0 or any(given.metric != answers[0].metric for given in answers):
        return None
    metric = METRICS[answers[0].metric]
    if metric.name in SHARES_OF_RIGHT:
        return metric.name, np.stack([given.correct for given in answers])[..., None]
    if metric.name == "matthews":  # k depends on the number of classes, which must agree between methods
        classes = max(int(max(given.predicted.max(), given.label.max())) for given in answers) + 1
        return metric.name, np.stack([metric.sums(given.predicted, given.label, classes) for given in answers])
    return metric.name, np.stack([metric.sums(given.predicted, given.label) for given in answers])


def _same_samples(run_dir: Path, methods: Sequence[str], task: str) -> list[Answers] | None:
    answers = [given for method in methods if (given := load_predictions(run_dir, method).get(task)) is not None]
    if not answers or len(answers) < len(methods):
        return None
    same = all(np.array_equal(given.label, answers[0].label) for given in answers)
    return answers if same else None
