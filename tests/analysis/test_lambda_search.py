"""The search of λ: it spends no more than its budget, asks nothing twice, and finds the top of a hill and of stairs."""

import math

import pytest

from fda.analysis.lambda_search import search


def follow(hill, start, budget: int = 200, bounds=(-0.5, 1.5)):
    """(best, asked) of a search on the function `hill`."""
    steps, asked = search(start, bounds=bounds, budget=budget), []
    value = None
    try:
        while True:
            wanted = steps.send(value)
            asked.append(wanted)
            value = hill(wanted)
    except StopIteration as end:
        return end.value, asked


def round_hill(at):
    return -((at[0] - 0.8) ** 2) - (at[1] + 0.2) ** 2 - (at[2] - 0.3) ** 2


def test_it_finds_the_top_of_a_hill_off_the_diagonal():
    best, asked = follow(round_hill, (0.3, 0.3, 0.3))
    assert best == pytest.approx((0.8, -0.2, 0.3), abs=0.051)
    assert asked[0] == (0.3, 0.3, 0.3) and len(set(asked)) == len(asked)


def test_it_climbs_stairs_where_there_is_no_slope():
    best, _ = follow(lambda at: math.floor(5 * round_hill(at)), (0.3, 0.3, 0.3))
    assert math.floor(5 * round_hill(best)) == -1


@pytest.mark.parametrize("budget", [1, 5, 12])
def test_it_keeps_to_its_budget_and_returns_the_best_of_what_it_saw(budget):
    best, asked = follow(round_hill, (0.3, 0.3, 0.3), budget)
    assert len(asked) == budget
    assert best == max(asked, key=round_hill)


def test_no_lambda_leaves_the_bounds():
    _, asked = follow(sum, (0.3, 0.3), bounds=(0.0, 0.6))
    assert all(0 <= value <= 0.6 for at in asked for value in at) and max(asked) == (0.6, 0.6)
