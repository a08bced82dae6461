"""The answers of a model on one split of a task. NumPy only: pages read them too."""

from dataclasses import dataclass

import numpy as np

from fda.tasks.metrics import METRICS

OF_CLASSES = ("accuracy", "matthews")  # the metrics of class numbers
TOP = 3  # likeliest classes kept of each answer


@dataclass(frozen=True, eq=False)
class Top:
    """The likeliest classes of each sample, likeliest first: `classes` int32, `probabilities` float32, both (n, k ≤ TOP)."""

    classes: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Answers:
    """`predicted` and `label`: one number per sample (n,), in the order of the split. `metric`: the metric that scores them.

    Class numbers, int32. For `pearson` numbers, float32. For `exact_match` and `final_answer` 1 or 0, and 1. For
    `token_accuracy` the number of next tokens predicted right and their number in the text; `loss`: their summed negative
    log-likelihood in nats, float32.
    `top`: for class numbers; None in files of older versions.
    """

    predicted: np.ndarray
    label: np.ndarray
    metric: str = "accuracy"
    loss: np.ndarray | None = None
    top: Top | None = None

    @property
    def correct(self) -> np.ndarray:
        """Bool (n,): whether each answer is right."""
        return self.predicted == self.label

    @property
    def of_classes(self) -> bool:
        """Whether the answers are class numbers."""
        return self.metric in OF_CLASSES

    @property
    def accuracy(self) -> float:
        """0..1: the share of right answers, whatever the metric."""
        return float(self.correct.mean())

    @property
    def value(self) -> float:
        """The score by the metric: 0..1, or −1..1 for correlations."""
        return METRICS[self.metric].of(self.predicted, self.label)

    @property
    def perplexity(self) -> float | None:
        """exp of the mean negative log-likelihood per token; None if no language model answered."""
        return None if self.loss is None else float(np.exp(self.loss.sum(dtype=float) / max(1, self.label.sum())))

    @property
    def count(self) -> int:
        return len(self.label)
