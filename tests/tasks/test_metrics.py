"""Scores against scikit-learn and scipy, also on resamples, whose sums are all that intervals see."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, matthews_corrcoef

from fda.analysis.intervals import resampled_scores
from fda.tasks.metrics import METRICS, metric_name
from fda.zoos.zoo import TaskData

RANDOM = np.random.default_rng(0)
LABEL = RANDOM.integers(0, 4, 60).astype(np.int32)
PREDICTED = np.where(RANDOM.random(60) < 0.6, LABEL, RANDOM.integers(0, 4, 60)).astype(np.int32)
NUMBERS = RANDOM.normal(3, 1, 60).astype(np.float32)
GUESSES = (NUMBERS + RANDOM.normal(0, 1, 60)).astype(np.float32)


def pearson(label, predicted):
    return stats.pearsonr(label, predicted).statistic


CASES = {
    "accuracy": (accuracy_score, LABEL, PREDICTED),
    "matthews": (matthews_corrcoef, LABEL, PREDICTED),
    "pearson": (pearson, NUMBERS, GUESSES),
}


@pytest.mark.parametrize("name", CASES)
def test_a_score_is_the_libraries(name):
    oracle, label, predicted = CASES[name]
    assert METRICS[name].of(predicted, label) == pytest.approx(oracle(label, predicted), abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_resample_is_scored_as_the_samples_that_it_draws(name):
    oracle, label, predicted = CASES[name]
    metric = METRICS[name]
    found = resampled_scores([(metric.sums(predicted, label)[None], metric.score)], resamples=5, seed=3)[0, 0]
    random = np.random.default_rng((3, 0))
    drawn = [random.integers(0, len(label), len(label)) for _ in range(5)]
    assert found == pytest.approx([oracle(label[own], predicted[own]) for own in drawn], abs=1e-6)


@pytest.mark.parametrize("name", ["matthews", "pearson"])
def test_a_constant_answer_has_no_correlation(name):
    _, label, _ = CASES[name]
    assert METRICS[name].of(np.full_like(label, 2), label) == 0


@pytest.mark.parametrize(
    ("data", "causal", "expected"),
    [
        ({"path": "nyu-mll/glue", "name": "cola"}, False, "matthews"),
        ({"path": "nyu-mll/glue", "name": "stsb"}, False, "pearson"),
        ({"path": "nyu-mll/glue", "name": "sst2"}, False, "accuracy"),
        ({"path": "data/STS-B"}, False, "pearson"),
        ({"path": "data/cola.csv"}, False, "matthews"),
        ({"path": "data/cola", "metric": "accuracy"}, False, "accuracy"),
        ({"path": "data/texts"}, True, "token_accuracy"),
        ({"path": "data/texts", "metric": "perplexity"}, True, "token_accuracy"),
    ],
)
def test_glue_tasks_are_known_by_name_and_the_zoos_word_goes_first(data, causal, expected):
    assert metric_name(TaskData(split="test", **data), causal=causal) == expected
