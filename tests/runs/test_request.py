"""What people ask for: presets of a family, hyperparameters, adaptation, groups of methods; each mistake is one sentence."""

from pathlib import Path

import pytest
import yaml

from fda.errors import UserError
from fda.merging.method import SWEPT
from fda.merging.registry import METHODS
from fda.requests.hyperparameters import read_assignments, read_by
from fda.requests.runs import (
    MAIN_METHODS,
    adapt_settings,
    changed_hyperparameters,
    choose_methods,
    construct_settings,
    make_spec,
    missing_need,
    read_adaptation,
    with_swept,
)
from fda.requests.unread import require_readers
from fda.settings import BEST_ADAPT, PAPER_ADAPT, AdaptSettings
from fda.store.spec import RunSpec
from fda.zoos.zoo import load_zoo

SPLITS = {"split": "test", "validation_split": "validation", "train_split": "train"}


def write_zoo(folder: Path, *, tasks: int = 3, splits: dict = SPLITS, **fields: object) -> Path:
    """A zoo file whose checkpoints are named but empty: a request opens none."""
    own = []
    for name in ("red", "green", "blue")[:tasks]:
        (folder / name).mkdir(exist_ok=True)
        (folder / f"{name}.safetensors").touch()
        data = {"path": name} | splits
        own.append({"name": name, "model": name, "head": f"{name}.safetensors", "data": data})
    (folder / "base").mkdir(exist_ok=True)
    path = folder / "zoo.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "base": {"model": "base"}, "tasks": own} | fields))
    return path


@pytest.fixture
def zoo(tmp_path) -> Path:
    return write_zoo(tmp_path)


def ask(zoo: Path, *methods: str, **wanted: object) -> RunSpec:
    return make_spec(zoo, methods=methods, **wanted)


# the paper's settings by family ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "anchors", "tokens", "steps"),
    [
        ("vision", 64, None, 1200),
        ("roberta-base", 64, 5, 1200),
        ("roberta-large", 64, 5, 1200),
        ("llama", 8192, 1, 200),
    ],
)
def test_the_preset_paper_means_the_familys(family, anchors, tokens, steps):
    paper = construct_settings("paper", family=family)
    assert (paper.anchors, paper.tokens, paper.steps) == (anchors, tokens, steps)
    assert (paper.optimizer, paper.learning_rate, paper.weight_decay) == ("adamw", 1e-2, 0.01)
    fast = construct_settings("fast", family=family)
    assert (fast.anchors, fast.tokens) == (anchors // 2, tokens) and fast.steps < steps


@pytest.mark.parametrize(
    ("family", "distance", "weights", "coefficients", "batch"),
    [
        ("vision", "cos", (1e-5, 100), (1e-2, 100), 128),
        ("roberta-base", "mse", (5e-5, 125), (1e-2, 100), 128),
        ("roberta-large", "mse", (5e-5, 25), (1e-2, 15), 128),
        ("llama", "cos", (1e-5, 50), (1e-2, 50), 8192),
    ],
)
def test_a_zoo_is_adapted_with_the_papers_settings_for_its_family(
    tmp_path, family, distance, weights, coefficients, batch
):
    found = adapt_settings(load_zoo(write_zoo(tmp_path, family=family)))
    assert (found.distance, found.batch) == (distance, batch)
    assert (found.weights_lr, found.weights_epochs) == weights
    assert (found.coefficients_lr, found.coefficients_epochs) == coefficients


def test_the_zoo_file_overrides_single_settings_and_a_spec_all_of_them(tmp_path):
    zoo = load_zoo(write_zoo(tmp_path, family="roberta-base", adapt={"weights_lr": 1e-3}))
    assert adapt_settings(zoo) == AdaptSettings(distance="mse", weights_lr=1e-3, weights_epochs=125)
    given = AdaptSettings(batch=7)
    assert adapt_settings(zoo, given) == given


def test_epochs_of_older_zoo_files_and_specs_are_both_kinds_of_epochs(tmp_path):
    path = write_zoo(tmp_path, family="roberta-base", adapt={"epochs": 7})
    found = adapt_settings(load_zoo(path))
    assert (found.weights_epochs, found.coefficients_epochs) == (7, 7)
    stored = ask(path, "ta").model_dump(mode="json") | {"adaptation": {"epochs": 9, "batch": 4}}
    del stored["zoo"]["family"]
    old = RunSpec.model_validate(stored)
    assert old.adaptation == AdaptSettings(weights_epochs=9, coefficients_epochs=9, batch=4)
    assert old.zoo.family == "vision"


def test_the_preset_best_is_the_same_for_every_family_and_gives_way_to_what_is_beside_it(tmp_path):
    clip = load_zoo(write_zoo(tmp_path, family="vision", adapt={"preset": "best", "batch": 8}))
    assert adapt_settings(clip).model_dump() == AdaptSettings().model_dump() | BEST_ADAPT | {"batch": 8}
    zoo = write_zoo(tmp_path, family="roberta-base", adapt={"batch": 64})
    spec = make_spec(zoo, methods=["fda:sum"], anchors_run="a", adaptation={"preset": "best", "epochs": "7"})
    best = BEST_ADAPT | {"weights_epochs": 7, "coefficients_epochs": 7}
    assert (
        spec.adaptation is not None and spec.adaptation.model_dump() == PAPER_ADAPT["roberta-base"].model_dump() | best
    )
    require_readers(spec, ["preset", "epochs"])
    with pytest.raises(UserError, match="--adapt preset is set, but no method of this run reads it"):
        require_readers(make_spec(zoo, methods=["ta"]), ["preset"])
    with pytest.raises(UserError, match="--adapt preset: there is no adaptation preset 'fast': there is best"):
        make_spec(zoo, methods=["fda:sum"], anchors_run="a", adaptation={"preset": "fast"})


@pytest.mark.parametrize(
    ("family", "scale"), [("vision", 0.3), ("roberta-base", 0.3), ("roberta-large", 0.2), ("llama", 0.5)]
)
def test_task_arithmetic_and_what_starts_from_it_have_the_familys_coefficient(tmp_path, family, scale):
    path = write_zoo(tmp_path, family=family)
    for method in ("ta", "fda:ta"):
        own = ask(path, method, anchors_run="20260101-000000-abcd").hyperparameters
        assert own.get("ta", {}).get("scale", METHODS["ta"].defaults["scale"]) == scale
    on_top = ask(path, "larv:ta").hyperparameters
    assert on_top.get("larv:ta", {}).get("scale", METHODS["ta"].defaults["scale"]) == scale
    assert ask(path, "tsv").hyperparameters == {}
    assert ask(path, "ta:swept").hyperparameters == {}, "it chooses its own"


def test_a_coefficient_that_is_asked_for_wins_over_the_familys(tmp_path):
    path = write_zoo(tmp_path, family="llama")
    spec = ask(path, "ta", hyperparameters={"ta": {"scale": 0.3}})
    assert spec.hyperparameters == {}, "the registry's default"
    assert changed_hyperparameters(spec) == {"ta": {"scale": 0.3}}, "and yet not what one gets without asking"
    assert changed_hyperparameters(ask(path, "ta")) == {}


def test_an_unknown_family_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="`family` is wrong: input should be 'vision', 'vision-small', 'roberta-base'"):
        load_zoo(write_zoo(tmp_path, family="bert"))


# hyperparameters ---------------------------------------------------------------------------------------------------------


def test_only_what_differs_is_kept_and_text_becomes_a_number(zoo):
    asked = {"ta": {"scale": "0.4"}, "wudi": {"steps": "100", "lr": 1e-5}, "ties": {"density": 1}}
    spec = ask(zoo, "ta", "wudi", "ties", hyperparameters=asked)
    assert spec.hyperparameters == {"ta": {"scale": 0.4}, "wudi": {"steps": 100}, "ties": {"density": 1.0}}
    assert isinstance(spec.hyperparameters["wudi"]["steps"], int)
    assert ask(zoo, "ta", hyperparameters={"ta": {"scale": 0.3}}) == ask(zoo, "ta")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tsw": {"scale": 1}}, "no merging method 'tsw' .did you mean tsv"),
        ({"ta": {"scal": 1}}, "ta has no hyperparameter 'scal': did you mean scale"),
        ({"average": {"scale": 1}}, "average has no hyperparameter 'scale': it has none"),
        ({"ta": {"scale": "much"}}, "ta.scale: 'much' is not a number: give a number of at least 0 and at most 2"),
        ({"ta": {"scale": 5}}, "ta.scale cannot be 5: give a number of at least 0 and at most 2"),
        ({"ta": {"scale": "nan"}}, "ta.scale cannot be nan"),
        ({"wudi": {"steps": 1.5}}, "wudi.steps: 1.5 is not a whole number"),
        ({"wudi": {"steps": -1}}, "wudi.steps cannot be -1: give a whole number of at least 0"),
        ({"iso_c": {"scale": 1.5}}, "iso_c.scale is set, but no method of this run reads it: add iso_c"),
        ({"fda:tsv": {"scale": 1}}, "fda:tsv has no hyperparameters of its own: set those of its start, tsv"),
        ({"magmax": {"scale": 0.2}}, "magmax:swept chooses it on the validation split"),
    ],
)
def test_a_hyperparameter_that_is_none_is_one_sentence(zoo, asked, says):
    with pytest.raises(UserError, match=says):
        ask(zoo, "ta", "average", "wudi", "magmax:swept", hyperparameters=asked)


def test_the_ends_of_every_range_are_taken_and_what_lies_beyond_is_not(tmp_path):
    zoo = write_zoo(tmp_path, tasks=2)
    for name, hypers in read_by(METHODS).items():
        for hyper in hypers:
            for limit, beyond in ((hyper.low, -1), (hyper.high, 1)):
                if limit is not None:
                    found = ask(zoo, name, anchors_run="x", hyperparameters={name: {hyper.name: limit}})
                    assert found.hyperparameters.get(name, {}).get(hyper.name, hyper.default) == limit
                    with pytest.raises(UserError, match=f"{name}.{hyper.name} cannot be"):
                        ask(zoo, name, anchors_run="x", hyperparameters={name: {hyper.name: limit + beyond}})


def test_a_start_and_a_swept_method_are_set_by_the_name_of_the_plain_one(zoo):
    spec = ask(zoo, "fda:ties", anchors_run="x", hyperparameters={"ties": {"density": 0.1, "scale": 0.5}})
    assert spec.hyperparameters == {"ties": {"density": 0.1, "scale": 0.5}}
    for name in ("ties", "ties:swept"):
        spec = ask(zoo, "ties:swept", hyperparameters={name: {"density": 0.1}})
        assert spec.hyperparameters == {"ties": {"density": 0.1}}
    assert [hyper.name for hyper in read_by(["ties:swept"])["ties"]] == ["density"]
    assert [hyper.name for hyper in read_by(["ties:swept", "fda:ties"])["ties"]] == ["density", "scale"]


def test_assignments_are_read_as_they_are_typed():
    assert read_assignments(["ta.scale=0.4", "regmean:anchors.keep = 1e-1"]) == {
        "ta": {"scale": "0.4"},
        "regmean:anchors": {"keep": "1e-1"},
    }
    assert read_adaptation(["distance=mse", "batch = 4"]) == {"distance": "mse", "batch": "4"}
    for wrong in ("ta=1", "ta.scale", ".scale=1", "ta.=1", "ta.scale="):
        with pytest.raises(UserError, match="write METHOD.NAME=VALUE"):
            read_assignments([wrong])
    for wrong in ("distance", "=mse", "distance="):
        with pytest.raises(UserError, match="write NAME=VALUE"):
            read_adaptation([wrong])


# adaptation --------------------------------------------------------------------------------------------------------------


def test_an_adaptation_is_kept_only_where_it_differs_from_the_zoos(tmp_path):
    path = write_zoo(tmp_path, adapt={"batch": 32})
    assert ask(path, "ta", adaptation={"batch": "32"}).adaptation is None
    assert ask(path, "ta", adaptation={"distance": "l1"}).adaptation == AdaptSettings(batch=32, distance="l1")
    epochs = ask(path, "ta", adaptation={"epochs": 3}).adaptation
    assert (epochs.weights_epochs, epochs.coefficients_epochs) == (3, 3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"distanse": "mse"}, "no adaptation setting 'distanse': did you mean distance"),
        ({"distance": "l2"}, "--adapt distance: input should be 'cos', 'mse' or 'l1'"),
        ({"batch": 0}, "--adapt batch: input should be greater than or equal to 1"),
        ({"weights_lr": "fast"}, "--adapt weights_lr: input should be a valid number"),
    ],
)
def test_an_adaptation_setting_that_is_none_is_one_sentence(zoo, asked, says):
    with pytest.raises(UserError, match=says):
        ask(zoo, "ta", adaptation=asked)


def test_a_wrong_adapt_in_the_zoo_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"zoo mine: adapt\.batch: input should be greater than"):
        ask(write_zoo(tmp_path, adapt={"batch": 0}), "ta")


# what methods need -------------------------------------------------------------------------------------------------------


def lack(path: Path, name: str, **wanted: object) -> str | None:
    return missing_need(make_spec(path, methods=("average", name), **wanted), METHODS[name])


def test_what_a_method_lacks_is_one_sentence_and_the_run_goes_on_without_it(tmp_path):
    path = write_zoo(tmp_path, splits={"split": "test"})
    assert lack(path, "average") is None
    assert lack(path, "fda:ta") == "fda:ta needs anchors: name a finished construct run with --anchors RUN_ID."
    assert "data.validation_split" in lack(path, "ta:swept") and "'red'" in lack(path, "ta:swept")
    assert "data.train_split" in lack(path, "regmean") and "data.train_split" in lack(path, "distill")
    assert lack(path, "adamerging") is None, "it reads the test split"
    assert "exactly 2 tasks, not 3" in lack(path, "slerp")
    assert lack(path, "slerp", tasks=("red", "blue")) is None
    assert lack(path, "regmean:anchors", construct=construct_settings("fast")) is None
    assert lack(path, "fda:ta", anchors_run="x") is None


def test_a_run_of_which_no_method_could_run_is_refused(tmp_path):
    path = write_zoo(tmp_path, splits={"split": "test"})
    with pytest.raises(UserError, match="regmean needs inputs of the training split"):
        ask(path, "regmean", "fda:ta")
    assert ask(path, "regmean", "ta").methods == ("pretrained", "individual", "regmean", "ta")


def test_groups_are_those_of_their_methods_that_can_run_here(tmp_path):
    zoo = load_zoo(write_zoo(tmp_path))
    every = choose_methods(zoo, zoo.task_names, ["all"], anchors=True)
    plain = {name for name, one in METHODS.items() if not one.swept}
    assert set(every) == plain - {"slerp"}
    assert "slerp" in choose_methods(zoo, ("red", "blue"), ["all"], anchors=True)
    alone = choose_methods(zoo, zoo.task_names, ["all"], anchors=False)
    assert set(every) - set(alone) == {name for name in plain if METHODS[name].needs == "anchors"}
    data_free = choose_methods(zoo, zoo.task_names, ["data-free"], anchors=True)
    assert {METHODS[name].needs for name in data_free} == {"nothing", "anchors"} and "regmean" not in data_free
    assert choose_methods(zoo, zoo.task_names, ["main"], anchors=True) == MAIN_METHODS
    assert choose_methods(zoo, zoo.task_names, ["main", "wudi", "ta"], anchors=False) == (
        "pretrained", "individual", "average", "ta", "tsv", "wudi",
    )  # fmt: skip
    with pytest.raises(UserError, match="no merging method 'al'"):
        choose_methods(zoo, zoo.task_names, ["al"], anchors=True)


def test_a_sweep_adds_the_variant_of_each_method_that_has_one(tmp_path):
    zoo = load_zoo(write_zoo(tmp_path))
    assert choose_methods(zoo, zoo.task_names, ["ta", "wudi", "ties:swept"], anchors=False, sweep=True) == (
        "ta", "ta:swept", "wudi", "ties:swept",
    )  # fmt: skip
    swept = {name for name in with_swept(METHODS) if name.endswith(SWEPT)}
    assert swept == {name for name, one in METHODS.items() if one.swept}
    with pytest.raises(UserError, match="none of wudi has a coefficient to sweep"):
        choose_methods(zoo, zoo.task_names, ["wudi"], anchors=False, sweep=True)
    bare = load_zoo(write_zoo(tmp_path, splits={"split": "test"}))
    with pytest.raises(UserError, match="ta:swept needs a validation split"):
        choose_methods(bare, bare.task_names, ["ta"], anchors=False, sweep=True)


def test_a_stored_run_may_name_a_method_that_is_gone(tiny_zoo):
    spec = make_spec(tiny_zoo, methods=("ta",), hyperparameters={"ta": {"scale": 0.5}})
    old = spec.model_copy(update={"methods": (*spec.methods, "gone")})
    assert changed_hyperparameters(old) == {"ta": {"scale": 0.5}}
