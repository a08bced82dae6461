"""Several models in one pass over the data give exactly what each gives alone, whatever the size of the pieces."""

from pathlib import Path

import numpy as np
import pytest

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.requests.runs import make_spec
from fda.stages import compare, scoring
from fda.stages.execute import execute
from fda.stages.scoring import EvaluationSet, ModelToScore, answer, joined
from fda.store.store import Store
from fda.tasks import data
from fda.tasks.answers import Answers
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import load_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

TASKS = ("red", "bright")


@pytest.fixture
def opened(tiny_zoo, fda_home):
    return open_zoo(load_zoo(tiny_zoo))


def sets(opened) -> dict[str, EvaluationSet]:
    found = {}
    for name in TASKS:
        task = opened.zoo.task(name)
        found[name] = EvaluationSet(load_split(task, "test", opened.model.transform), load_head(task), task.data)
    return found


@pytest.fixture
def small(monkeypatch):
    """Batches and pieces of a few samples, so that 40 of them make several pieces."""
    monkeypatch.setattr("fda.tasks.evaluate.IMAGES", 8)
    monkeypatch.setattr(data, "WHOLE", 16)
    monkeypatch.setattr(data, "SPAN", {"image": 16})


def models(opened) -> list[ModelToScore]:
    """The base, and each finetuned model on its own task alone: plain mappings, so that nothing is kept from before."""
    return [
        ModelToScore("pretrained", dict(opened.base), TASKS),
        *(ModelToScore("individual", dict(opened.tasks[name]), (name,)) for name in TASKS),
    ]


def test_one_pass_gives_the_answers_of_single_evaluations(opened, small):
    read = []
    prepared = opened.model.transform.prepare
    object.__setattr__(opened.model.transform, "prepare", lambda image: read.append(1) or prepared(image))
    one = next(iter(sets(opened).values())).split.bytes // 40
    read.clear()
    told = []
    found = answer(
        opened.model,
        models(opened),
        sets(opened),
        "cpu",
        report=lambda one, count: told.append((one.owner, count)),
        limit=2 * 16 * one,
    )
    assert len(read) == 2 * 40 + 2, "each sample once, and the first of each split for its size"
    assert sorted(told) == sorted([(owner, n) for owner in ("individual", "pretrained") for n in (16, 16, 8)] * 2)
    for scored, own in zip(models(opened), found, strict=True):
        assert tuple(own) == scored.tasks
        for name in scored.tasks:
            opened.model.load(scored.weights)
            each = sets(opened)[name]
            alone = evaluate(opened.model, each.head, each.split, data=each.data)
            assert np.array_equal(own[name].predicted, alone.predicted) and own[name].count == 40
            assert np.array_equal(own[name].label, alone.label) and own[name].metric == alone.metric


def test_pieces_are_consecutive_and_of_whole_batches(opened, small):
    split = sets(opened)["red"].split
    assert list(split.pieces(split.bytes)) == [split]
    assert [len(piece) for piece in split.pieces(split.bytes - 1)] == [32, 8]
    pieces = list(split.pieces(1))
    assert [len(piece) for piece in pieces] == [16, 16, 8]
    assert np.array_equal(np.concatenate([piece.labels() for piece in pieces]), split.labels())


def test_a_stop_is_heard_between_batches(opened, small):
    with pytest.raises(Cancelled):
        answer(opened.model, models(opened), sets(opened), "cpu", cancel=Cancel(lambda: True), limit=1)


def test_what_was_answered_of_a_task_is_not_asked_again_after_a_break(opened, small, fda_home, monkeypatch):
    candidates = [ModelToScore("pretrained", opened.base, ("red",))]
    whole = answer(opened.model, models(opened), sets(opened), "cpu")[0]["red"]
    batches = []

    def third_batch() -> bool:
        batches.append(1)
        return len(batches) > 3

    kept = fda_home / "cache" / "answers"
    with pytest.raises(Cancelled):
        answer(opened.model, candidates, sets(opened), "cpu", cancel=Cancel(third_batch))
    assert [path.name for path in kept.rglob("*.safetensors")] == ["0.safetensors"], (
        "two batches, whole; no file of one"
    )
    asked, told = [], []
    monkeypatch.setattr(scoring, "evaluate", lambda *given: asked.append(given[-1]) or evaluate(*given))
    found = answer(opened.model, candidates, sets(opened), "cpu", report=lambda _, count: told.append(count))[0]["red"]
    assert asked == [range(16, 32), range(32, 40)] and told == [16, 16, 8]
    assert np.array_equal(found.predicted, whole.predicted) and np.array_equal(found.label, whole.label)
    assert len(list(kept.iterdir())) == 1, "the parts are gone"
    assert np.array_equal(answer(opened.model, candidates, sets(opened), "cpu")[0]["red"].predicted, whole.predicted)


def test_parts_are_found_again_whatever_the_pieces_in_memory(opened, small, monkeypatch):
    candidates = [ModelToScore("pretrained", opened.base, ("red",))]
    whole = answer(opened.model, models(opened), sets(opened), "cpu")[0]["red"]
    asked = []

    def breaks(*given):
        asked.append(given[-1])
        if len(asked) > 2:
            raise UserError("no more.")
        return evaluate(*given)

    monkeypatch.setattr(scoring, "evaluate", breaks)
    with pytest.raises(UserError, match="no more"):
        answer(opened.model, candidates, sets(opened), "cpu", limit=1)
    assert asked == [range(16), range(16), range(8)], "places in the piece, not in the split"
    monkeypatch.setattr(scoring, "evaluate", lambda *given: asked.append(given[-1]) or evaluate(*given))
    found = answer(opened.model, candidates, sets(opened), "cpu")[0]["red"]
    assert asked[3:] == [range(32, 40)]
    assert np.array_equal(found.predicted, whole.predicted) and np.array_equal(found.label, whole.label)


def test_a_method_moves_with_its_samples_and_not_only_with_its_tasks(tiny_zoo, fda_home, small, monkeypatch):
    monkeypatch.setattr("fda.stages.scored.WRITE_SECONDS", 0.0)
    store = Store(fda_home)
    run_id = store.create_run(make_spec(tiny_zoo, methods=("average",), device="cpu"))
    steps = []
    update = Store.update_unit
    monkeypatch.setattr(
        Store,
        "update_unit",
        lambda self, run, key, **own: steps.append(own.get("step")) or update(self, run, key, **own),
    )
    execute(store, run_id, NEVER)
    (unit,) = [unit for unit in store.units(run_id, "evaluate") if unit.key.name == "average"]
    assert unit.steps == unit.step == 80
    one = steps[-8:]
    assert one[0] == 0 and one[-1] == 80 and sorted(one) == one and len(set(one)) == 7, "six spans of two tasks"


def test_parts_of_a_language_model_keep_their_loss():
    parts = [Answers(np.array([1]), np.array([2]), "token_accuracy", np.array([0.5], np.float32))] * 2
    whole = joined(parts)
    assert whole.count == 2 and whole.loss.tolist() == [0.5, 0.5] and whole.metric == "token_accuracy"


def test_a_run_on_data_larger_than_memory_has_the_scores_of_one_on_small_data(tiny_zoo, fda_home, small, monkeypatch):
    store = Store(fda_home)
    methods = ("ta", "ties", "ta:swept")
    spec = make_spec(tiny_zoo, methods=methods, device="cpu")
    small_run, large_run = store.create_run(spec), store.create_run(spec)
    execute(store, small_run, NEVER)
    groups = []
    monkeypatch.setattr(data, "CACHE_BYTES", 1)
    monkeypatch.setattr(scoring, "CACHE_BYTES", 1)
    monkeypatch.setattr(scoring, "read_kept", lambda path: None)
    score = compare.Comparison.score
    monkeypatch.setattr(
        compare.Comparison, "score", lambda self, group: groups.append(len(group)) or score(self, group)
    )
    execute(store, large_run, NEVER)
    assert groups == [2 + len(methods)], "all in one pass"
    assert store.results(large_run)[1] == store.results(small_run)[1]
    curves = [next(row for row in store.results(one)[0] if row.method == "ta:swept") for one in (small_run, large_run)]
    assert curves[0].settings == curves[1].settings and len(curves[0].settings["sweep"]["values"]) == 20
    assert all(unit.state == "done" and unit.step == unit.steps for unit in store.units(large_run))


def test_in_one_pass_a_model_that_fails_is_alone_in_it(tiny_zoo, fda_home, monkeypatch):
    monkeypatch.setattr(data, "CACHE_BYTES", 1)
    monkeypatch.setattr(scoring, "CACHE_BYTES", 1)
    store = Store(fda_home)
    run_id = store.create_run(make_spec(tiny_zoo, methods=("ta", "average"), device="cpu"))
    kind = type(open_zoo(load_zoo(tiny_zoo)).model)
    load = kind.load

    def broken(self, weights):
        if Path(getattr(weights, "path", "")).stem == "ta":
            raise UserError("the file is torn.")
        return load(self, weights)

    monkeypatch.setattr(kind, "load", broken)
    execute(store, run_id, NEVER)
    rows = {row.method: (row.state, row.message) for row in store.results(run_id)[0]}
    done = ("done", None)
    assert rows == {"pretrained": done, "individual": done, "ta": ("failed", "the file is torn."), "average": done}
