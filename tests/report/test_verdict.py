"""The verdict on a run: each rule with numbers that trigger it and with numbers that do not, and a whole stored run."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fda.analysis.scores import Scores
from fda.report.verdict import verdict, verdict_of
from fda.report.verdict_numbers import FALLING, UnitNumbers, VerdictNumbers, curve_numbers, read_numbers
from fda.requests.helper_runs import result_file, survey_spec
from fda.settings import FAST_CONSTRUCT, LandscapeSettings
from fda.store.predictions import save_predictions
from fda.store.records import UNCHANGED, MethodResult, Run, Score, UnitKey
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.tasks.answers import Answers

TASKS = ("digits", "photos", "textures")


def unit(task: str = "digits", block: int = 0, **changes: object) -> UnitNumbers:
    """A unit that converged at loss 0.05."""
    converged = UnitNumbers(
        task, block, loss=0.05, first=0.7, lowest=0.05, last=0.05, fall=0.25, half=47, end=94, weakest=("fc1", 0.57)
    )
    return replace(converged, **changes)


def numbers(*units: UnitNumbers, **fields: object) -> VerdictNumbers:
    return VerdictNumbers(units=units, steps=125, learning_rate=0.5, **fields)


def compared(rows: dict[str, tuple[float, ...]], *, spread: float | None = 0.002, **fields: object) -> VerdictNumbers:
    """Methods → accuracies on `TASKS`; every draw of a value is off by `spread` · a normal number. None: no draws."""
    values = np.array(list(rows.values()))
    draws = np.full((*values.shape, 1), np.nan)
    if spread is not None:
        noise = np.random.default_rng(0).normal(size=(*values.shape, 1000))
        draws = values[..., None] + spread * noise
    fields = {"units": tuple(unit(task) for task in TASKS)} | fields
    return VerdictNumbers(
        scores=Scores(tuple(rows), TASKS[: values.shape[1]], values, draws),
        fda=tuple(name for name in rows if name.startswith("fda:")),
        without_data=tuple(name for name in rows if name in ("ta", "tsv")),
        steps=125,
        **fields,
    )


# did the anchors converge -------------------------------------------------------------------------------------------


def test_all_units_converged():
    assert verdict(numbers(*(unit(block=block) for block in range(4)))) == ["All 4 units converged."]
    assert verdict(numbers(unit())) == ["The one unit converged."]


def test_the_unit_that_fell_short_is_named_with_how_far():
    short = unit("textures", 3, loss=0.21, fall=0.3)
    assert verdict(numbers(*(unit(block=block) for block in range(4)), short))[0] == (
        "4 of 5 units converged; textures block 3 stopped at loss 0.2100 (4.2 times the median) and was still falling; "
        "its lowest cosine is 0.570 (fc1)."
    )


def test_of_several_units_that_fell_short_the_worst_is_named():
    short = [unit("textures", block, loss=0.2 + block / 100, fall=0.5, weakest=None) for block in range(3)]
    assert verdict(numbers(*short))[0] == (
        "None of 3 units converged; the worst, textures block 2, stopped at loss 0.2200 and was still falling."
    )


def test_a_high_loss_that_no_longer_falls_is_named_as_converged():
    units = [unit(block=block) for block in range(3)]
    assert verdict(numbers(*units, unit("textures", loss=0.08, weakest=None))) == [
        "All 4 units converged; textures block 0 stands out at loss 0.0800 (1.6 times the median)."
    ]
    assert verdict(numbers(*units, unit("textures", loss=0.074, weakest=None))) == ["All 4 units converged."]


def test_of_two_units_neither_stands_out():
    assert verdict(numbers(unit(), unit("textures", loss=0.15))) == ["All 2 units converged."]


def test_units_of_another_run_and_unfinished_ones_are_said_to_be_so():
    assert verdict(numbers(unit(), anchors_run="20260101-000000-dead", unfinished=7)) == [
        "The one unit of run 20260101-000000-dead converged; 7 units did not finish."
    ]


def test_a_loss_that_hardly_fell_has_not_converged():
    stuck = unit(first=0.7, loss=0.65, lowest=0.65, last=0.65, fall=0.01, weakest=("fc1", -0.57))
    assert verdict(numbers(stuck)) == [
        "The one unit did not converge; digits block 0 hardly fell, from loss 0.7000 to 0.6500; its lowest cosine is "
        "−0.570 (fc1)."
    ]
    assert verdict(numbers(replace(stuck, lowest=0.6, loss=0.6, last=0.6))) == ["The one unit converged."]


def test_nothing_is_said_of_anchors_without_a_curve():
    assert verdict(numbers()) == []


# what FDA adds ------------------------------------------------------------------------------------------------------


def test_a_clear_gain_has_its_interval_and_the_tasks_that_are_lost():
    found = compared({"ta": (0.7, 0.7, 0.7), "tsv": (0.75, 0.8, 0.77), "fda:tsv": (0.727, 0.79, 0.87)})
    low, high = 100 * found.scores.minus("tsv").intervals[2, -1]
    assert verdict(found)[1] == (
        f"FDA (TSV) reaches 79.6 % on average, 2.2 points above the best method without data (TSV-M, 95 % interval "
        f"{low:.1f} to {high:.1f}), and loses clearly on digits (−2.3) and photos (−1.0)."
    )


def test_a_difference_within_the_interval_is_no_clear_one():
    found = compared({"tsv": (0.75, 0.8, 0.77), "fda:tsv": (0.76, 0.79, 0.775)}, spread=0.03)
    low, high = 100 * found.scores.minus("tsv").intervals[1, -1]
    assert low < 0 < high
    assert verdict(found)[1] == (
        "FDA (TSV) reaches 77.5 % on average, no clear difference from the best method without data (TSV-M, +0.2 points, "
        f"95 % interval −{-low:.1f} to {high:.1f}), and loses clearly on no task."
    )


def test_a_clear_loss_is_below():
    found = compared({"tsv": (0.8, 0.8, 0.8), "fda:ta": (0.7, 0.8, 0.78)})
    assert "FDA (TA) reaches 76.0 % on average, 4.0 points below the best method" in verdict(found)[1]


def test_of_many_lost_tasks_the_worst_three_are_named():
    tasks = ("a", "b", "c", "d", "e")
    values = np.array([[0.8] * 5, [0.7, 0.6, 0.5, 0.4, 0.9]])
    found = VerdictNumbers(scores=Scores(("tsv", "fda:ta"), tasks, values, np.full((2, 5, 1), np.nan)),
                           fda=("fda:ta",), without_data=("tsv",))  # fmt: skip
    assert verdict(found)[0].endswith("and is lower on d (−40.0), c (−30.0), b (−20.0) and 1 more.")


def test_without_answers_there_is_no_interval():
    found = compared({"tsv": (0.75, 0.8, 0.77), "fda:tsv": (0.727, 0.79, 0.87)}, spread=None)
    assert verdict(found)[1] == (
        "FDA (TSV) reaches 79.6 % on average, 2.2 points above the best method without data (TSV-M, no interval, since the "
        "run kept no answers), and is lower on digits (−2.3) and photos (−1.0)."
    )


def test_one_task_has_no_average():
    found = compared({"tsv": (0.75,), "fda:tsv": (0.8,)}, spread=None)
    assert verdict(found)[1] == (
        "FDA (TSV) reaches 80.0 % on digits, 5.0 points above the best method without data (TSV-M, no interval, since the "
        "run kept no answers)."
    )


@pytest.mark.parametrize("rows", [{"tsv": (0.8, 0.8, 0.8)}, {"fda:ta": (0.8, 0.8, 0.8)}])
def test_without_two_sides_there_is_nothing_to_compare(rows):
    assert verdict(compared(rows, units=())) == []


# what to try next ---------------------------------------------------------------------------------------------------


def test_more_steps_where_a_loss_was_still_falling():
    steep, other = unit("textures", 3, loss=0.2, fall=0.31), unit("faces", loss=0.2, fall=0.25)
    assert verdict(numbers(unit(), steep))[-1] == (
        "Try more than 125 steps: the loss of textures block 3 was still falling, by 31.0 % from step 47 to step 94."
    )
    assert verdict(numbers(unit(), other, steep))[-1] == (
        "Try more than 125 steps: the loss of 2 units was still falling, that of textures block 3 by 31.0 % from step 47 to "
        "step 94."
    )
    assert len(verdict(numbers(unit(), unit(loss=0.2, fall=0.99 * FALLING / 0.2)))) == 1


def test_a_lower_learning_rate_where_a_loss_rose_again():
    risen = unit(last=0.0626)
    assert verdict(numbers(risen)) == [
        "The one unit did not converge; digits block 0 rose from its lowest loss, 0.0500, to 0.0626; its lowest cosine is "
        "0.570 (fc1).",
        "Try a learning rate below 0.5: the loss of 1 unit rose again after its lowest value.",
    ]
    assert verdict(numbers(replace(risen, last=0.0624))) == ["The one unit converged."]


def test_an_expert_with_a_task_vector_ten_times_the_others():
    lengths = {"digits": 1.0, "photos": 1.2, "textures": 11.0}
    assert verdict(numbers(unit(), norms=lengths))[-1] == (
        "Look at the model of textures: its task vector is 10.0 times as long as the median of the others and outweighs "
        "them where they are added; see whether it was finetuned from this base, or merge without it."
    )
    assert verdict(numbers(unit(), norms=lengths | {"textures": 10.9})) == ["The one unit converged."]
    assert verdict(numbers(unit(), norms={"digits": 5.0})) == ["The one unit converged."]


def test_the_best_method_as_a_start_where_a_task_is_lost_on_anchors_that_converged():
    rows = {"tsv": (0.75, 0.8, 0.77), "fda:ta": (0.727, 0.79, 0.87)}
    advice = "Try another start: FDA (TSV) adapts TSV-M itself on these anchors."
    assert verdict(compared(rows))[-1] == advice
    above = compared({"tsv": (0.75, 0.8, 0.77), "fda:ta": (0.77, 0.82, 0.87)})
    assert len(verdict(above)) == 2, "there is nothing to gain back"
    short = unit("digits", 1, loss=0.2, fall=0.5)
    assert verdict(compared(rows, units=(unit(), short)))[-1].startswith("Try more than 125 steps")
    assert len(verdict(compared(rows, units=()))) == 1, "who knows whether these anchors converged"


def test_another_start_of_the_run_that_is_clearly_better_on_the_lost_task():
    rows = {"tsv": (0.75, 0.8, 0.77), "fda:tsv": (0.727, 0.81, 0.87), "fda:ta": (0.77, 0.7, 0.7)}
    assert verdict(compared(rows))[-1] == "Try another start: FDA (TA) reaches 77.0 % on digits, FDA (TSV) 72.7 %."
    assert len(verdict(compared(rows | {"fda:ta": (0.729, 0.7, 0.7)}))) == 2, "0.2 points are within the interval"


# all of it ----------------------------------------------------------------------------------------------------------


def random_numbers(random: np.random.Generator) -> VerdictNumbers:
    units = [
        unit(
            str(random.choice(TASKS)),
            int(random.integers(4)),
            loss=(lowest := random.uniform(0.02, 0.6)),
            first=lowest * random.uniform(1, 8),
            lowest=lowest,
            last=lowest * random.uniform(1, 1.4),
            fall=random.uniform(0, 0.5),
            weakest=("fc1", random.uniform(-0.2, 0.9)) if random.random() < 0.5 else None,
        )
        for _ in range(random.integers(0, 6))
    ]
    rows = {name: tuple(random.uniform(0.3, 0.9, 3)) for name in ("ta", "tsv", "fda:ta", "fda:tsv", "fda:wudi")}
    norms = {task: float(10 ** random.uniform(0, 1.5)) for task in TASKS} if random.random() < 0.3 else {}
    spread = None if random.random() < 0.2 else 10 ** random.uniform(-3, -1)
    return compared(rows, spread=spread, units=tuple(units), norms=norms, unfinished=int(random.integers(3)))


def known(given: VerdictNumbers) -> set[str]:
    """Every figure that a verdict on these numbers may hold, as it is written."""
    scores, losses = given.scores, [one.loss for one in given.units]
    points = [value for base in scores.methods for value in np.nditer(scores.minus(base).table)]
    points += [value for base in scores.methods for value in np.nditer(scores.minus(base).intervals)]
    points += [*scores.table.flat, *(one.fall for one in given.units)]
    ratios = [loss / np.median(losses) for loss in losses]
    ratios += [
        length / np.median([other for name, other in given.norms.items() if name != task])
        for task, length in given.norms.items()
    ]
    counts = [*range(7), given.unfinished, given.steps, 47, 94, 95]
    return (
        {f"{abs(100 * value):.1f}" for value in points}
        | {f"{value:.1f}" for value in ratios}
        | {f"{value:.4f}" for one in given.units for value in (one.loss, one.first, one.lowest, one.last)}
        | {f"{abs(one.weakest[1]):.3f}" for one in given.units if one.weakest}
        | {f"{given.learning_rate:g}", *map(str, counts)}
    )


def test_at_most_three_sentences_whose_figures_are_those_of_the_run():
    random, lengths = np.random.default_rng(0), set()
    for _ in range(300):
        given = random_numbers(random)
        sentences = verdict(given)
        lengths.add(len(sentences))
        assert all(one.endswith(".") for one in sentences)
        written = re.findall(r"\d+(?:\.\d+)?", " ".join(sentences).replace("fc1", ""))
        assert set(written) <= known(given), sentences
    assert lengths == {1, 2, 3}


# from the store -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "home")


def queued(store: Store, **changes: object) -> Run:
    zoo = {"name": "mine", "base": {"model": "/base"}, "tasks": [{"name": task, "model": f"/{task}"} for task in TASKS]}
    fields = {"zoo": zoo, "zoo_path": "/zoos/mine.yaml", "tasks": TASKS, "construction": FAST_CONSTRUCT}
    return store.run(store.create_run(RunSpec.model_validate(fields | changes)))


def construct(store: Store, run: Run, *, rates: tuple[float, ...] = (1.0,) * 9) -> None:
    """A unit a task: digits falls at once, textures towards 0.1, and photos is skipped."""
    keys = {task: UnitKey("construct", task, 2) for task in TASKS}
    store.add_units(run.run_id, [(key, 9) for key in keys.values()])
    curves = {"digits": [0.5, *[0.04] * 8], "textures": [0.1 + 0.4**step for step in range(9)]}
    for task, curve in curves.items():
        rows = [("angle_loss", step, value) for step, value in enumerate(curve)]
        rows += [("learning_rate", step, rate) for step, rate in enumerate(rates)]
        rows += [("cosine/fc1", 9, 0.9), ("cosine/fc2", 0, 0.1), ("cosine/fc2", 9, 0.8)]
        store.add_scalars(run.run_id, keys[task], rows, state="done", step=9, loss=curve[-1], best_step=8)
    store.update_unit(run.run_id, keys["photos"], state="done", message=f"{UNCHANGED}: as in the base.")


def score(store: Store, run: Run, rates: dict[str, float], *, selection: str = "fixed") -> None:
    """The first answers of each method are right, as many as its rate says: 500 samples a task, kept."""
    for method, rate in rates.items():
        scores = [Score(method, task, "test", "accuracy", rate, 500) for task in run.spec.tasks]
        store.add_result(run.run_id, MethodResult(method, "done", {"selection": selection}, 1.0, None, None), scores)
        right = (np.arange(500) < 500 * rate).astype(int)
        answers = {task: Answers(right, np.ones(500, int)) for task in run.spec.tasks}
        save_predictions(store.run_dir(run.run_id), method, answers)


def ended(store: Store, run: Run, state: str = "done") -> Run:
    store.set_state(run.run_id, state)
    return store.run(run.run_id)


def test_a_stored_run_has_its_verdict_once_it_has_ended(store):
    run = queued(store, methods=["pretrained", "ta", "ta:swept", "tsv", "fda:ta", "fda:tsv"])
    construct(store, run)
    score(store, run, {"pretrained": 0.4, "ta": 0.6, "fda:ta": 0.8})
    score(store, run, {"ta:swept": 0.9}, selection="validation")
    store.add_result(run.run_id, MethodResult("tsv", "failed", {}, None, None, "the disk was full"), [])
    assert verdict_of(store, store.run(run.run_id)) == []
    numbers = read_numbers(store, run)
    low, high = 100 * numbers.gain.differences.intervals[0, -1]
    assert 17 < low < 20 < high < 23, "paired: 100 of 500 samples are gained and none is lost"
    assert verdict_of(store, ended(store, run)) == [
        "All 2 units converged.",
        "FDA (TA) reaches 80.0 % on average, 20.0 points above the best method without data (Task arithmetic, 95 % interval "
        f"{low:.1f} to {high:.1f}), and loses clearly on no task.",
    ]


def test_the_fall_is_read_while_the_learning_rate_is_high(store):
    run = queued(store)
    construct(store, run, rates=(1.0, 1.0, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0))
    assert verdict_of(store, ended(store, run)) == [
        "1 of 2 units converged; textures block 2 stopped at loss 0.1007 and was still falling; its lowest cosine is 0.800 "
        "(fc2).",
        "Try more than 250 steps: the loss of textures block 2 was still falling, by 67.2 % from step 1 to step 3.",
    ]


def test_a_comparison_reads_the_anchors_of_its_run_for_its_tasks(store):
    anchors = queued(store)
    construct(store, anchors)
    ended(store, anchors)
    spec = {"construction": None, "methods": ["fda:ta"], "anchors_run": anchors.run_id, "tasks": TASKS[:2]}
    run = ended(store, queued(store, **spec))
    assert verdict_of(store, run) == [f"The one unit of run {anchors.run_id} converged."]
    store.delete_run(anchors.run_id)
    assert verdict_of(store, run) == []


def test_the_norms_are_those_of_the_survey_of_the_same_files(store):
    run = ended(store, queued(store, methods=["ta"]))
    survey = store.create_run(survey_spec(Path(run.spec.zoo_path), run.spec.zoo))
    norms = [{"name": task, "norms": [3 * length, 4 * length]} for task, length in zip(TASKS, (1, 1, 20), strict=True)]
    result_file(store.run_dir(survey)).write_text(json.dumps({"tasks": norms}))
    assert verdict_of(store, run) == [], "it has not ended"
    store.set_state(survey, "done")
    assert read_numbers(store, run).norms == {"digits": 5, "photos": 5, "textures": 100}
    assert verdict_of(store, run)[0].startswith("Look at the model of textures: its task vector is 20.0 times as long")


def test_landscapes_and_runs_that_did_nothing_have_none(store):
    landscape = queued(store, construction=None, landscape=LandscapeSettings(source="20260101-000000-dead"))
    construct(store, landscape)
    assert verdict_of(store, ended(store, landscape)) == []
    assert verdict_of(store, ended(store, queued(store, methods=["ta"]), "cancelled")) == []


def test_imported_anchors_have_no_curve_to_judge(store):
    run = queued(store, published="/published")
    construct(store, run)
    assert verdict_of(store, ended(store, run)) == []


def test_a_stopped_run_counts_what_it_did_not_finish(store):
    run = queued(store)
    construct(store, run)
    store.add_units(run.run_id, [(UnitKey("construct", "digits", block), 9) for block in (3, 4)])
    assert verdict_of(store, ended(store, run, "cancelled")) == ["All 2 units converged; 2 units did not finish."]


def test_a_curve_of_two_steps_is_read(store):
    key = UnitKey("construct", "digits", 0)
    read = curve_numbers(key, 0.5, (np.array([0, 1]), np.array([0.8, 0.6])))
    assert (read.half, read.end, read.fall) == (0, 1, pytest.approx(0.25)) and read.course == "falling"
