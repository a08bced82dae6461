"""The metrics of tasks. Every score is a function of sums over samples, so that a bootstrap resample only changes the sums.

`accuracy`, `exact_match`, `final_answer`: the share of right answers. `matthews`: Matthews' correlation of two labellings,
for any number of classes (Gorodkin's R_K, 2004), GLUE's metric of CoLA. `pearson`: the linear correlation, GLUE's metric of
STS-B.
`token_accuracy`: the share of next tokens that a causal language model predicts, over all texts. It replaces perplexity in
averages, which need scores between 0 and 1 that grow with quality; the perplexity is kept beside it. NumPy only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fda.zoos.zoo import TaskData

_GLUE_METRICS = {"cola": "matthews", "stsb": "pearson"}  # gluebenchmark.com; its other tasks have accuracy


@dataclass(frozen=True)
class Metric:
    """`sums(predicted, label)`: the contributions (n, k) of n samples. `score`: their sums (…, k) → (…), 0 where undefined."""

    name: str
    title: str
    sums: Callable[..., np.ndarray]
    score: Callable[[np.ndarray], np.ndarray]

    def of(self, predicted: np.ndarray, label: np.ndarray) -> float:
        return float(self.score(self.sums(predicted, label).sum(axis=0)))


def metric_name(data: TaskData, *, causal: bool = False) -> str:
    """The name in `METRICS` of a task's metric. `causal`: its head predicts next tokens, not classes.

    `auto` recognises GLUE's tasks by the configuration of `…/glue`, or by the name of the folder or file.
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
    """Per sample: 1, whether it is right, and its predicted class and its label, each one-hot over `count` classes."""
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
    """Per sample: 1, x, y, x², y², xy, with x and y centred over all samples, which does not change the correlation."""
    x, y = (np.asarray(values, float) - np.mean(values, dtype=float) for values in (predicted, label))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.clip(n * xx - x * x, 0, None) * np.clip(n * yy - y * y, 0, None)
    tiny = 1e-24 * (n * n * xx * yy)  # rounding must not give a constant a correlation
    return _ratio(n * xy - x * y, np.where(spread > tiny, np.sqrt(spread), 0.0))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _mean(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., 0], sums[..., 1])


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", _right, _mean),
        Metric("exact_match", "exact match", _right, _mean),
        Metric("final_answer", "right final answers", _right, _mean),
        Metric("matthews", "Matthews' correlation", _classes, _matthews),
        Metric("pearson", "Pearson's correlation", _moments, _pearson),
        Metric("token_accuracy", "next-token accuracy", _tokens, _mean),
    )
}
SHARES_OF_RIGHT = tuple(name for name, metric in METRICS.items() if metric.sums is _right)  # each answer right or wrong
