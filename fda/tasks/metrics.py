"""By what a task is scored. Every score is a function of sums over samples, so that a resample only needs other sums.

`accuracy`, `exact_match`: the mean of right answers. `matthews`: Matthews' correlation of two labellings, for any number of
classes Gorodkin's R_K (2004), as GLUE takes it for CoLA. `pearson`: the linear correlation, as for STS-B. `token_accuracy`: of
a causal language model the share of next tokens that it holds likeliest, over all texts; it stands for perplexity where a score
between 0 and 1 that grows with quality is averaged with others, and the perplexity itself is kept beside it. NumPy only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fda.zoos.zoo import TaskData

_GLUE_METRICS = {"cola": "matthews", "stsb": "pearson"}  # gluebenchmark.com; of its others accuracy


@dataclass(frozen=True)
class Metric:
    """`sums(predicted, label)`: (n, k) for n samples. `score`: their sums (…, k) → (…); what is undefined scores 0."""

    name: str
    title: str
    sums: Callable[..., np.ndarray]
    score: Callable[[np.ndarray], np.ndarray]

    def of(self, predicted: np.ndarray, label: np.ndarray) -> float:
        return float(self.score(self.sums(predicted, label).sum(axis=0)))


def metric_name(data: TaskData, *, causal: bool = False) -> str:
    """The name in `METRICS` that a task's data mean. `causal`: its head gives next tokens, not classes.

    `auto` knows GLUE's tasks by the configuration of `…/glue`, or by the name of the folder or file.
    """
    if data.metric == "perplexity" or (data.metric == "auto" and causal):
        return "token_accuracy"
    if data.metric != "auto":
        return data.metric
    ends = [part.lower() for part in data.path.replace("\\", "/").rstrip("/").split("/")[-2:]]
    words = [data.name.lower()] if data.name and "glue" in ends else ends[-1:]  # glue + cola, or a folder or file cola
    word = "".join(letter for letter in words[0].split(".")[0] if letter.isalnum())
    return _GLUE_METRICS.get(word, "accuracy")


def _right(predicted: np.ndarray, label: np.ndarray) -> np.ndarray:
    right = (predicted == label).astype(float)
    return np.stack([right, np.ones_like(right)], axis=-1)


def _tokens(right: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return np.stack([right, tokens], axis=-1).astype(float)


def _classes(predicted: np.ndarray, label: np.ndarray, count: int | None = None) -> np.ndarray:
    """Per sample: 1, whether it is right, and one-hot the class predicted and the class it has, of `count` classes."""
    classes = np.arange(count or max(predicted.max(initial=0), label.max(initial=0)) + 1)
    ones = np.ones((len(label), 1))
    return np.concatenate(
        [ones, (predicted == label)[:, None], predicted[:, None] == classes, label[:, None] == classes], axis=1
    )


def _matthews(sums: np.ndarray) -> np.ndarray:
    n, right = sums[..., 0], sums[..., 1]
    predicted, label = np.split(sums[..., 2:], 2, axis=-1)
    covariance = n * right - (predicted * label).sum(axis=-1)
    spread = (n**2 - (predicted**2).sum(axis=-1)) * (n**2 - (label**2).sum(axis=-1))
    return _ratio(covariance, np.sqrt(spread))


def _moments(predicted: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Per sample: 1, x, y, x², y², xy, x and y less their means over all samples, which changes no correlation."""
    x, y = (np.asarray(one, float) - np.mean(one, dtype=float) for one in (predicted, label))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.clip(n * xx - x * x, 0, None) * np.clip(n * yy - y * y, 0, None)
    tiny = 1e-24 * (n * n * xx * yy)  # a constant has no correlation, and rounding shall not give it one
    return _ratio(n * xy - x * y, np.where(spread > tiny, np.sqrt(spread), 0.0))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _mean(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., 0], sums[..., 1])


METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        Metric("accuracy", "accuracy", _right, _mean),
        Metric("exact_match", "exact match", _right, _mean),
        Metric("matthews", "Matthews' correlation", _classes, _matthews),
        Metric("pearson", "Pearson's correlation", _moments, _pearson),
        Metric("token_accuracy", "next-token accuracy", _tokens, _mean),
    )
}
