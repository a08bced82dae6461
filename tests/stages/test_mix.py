"""What the mixer shows is what a comparison would give: the same bytes of weights, the same answers, no test split read."""

import itertools
import json

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from fda.cancel import NEVER, Cancel, Cancelled
from fda.cli.app import app
from fda.errors import UserError
from fda.jobs.mixer_messages import MixRequest
from fda.merging.merge import merge, merge_to_file
from fda.merging.registry import METHODS
from fda.requests.recipe import read_recipe
from fda.stages.mix import mix_to_file, names_by_place, part_tensors
from fda.stages.mix_parts import Parts, is_linear
from fda.stages.mixer import Engine
from fda.stages.scoring import EvaluationSet, ModelToScore, answer
from fda.store.files import merged_file
from fda.store.store import Store
from fda.tasks.data import load_split
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import text_zoo
from tests.support.tiny_zoo import make_zoo

ROOM = 50_000_000
LINEAR = [one.name for one in METHODS.values() if one.needs == "nothing" and is_linear(one) and not one.swept]


@pytest.fixture(scope="module")
def opened(tiny_zoo):
    torch.set_num_threads(1)
    return open_zoo(load_zoo(tiny_zoo))


@pytest.fixture(scope="module")
def names(opened) -> list[str]:
    """Of all floating-point tensors."""
    return [name for of_place in names_by_place(opened).values() for name in of_place]


@pytest.fixture(scope="module")
def one(tiny_zoo):
    """An engine that has the tiny zoo open. Tests share it: what one asks must not change what another gets."""
    return engine(tiny_zoo)


def recipe(*parts: dict, zoo: str = "tiny") -> dict:
    return {"zoo": zoo, "parts": [{"blocks": "all", "method": "ta"} | part for part in parts]}


def engine(zoo) -> Engine:
    one = Engine(load_zoo(zoo), None, ROOM, 0)
    one.open(lambda *_: None)
    return one


def ask(one: Engine, content: dict, cancel: Cancel = NEVER, **more):
    return one.answer(MixRequest(recipe=content, **more), 1, cancel, lambda *_: None)


# weights -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LINEAR, "average", "larv:tsv"])
def test_a_part_kept_in_memory_is_the_method_bit_for_bit(opened, names, name):
    """Of a linear method, after another value of its coefficient: what is kept is only scaled."""
    method, parts = METHODS[name], Parts(opened, Store(), ROOM)
    few = {"steps": 3} if "steps" in method.defaults else {}
    if is_linear(method):
        before = read_recipe(recipe({"method": name, "settings": few | {method.coefficient.name: 0.3}}), opened.zoo)
        parts.tensors(before.parts[0], before, names)
        few |= {method.coefficient.name: 0.73}
    read = read_recipe(recipe({"method": name, "settings": few}), opened.zoo)
    assert parts.is_kept(read.parts[0], read) == is_linear(method)
    expected = merge(method, opened.base, list(opened.tasks.values()), in_by_out=opened.model.in_by_out, **few)
    for key, tensor in parts.tensors(read.parts[0], read, names):
        assert torch.equal(tensor, expected[key]), key
    for held, weights in (
        (parts.base, opened.base),
        *((parts._finetuned[task], opened.tasks[task]) for task in opened.tasks),
    ):
        assert all(torch.equal(held[key], weights[key]) for key in names), "what is kept was changed in place"


def test_the_model_of_task_arithmetic_comes_out_bit_for_bit(opened, tmp_path):
    mix_to_file(read_recipe(RECIPES[0], opened.zoo), opened, Store(), tmp_path / "mix.safetensors")
    merge_to_file(METHODS["ta"], opened.base, list(opened.tasks.values()), tmp_path / "ta.safetensors", {}, scale=0.3)
    mix, ta = (load_file(tmp_path / f"{name}.safetensors") for name in ("mix", "ta"))
    assert mix.keys() == ta.keys() and all(torch.equal(mix[name], ta[name]) for name in ta)


@pytest.mark.parametrize(
    ("name", "weights"), [("ta", {"red": 0.5}), ("ta", {"red": -1}), ("tsv", {"red": 0.5, "bright": 2})]
)
def test_weights_scale_the_task_vectors_before_they_are_merged(opened, names, name, weights):
    read = read_recipe(recipe({"method": name, "weights": weights}), opened.zoo)
    scaled = [
        {key: opened.base[key] + weights.get(task, 1) * (theta[key] - opened.base[key]) for key in theta}
        for task, theta in opened.tasks.items()
    ]
    expected = merge(METHODS[name], opened.base, scaled)
    from_memory = dict(Parts(opened, Store(), ROOM).tensors(read.parts[0], read, names))
    for key, tensor in part_tensors(read.parts[0], read, opened, Store(), names):
        assert torch.equal(tensor, from_memory[key])
        assert torch.allclose(tensor, expected[key], atol=1e-6)


def test_each_block_gets_its_part_and_the_rest_stays_pretrained(opened, tmp_path):
    read = read_recipe(
        recipe({"blocks": [0], "method": "tsv"}, {"blocks": [1], "method": "individual:red"}), opened.zoo
    )
    mix_to_file(read, opened, Store(), tmp_path / "mix.safetensors")
    made = load_file(tmp_path / "mix.safetensors")
    tsv = merge(METHODS["tsv"], opened.base, list(opened.tasks.values()))
    first, second = (block.prefix for block in opened.model.blocks)
    for name, tensor in made.items():
        source = tsv if name.startswith(first) else opened.tasks["red"] if name.startswith(second) else opened.base
        assert torch.equal(tensor, source[name]), name
    with safe_open(tmp_path / "mix.safetensors", "pt") as file:
        assert read_recipe(file.metadata()["recipe"], opened.zoo) == read


def test_parts_longest_unused_make_room(opened):
    parts, names = Parts(opened, Store(), 0), names_by_place(opened)[0]
    for scale in (0.3, 0.5):
        for method in ("ta", "tsv", "ties"):
            read = read_recipe(recipe({"method": method, "settings": {"scale": scale}}), opened.zoo)
            assert len(dict(parts.tensors(read.parts[0], read, names))) == len(names)
            assert len(parts._kept) == 1 and parts.is_kept(read.parts[0], read)


# answers -------------------------------------------------------------------------------------------------------------


RECIPES = (
    recipe({"settings": {"scale": 0.3}}),
    recipe({"settings": {"scale": 1.0}}),
    recipe({"blocks": [0], "settings": {"scale": 1.0}}, {"blocks": [1], "method": "tsv"}),
    recipe({"blocks": [0], "settings": {"scale": 1.0}}, {"blocks": [1], "method": "individual:red"}),
    recipe({"blocks": [1], "method": "individual:bright"}),
)


def scored(opened, content: dict, sample: dict[str, tuple[int, ...]], folder) -> dict:
    """What a comparison's scoring says of the file of a recipe on the same samples."""
    mix_to_file(read_recipe(content, opened.zoo), opened, Store(), folder / "m.safetensors")
    sets = {}
    for task, indices in sample.items():
        data = opened.zoo.task(task).data
        split = load_split(opened.zoo.task(task), data.validation_split, opened.model.transform).part(indices)
        sets[task] = EvaluationSet(split, task_head(opened, task), data)
    models = [ModelToScore("mix", load_file(folder / "m.safetensors"), tuple(sets))]
    return answer(opened.model, models, sets, "cpu")[0]


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_answers_equal_those_of_a_comparison_whatever_was_asked_before(kind, one, tiny_zoo, tmp_path):
    path, tasks, contents = tiny_zoo, ("red", "bright"), RECIPES
    if kind == "texts":
        path, tasks = text_zoo(tmp_path, "bert", validation_split="train"), ("first", "second")
        one = engine(path)
        contents = json.loads(json.dumps(RECIPES[1:4]).replace('"individual:red"', '"individual:first"'))
    opened = open_zoo(load_zoo(path))
    sample = {task: one.bench.sample(task, 20) for task in tasks}
    expected = [scored(opened, content, sample, tmp_path) for content in contents]
    for at in [*range(len(contents)), *reversed(range(len(contents)))]:
        one.bench._answers.clear()  # so that it answers again, from what blocks gave
        found = ask(one, contents[at], samples=20).mix
        assert found.tasks == {task: each.value for task, each in expected[at].items()}
        for task, each in expected[at].items():
            shown = {sample[task].index(it.index): it for it in found.shown[task] if it.index in sample[task]}
            assert [it.predicted for it in shown.values()] == each.predicted[[*shown]].tolist()
            assert [it.confidence for it in shown.values()] == each.top.probabilities[[*shown], 0].tolist()


def test_a_request_cancelled_at_any_moment_leaves_nothing_false_behind(one):
    expected = [ask(one, content).mix for content in RECIPES[:4]]
    ended = 0
    for limit in range(7):
        for content in RECIPES[3::-1]:
            one.bench._answers.clear()
            checks = itertools.count()
            try:
                ask(one, content, Cancel(lambda checks=checks, limit=limit: next(checks) >= limit))
            except Cancelled:
                ended += 1
        one.bench._answers.clear()
        assert [ask(one, content).mix for content in RECIPES[:4]] == expected
    assert ended > 10


def test_experts_baseline_table_and_place(one):
    found = ask(one, RECIPES[3], baseline=RECIPES[0], shown={"red": (5, 3)})
    for task in ("red", "bright"):
        expert = ask(one, recipe({"method": f"individual:{task}"}))
        assert found.individual.tasks[task] == expert.mix.tasks[task]
    assert found.baseline == ask(one, RECIPES[0], shown={"red": (5, 3)}).mix
    assert [prediction.index for prediction in found.mix.shown["red"]] == [5, 3] and found.mix.shown["bright"] == ()
    assert [(row.block, row.index, row.method) for row in found.blocks] == [
        ("visual.transformer.resblocks.0", 0, "ta"),
        ("visual.transformer.resblocks.1", 1, "individual:red"),
        ("rest", None, "pretrained"),
    ]
    assert (
        found.blocks[0].settings == {"scale": 1.0, "weights": ""}
        and found.blocks[2].change == 0 < found.blocks[0].change
    )
    plane = one.about.plane
    expert = ask(one, recipe({"method": "individual:red"})).place
    assert (expert.a, expert.b, expert.distance) == pytest.approx(
        (plane.tasks["red"].a, plane.tasks["red"].b, plane.tasks["red"].distance), abs=1e-6
    )
    half = ask(one, recipe({"settings": {"scale": 0.5}})).place
    assert (2 * half.a, 2 * half.b) == pytest.approx((plane.sum.a, plane.sum.b), abs=1e-6)


def test_mixing_never_touches_the_test_split(tmp_path, monkeypatch):
    path = make_zoo(tmp_path)
    for file in path.parent.glob("data/*/test.parquet"):
        file.unlink()
    one = engine(path)
    found = ask(one, RECIPES[2])
    assert found.samples == {"red": 40, "bright": 40}
    assert len(one.pictures({"red": [0, 39]}, NEVER)["red"]["content"]) == 2
    with pytest.raises(UserError, match="with numbers from 0 to 39"):
        one.pictures({"red": [40]}, NEVER)
    content = yaml.safe_load(path.read_text())
    del content["tasks"][1]["data"]["validation_split"]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="task 'bright' of zoo tiny has no `data.validation_split`"):
        engine(path)


def test_a_model_too_large_for_a_second_takes_fewer_samples_and_says_so(tiny_zoo, monkeypatch):
    monkeypatch.setattr("fda.stages.mix_scores.Bench.seconds_per_sample", lambda *_: 0.05)
    one = engine(tiny_zoo)
    about, found = one.about, ask(one, RECIPES[0])
    assert about.largest in (5, 10, 20, 50) and found.note.startswith(about.note.removesuffix("."))
    assert f"of each task {about.largest} samples are answered, not 100; this answer took 0 s." in found.note
    assert found.samples == {"red": about.largest, "bright": about.largest}
    assert set(one.bench.sample("red", about.largest)) < set(one.bench.sample("red", 40))
    assert ask(one, RECIPES[0], samples=5).note is None


# keeping -------------------------------------------------------------------------------------------------------------


def test_a_kept_mix_is_a_row_of_a_comparison_with_its_recipe_and_can_be_taken_home(tiny_zoo, opened, tmp_path):
    def command(*words: object):
        return CliRunner().invoke(app, [str(word) for word in words])

    file, out = tmp_path / "mix.yaml", tmp_path / "out.safetensors"
    file.write_text(yaml.safe_dump(RECIPES[2]))
    asked = ("mix", "--zoo", tiny_zoo, "--recipe", file, "--device", "cpu")
    done = command(*asked, "--out", out, "--keep", "mine", "--methods", "ta", "--json", tmp_path / "rows.json")
    assert done.exit_code == 0, done.output
    assert "θ0 + 1·(τ_red + τ_bright) on block 0; TSV-M(τ_red, τ_bright, scale 1) on block 1" in done.output
    store = Store()
    (run,) = store.runs(kinds=("compare",))
    results = {one.method: one for one in store.results(run.run_id)[0]}
    assert [*results] == ["pretrained", "individual", "ta", "mix:mine"]
    mine = results["mix:mine"]
    assert mine.settings["selection"] == "validation" and results["ta"].settings["selection"] == "fixed"
    assert read_recipe(mine.settings["recipe"]) == read_recipe(RECIPES[2])
    assert merged_file(store.run_dir(run.run_id), "mix:mine").read_bytes() == out.read_bytes()
    rows = {row["method"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert 0 <= rows["mix:mine"]["average"] <= 1
    taken = command("export", run.run_id, "--method", "mix:mine", "--out", tmp_path / "taken")
    assert taken.exit_code == 0, taken.output
    with safe_open(tmp_path / "taken" / "open_clip_model.safetensors", "pt") as exported:
        assert read_recipe(exported.metadata()["recipe"]) == read_recipe(RECIPES[2])
    card = (tmp_path / "taken" / "README.md").read_text()
    assert "- chosen: validation" in card and "method: tsv" in card
    again = recipe({"method": f"mix:mine@{run.run_id}"})  # a kept mix is a model like any other
    mix_to_file(read_recipe(again, opened.zoo), opened, store, tmp_path / "again.safetensors")
    for name, tensor in load_file(tmp_path / "again.safetensors").items():
        assert torch.equal(tensor, load_file(out)[name])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--keep", "a:b", "--out", "o.safetensors"), "a mix cannot be called 'a:b'"),
        ((), "write the model with --out FILE.safetensors, or score it with --keep NAME"),
        (("--out", "o.safetensors", "--methods", "ta"), "--methods belongs to a comparison"),
        (("--out", "o.safetensors", "--fresh"), "--fresh belongs to a comparison"),
        (("--out", "o.safetensors", "--json", "r.json"), "--json belongs to a comparison"),
        (("--out", "o.pt"), "give a .safetensors file"),
        (("--recipe", "other.yaml", "--out", "o.safetensors"), "is for the zoo 'other', not for 'tiny'"),
        (("--recipe", "none.yaml", "--out", "o.safetensors"), "none.yaml could not be read"),
    ],
)
def test_what_cannot_be_mixed_is_one_sentence(tiny_zoo, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump(RECIPES[0]))
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(RECIPES[0] | {"zoo": "other"}))
    done = CliRunner().invoke(app, ["mix", "--zoo", str(tiny_zoo), "--recipe", "mix.yaml", *words])
    assert isinstance(done.exception, UserError) and told in str(done.exception), done.output
    assert {path.name for path in tmp_path.iterdir()} <= {"mix.yaml", "other.yaml", "home"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (recipe({"method": "ta@20261129-082329-6871"}), "There is no run"),
        (recipe({"blocks": [7]}), "there is no block 7"),
    ],
)
def test_what_only_the_store_or_the_model_knows_is_one_sentence(one, content, told):
    with pytest.raises(UserError, match=told):
        ask(one, content)
