"""Comparing on the tiny zoo: every method has a row or a sentence, what it read and how it was chosen; resuming."""

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.registry import METHODS
from fda.report.command import run_commands
from fda.report.model_card import model_card
from fda.report.model_loading import Loading
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.predictions import correctness, load_predictions
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.evaluate import evaluate
from fda.tasks.heads import load_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.tiny_zoo import make_zoo

SETTINGS = construct_settings("fast", steps=6, anchors=4)
QUICK = {
    "adamerging": {"steps": 3},
    "adamerging_layer": {"steps": 3},
    "fisher": {"examples": 8},
    "wudi": {"steps": 5},
    "optmerge": {"steps": 5},
}


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


def run(store, zoo, stop=NEVER, **changes) -> str:
    spec = make_spec(zoo, **({"construct": SETTINGS, "device": "cpu"} | changes))
    run_id = store.create_run(spec)
    execute(store, run_id, stop)
    return run_id


def rows(store, run_id) -> dict:
    return {result.method: result for result in store.results(run_id)[0]}


def test_every_method_of_the_registry_has_a_row(store, tiny_zoo):
    run_id = run(store, tiny_zoo, methods=tuple(METHODS), hyperparameters=QUICK)
    found = rows(store, run_id)
    assert list(found) == list(METHODS)
    assert {name: row.message for name, row in found.items() if row.state != "done"} == {}
    for name in METHODS:
        answers = load_predictions(store.run_dir(run_id), name)
        assert [len(own.predicted) for own in answers.values()] == [40, 40]
    assert correctness(store.run_dir(run_id), list(METHODS), "red").shape == (len(METHODS), 40)
    assert all(unit.state == "done" for unit in store.units(run_id))
    assert not (store.run_dir(run_id) / "adapted").exists()
    assert found["regmean"].settings["inputs"] == "train" and found["adamerging"].settings["inputs"].startswith("test")
    assert found["fda:ta"].settings["anchors_seconds"] > 0 and found["regmean:anchors"].settings["anchors_seconds"] > 0
    assert found["wudi"].settings["selection"] == "set by hand" and found["wudi"].settings["steps"] == 5
    assert found["ta"].settings == {"scale": 0.3, "selection": "fixed"}
    assert found["fda:ta"].settings["selection"] == "fixed (zoo file)"


def test_scores_are_those_of_the_merged_file(store, tiny_zoo):
    run_id = run(store, tiny_zoo, construct=None, methods=("ties",))
    opened = open_zoo(load_zoo(tiny_zoo))
    opened.model.load(load_file(store.run_dir(run_id) / "merged" / "ties.safetensors"))
    scores = {score.task: score for score in store.results(run_id)[1] if score.method == "ties"}
    for name in ("red", "bright"):
        task = opened.zoo.task(name)
        answers = evaluate(opened.model, load_head(task), load_split(task, "test", opened.model.transform))
        assert (scores[name].value, scores[name].count) == (answers.accuracy, 40)
        kept = load_predictions(store.run_dir(run_id), "ties")[name]
        assert np.array_equal(kept.predicted, answers.predicted) and np.array_equal(kept.label, answers.label)


def test_a_swept_coefficient_is_the_best_of_its_curve_on_the_validation_split(store, tiny_zoo):
    run_id = run(store, tiny_zoo, construct=None, methods=("ta:swept",))
    settings = rows(store, run_id)["ta:swept"].settings
    sweep = settings["sweep"]
    assert settings["selection"] == "validation" and sweep["split"] == "validation"
    assert sweep["hyperparameter"] == "scale" and sweep["values"] == list(METHODS["ta"].coefficient.sweep)
    assert settings["scale"] == sweep["values"][int(np.argmax(sweep["average"]))]
    opened = open_zoo(load_zoo(tiny_zoo))
    finetuned = list(opened.tasks.values())
    for index in (0, 9, 19):  # the plain way: a merge a value
        opened.model.load(merge(METHODS["ta"], opened.base, finetuned, scale=sweep["values"][index]))
        for name, curve in sweep["tasks"].items():
            task = opened.zoo.task(name)
            split = load_split(task, "validation", opened.model.transform)
            assert curve[index] == evaluate(opened.model, load_head(task), split).accuracy
    best = merge(METHODS["ta"], opened.base, finetuned, scale=settings["scale"])
    kept = load_file(store.run_dir(run_id) / "merged" / "ta:swept.safetensors")
    assert all(torch.allclose(kept[name], tensor, atol=1e-6) for name, tensor in best.items())
    assert not list((store.run_dir(run_id) / "merged").glob("*.update"))


def test_methods_that_are_put_together_are_merged_swept_adapted_and_exported(store, tiny_zoo, tmp_path):
    methods = ("svc:larv:ta", "larv:ta:swept", "fda:anchored_ridge:ta", "fda:ta")
    hyperparameters = {"svc:larv:ta": {"spread": 0.9}, "ta": {"weights": "1,0.5"}, "larv:ta": {"weights": "0,1"}}
    run_id = run(store, tiny_zoo, methods=methods, hyperparameters=hyperparameters)
    found = rows(store, run_id)
    assert {name: row.message for name, row in found.items() if row.state != "done"} == {}
    assert (
        found["svc:larv:ta"].settings["spread"] == 0.9 and found["svc:larv:ta"].settings["selection"] == "set by hand"
    )
    assert found["larv:ta:swept"].settings["sweep"]["hyperparameter"] == "scale"
    assert found["larv:ta:swept"].settings["weights"] == "0,1" and "weights" not in found["svc:larv:ta"].settings
    opened = open_zoo(load_zoo(tiny_zoo))
    expected = merge(METHODS["svc:larv:ta"], opened.base, list(opened.tasks.values()), spread=0.9)
    kept = load_file(store.run_dir(run_id) / "merged" / "svc:larv:ta.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())
    (command,) = run_commands(store.run(run_id).spec)[-1:]
    assert "--set svc:larv:ta.spread=0.9" in command and "--set ta.weights=1,0.5" in command
    card = model_card(
        store, store.run(run_id), "svc:larv:ta", Loading("open_clip", "ViT", images=True, location="here")
    )
    assert "Task arithmetic + LARV + SVC" in card and "spread 0.9" in card


def test_weights_that_do_not_fit_the_tasks_are_refused_before_the_run(tiny_zoo):
    with pytest.raises(UserError, match="for each of the 2 tasks"):
        make_spec(tiny_zoo, methods=("ta",), hyperparameters={"ta": {"weights": "1,2,3"}})


def test_distillation_trains_on_real_inputs_and_keeps_them_for_the_next_run(store, tiny_zoo, fda_home):
    run_id = run(store, tiny_zoo, construct=None, methods=("distill",))
    row = rows(store, run_id)["distill"]
    assert row.state == "done" and row.settings["inputs"] == "train" and row.settings["examples"] == 256
    kept = sorted((fda_home / "cache" / "block_inputs").rglob("*.safetensors"))
    assert len(kept) == 4 and load_file(kept[0])["inputs"].shape == (40, 5, 16)
    stamps = [file.stat().st_mtime_ns for file in kept]
    again = run(store, tiny_zoo, construct=None, methods=("distill",))
    assert [file.stat().st_mtime_ns for file in kept] == stamps
    one, other = (store.run_dir(i) / "merged" / "distill.safetensors" for i in (run_id, again))
    assert one.read_bytes() == other.read_bytes()


def test_a_start_that_is_not_in_the_run_is_merged_with_the_runs_hyperparameters(store, tiny_zoo):
    made = run(store, tiny_zoo)
    run_id = run(
        store,
        tiny_zoo,
        construct=None,
        anchors_run=made,
        methods=("fda:ties",),
        hyperparameters={"ties": {"density": 1.0}},
    )
    opened = open_zoo(load_zoo(tiny_zoo))
    expected = merge(METHODS["ties"], opened.base, list(opened.tasks.values()), density=1.0)
    started = load_file(store.run_dir(run_id) / "merged" / "ties.safetensors")
    assert all(torch.equal(started[name], tensor) for name, tensor in expected.items())


def test_from_the_sum_fda_trains_the_weights_of_the_sum(store, tiny_zoo):
    """A learning rate that moves nothing leaves the start; one that moves something lowers the blocks' loss."""
    made = run(store, tiny_zoo)
    opened = open_zoo(load_zoo(tiny_zoo))
    start = merge(METHODS["sum"], opened.base, list(opened.tasks.values()))
    prefixes = tuple(block.prefix for block in opened.model.blocks)
    for rate in (1e-12, 0.1):
        adaptation = {"weights_lr": rate, "weights_rate": "relative", "weights_epochs": 3}
        run_id = run(
            store, tiny_zoo, construct=None, anchors_run=made, methods=("sum", "fda:sum"), adaptation=adaptation
        )
        merged = load_file(store.run_dir(run_id) / "merged" / "fda:sum.safetensors")
        stays = {name: torch.allclose(merged[name], start[name], atol=1e-7) for name in start}
        assert all(stays[name] for name in start if name.startswith(prefixes)) == (rate == 1e-12)
        outside = [name for name in start if not name.startswith(prefixes)]
        assert all(torch.equal(merged[name], opened.base[name]) for name in outside), "only blocks are adapted"
        settings = rows(store, run_id)["fda:sum"].settings
        assert (
            settings["weights_lr"] == rate
            and settings["weights_rate"] == "relative"
            and "coefficients_lr" not in settings
        )
        for _, losses in store.scalars(run_id, "adapt_loss", stage="adapt").values():
            assert losses[-1] < losses[0] if rate == 0.1 else losses[-1] == pytest.approx(losses[0])


def test_a_run_stopped_within_a_method_resumes_to_the_same_bytes(store, tiny_zoo):
    methods = ("ties:swept", "fda:ta", "fda:iso_c")
    whole = run(store, tiny_zoo, methods=methods)
    run_id = store.create_run(store.run(whole).spec)

    def after(stage: str, name: str):
        return Cancel(
            lambda: any(
                unit.step > 0 for unit in store.units(run_id) if (unit.key.stage, unit.key.name) == (stage, name)
            )
        )

    for stage, name in (("evaluate", "ties:swept"), ("adapt", "fda:iso_c")):
        with pytest.raises(Cancelled):
            execute(store, run_id, after(stage, name))
        assert not list(store.run_dir(run_id).rglob("*.part")) and not list(store.run_dir(run_id).rglob("*.update"))
        store.set_state(run_id, "cancelled")
        store.requeue(run_id)
        for unit in store.units(run_id):
            if unit.state != "done":
                store.update_unit(run_id, unit.key, step=0)
    execute(store, run_id, NEVER)
    assert {name: row.state for name, row in rows(store, run_id).items()} == dict.fromkeys(
        ("pretrained", "individual", *methods), "done"
    )
    for name in methods:
        one, other = (store.run_dir(i) / "merged" / f"{name}.safetensors" for i in (whole, run_id))
        assert one.read_bytes() == other.read_bytes()


def test_an_unexpected_failure_is_the_methods_own(store, tiny_zoo, monkeypatch):
    def broken(base, finetuned, **_):
        raise torch.linalg.LinAlgError("svd did not converge")
        yield

    monkeypatch.setitem(METHODS, "tsv", METHODS["tsv"].__class__(**vars(METHODS["tsv"]) | {"merge": broken}))
    run_id = run(store, tiny_zoo, construct=None, methods=("tsv", "ta"))
    found = rows(store, run_id)
    assert found["ta"].state == "done" and found["tsv"].state == "failed"
    assert found["tsv"].message.startswith("a matrix is singular or could not be decomposed: svd did not converge")
    assert "Traceback" in (store.run_dir(run_id) / "log.txt").read_text()


def test_a_method_without_the_data_it_needs_fails_with_its_sentence(store, tmp_path):
    path = make_zoo(tmp_path / "zoo")
    content = yaml.safe_load(path.read_text())
    for task in content["tasks"]:
        del task["data"]["train_split"], task["data"]["validation_split"]
    path.write_text(yaml.safe_dump(content))
    run_id = run(store, path, construct=None, methods=("ta", "regmean", "ta:swept", "fda:ta", "adamerging"),
                 hyperparameters={"adamerging": {"steps": 1}})  # fmt: skip
    found = rows(store, run_id)
    assert {name for name, row in found.items() if row.state == "done"} == {
        "pretrained",
        "individual",
        "ta",
        "adamerging",
    }
    assert "train_split" in found["regmean"].message and "validation_split" in found["ta:swept"].message
    assert "--anchors" in found["fda:ta"].message


def test_comparing_with_another_runs_anchors(store, tiny_zoo):
    made = run(store, tiny_zoo)
    run_id = run(store, tiny_zoo, construct=None, methods=("ta", "fda:ta"), anchors_run=made)
    results, scores = store.results(run_id)
    assert [(r.method, r.state) for r in results] == [(m, "done") for m in ("pretrained", "individual", "ta", "fda:ta")]
    assert {s.task for s in scores} == {"red", "bright"}
    merged = load_file(store.run_dir(run_id) / "merged" / "ta.safetensors")
    opened = open_zoo(load_zoo(tiny_zoo))
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    taus = sum(checkpoint[name] - opened.base[name] for checkpoint in opened.tasks.values())
    assert torch.allclose(merged[name], opened.base[name] + 0.3 * taus, atol=1e-6)


def test_a_method_that_fails_says_why_and_the_others_go_on(store, tiny_zoo):
    part = run(store, tiny_zoo, blocks=(0,))
    run_id = run(store, tiny_zoo, construct=None, methods=("fda:ta", "ta"), anchors_run=part)
    states = {result.method: (result.state, result.message) for result in store.results(run_id)[0]}
    assert states["ta"][0] == "done"
    assert states["fda:ta"][0] == "failed" and "has no anchors for task red, block 1" in states["fda:ta"][1]


def test_anchors_of_other_checkpoints_are_refused(store, tmp_path):
    zoo = make_zoo(tmp_path / "zoo")
    made = run(store, zoo)
    other = make_zoo(tmp_path / "other")
    path = tmp_path / "other" / "red" / "open_clip_model.safetensors"
    path.write_bytes((tmp_path / "other" / "bright" / "open_clip_model.safetensors").read_bytes())
    run_id = run(store, other, construct=None, methods=("fda:ta",), anchors_run=made)
    failed = next(result for result in store.results(run_id)[0] if result.method == "fda:ta")
    assert "made from another checkpoint" in failed.message


def test_a_finished_method_is_not_run_again(store, tiny_zoo):
    run_id = run(store, tiny_zoo, construct=None, methods=("ta",))
    stamp = (store.run_dir(run_id) / "merged" / "ta.safetensors").stat().st_mtime_ns
    execute(store, run_id, NEVER)
    assert (store.run_dir(run_id) / "merged" / "ta.safetensors").stat().st_mtime_ns == stamp
