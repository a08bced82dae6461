"""The Mixer's desk without its process: λ and recipes, groups of blocks, and the history."""

import pandas as pd
import pytest

from fda.escape import csv
from fda.requests.recipe import Part, Recipe, read_recipe
from fda.ui import mixer_recipe
from fda.ui.mixer_desk import Proposal
from fda.ui.mixer_history import MOST, History
from fda.ui.mixer_recipe import ALL, DIVISIONS, ONE, THIRDS, lambdas_of, with_lambdas
from fda.zoos.zoo import load_zoo

ZOO = load_zoo("demo")
TA = Recipe(zoo="demo", parts=(Part(blocks="all", method="ta"),))
COUNT = len(ZOO.task_names)


def after(lambdas, method: str = "ta") -> Part:
    return with_lambdas(Part(blocks="all", method=method), lambdas, TA, ZOO)


@pytest.mark.parametrize("method", mixer_recipe.WEIGHTED)
@pytest.mark.parametrize("lambdas", [(0.3,) * COUNT, (1.0,) * COUNT, (0.3, 0.45, -0.25, 0.0, 1.5), (-0.1,) * COUNT])
def test_a_part_gives_back_the_lambdas_it_was_given_and_the_recipe_can_be_read(method, lambdas):
    part = after(lambdas, method)
    assert lambdas_of(part, TA, ZOO) == pytest.approx(lambdas)
    recipe = Recipe(zoo="demo", parts=(part,))
    assert read_recipe(recipe.content(), ZOO) == recipe


def test_one_lambda_for_all_is_the_methods_own_coefficient():
    assert after((0.3,) * COUNT) == Part(blocks="all", method="ta")
    assert after((0.7,) * COUNT) == Part(blocks="all", method="ta", settings={"scale": 0.7})
    assert not after((0.3, 0.3, 0.3, 0.3, 0.6)).settings


def test_other_settings_outlive_a_move():
    part = Part(blocks="all", method="swudi", settings={"time": 900.0, "scale": 0.5})
    assert with_lambdas(part, (0.8,) * COUNT, TA, ZOO).settings == {"time": 900.0, "scale": 0.8}


def test_a_finished_model_has_no_lambda():
    part = Part(blocks="all", method="individual:digits")
    assert mixer_recipe.is_fixed(part) and with_lambdas(part, (1.0,) * COUNT, TA, ZOO) == part


def test_divisions_cover_the_model_once_and_are_recognised():
    for division in DIVISIONS:
        assert mixer_recipe.division_of(mixer_recipe.divided(TA, division, 4)) == division
    thirds = mixer_recipe.divided(TA, THIRDS, 4)
    assert mixer_recipe.divided(thirds, ALL, 4) == TA
    moved = mixer_recipe.moved_apart(mixer_recipe.divided(TA, ONE, 4), 2, 4)
    assert [part.blocks for part in moved.parts] == [(2,), (0, 1, 3), "rest"]


def scale(value: float) -> Recipe:
    return Recipe(zoo="demo", parts=(Part(blocks="all", method="ta", settings={"scale": value}),))


def test_the_history_numbers_each_mix_once_and_finds_it_by_words():
    history = History()
    for value in (0.1, 0.2, 0.1):
        history.add(scale(value), f"θ0 + {value}·Σ τ on all blocks", {"digits": value, "faces": 1.0}, 200)
    assert [mix.number for mix in history.mixes] == [1, 2]
    assert [mix.number for mix in history.found("")] == [2, 1]
    assert [mix.number for mix in history.found("ALL 0.2")] == [2]
    history.marked.add(1)
    assert [mix.number for mix in history.found("", only_marked=True)] == [1]
    table = history.table(history.found("0.1"))
    assert (
        table.average.item() == pytest.approx(55) and table.marked.item() and table.digits.item() == pytest.approx(10)
    )


def test_a_marked_mix_outlives_the_oldest():
    history = History()
    first = history.add(scale(0.0), "0", {"a": 0.5}, 1)
    history.marked.add(first.number)
    for step in range(1, MOST + 3):
        history.add(scale(step / 1000), str(step), {"a": 0.5}, 1)
    assert len(history.mixes) == MOST and history.mixes[0] == first and history.mixes[1].number == 5


def test_a_formula_of_a_hostile_zoo_is_no_formula_of_a_spreadsheet():
    history = History()
    history.add(scale(0.1), "=HYPERLINK(1)", {"=cmd": 0.5}, 1)
    assert b"'=HYPERLINK" in csv(history.table(history.mixes)) and b"'=cmd" in csv(history.table(history.mixes))
    assert isinstance(history.table([]), pd.DataFrame)


def test_a_proposal_ends_with_the_best_that_it_tried():
    proposal = Proposal("average", 9, (0.3, 0.3))
    while not proposal.ended:
        proposal.tell(1 - abs(proposal.wanted[0] - 0.5) - abs(proposal.wanted[1] - 0.5))
    assert len(proposal.tried) == 9 and proposal.wanted == proposal.best[0] == (0.5, 0.5)
