"""What a model answered on one split of a task. Plain arrays: pages read them too, so torch stays out."""

from dataclasses import dataclass

import numpy as np

from fda.tasks.metrics import METRICS


@dataclass(frozen=True)
class Answers:
    """One number a sample (n,), in the order of the split, and the metric that they are scored by.

    Class numbers, int32; of `pearson` numbers, float32; of `exact_match` 1 or 0 against 1; of `token_accuracy` how many next
    tokens were right, against how many there are, with `loss`, their summed negative log-likelihood in nats, float32.
    """

    predicted: np.ndarray
    label: np.ndarray
    metric: str = "accuracy"
    loss: np.ndarray | None = None

    @property
    def correct(self) -> np.ndarray:
        """Bool (n,)."""
        return self.predicted == self.label

    @property
    def accuracy(self) -> float:
        """0..1: the share of samples answered right, whatever the metric."""
        return float(self.correct.mean())

    @property
    def value(self) -> float:
        """The score by the metric: 0..1, of correlations −1..1."""
        return METRICS[self.metric].of(self.predicted, self.label)

    @property
    def perplexity(self) -> float | None:
        """exp of the mean negative log-likelihood a token; None where it is no language model that answered."""
        return None if self.loss is None else float(np.exp(self.loss.sum(dtype=float) / max(1, self.label.sum())))

    @property
    def count(self) -> int:
        return len(self.label)
