"""Agreement of Gram matrices, against hand-computed cases."""

import math

import pytest
import torch

from fda.analysis.covariance import agreement, agreement_of_identity, task_vector_gram


def test_agreement_is_the_cosine_of_two_matrices():
    first, second = torch.diag(torch.tensor([3.0, 4.0, 0.0])), torch.diag(torch.tensor([0.0, 5.0, 0.0]))
    assert agreement(first, second) == pytest.approx(4 / 5)
    assert agreement(first, 7 * first) == pytest.approx(1)
    assert math.isnan(agreement(first, torch.zeros(3, 3)))


def test_the_identity_agrees_by_the_evenness_of_the_spectrum():
    assert agreement_of_identity(2 * torch.eye(4)) == pytest.approx(1)
    assert agreement_of_identity(torch.diag(torch.tensor([1.0, 0.0, 0.0, 0.0]))) == pytest.approx(1 / 2)


def test_a_task_vector_of_one_input_has_that_input_s_gram_matrix():
    outputs, inputs = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.0, 4.0])
    tau = torch.outer(outputs, inputs)
    assert torch.equal(task_vector_gram(tau), 5 * torch.outer(inputs, inputs).double())
    assert agreement(task_vector_gram(tau), torch.outer(inputs, inputs)) == pytest.approx(1)
