"""The command line as people type it: exit codes, one line for what is wrong, JSON, interrupting and going on."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.support.tiny_zoo import make_zoo

FAST = ("--steps", "3", "--anchors", "2", "--device", "cpu")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "fda", *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"FDA_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def test_construct_compare_show_and_delete(fda_home, fda, tiny_zoo, tmp_path):
    made = fda("construct", "--zoo", tiny_zoo, *FAST)
    assert made.returncode == 0, made.stderr
    assert "construct red block 0: done" in made.stderr
    run_id = json.loads(fda("runs", "list", "--json").stdout)[0]["run_id"]
    assert made.stdout.strip() == f"anchors: {fda_home.resolve()}/runs/{run_id}/anchors"
    out = tmp_path / "out.json"
    compared = fda("compare", "--zoo", tiny_zoo, "--anchors", run_id, "--json", out, "--device", "cpu")
    assert compared.returncode == 0, compared.stderr
    table = json.loads(out.read_text())
    assert table["zoo"] == "tiny" and table["tasks"] == ["red", "bright"]
    assert [row["method"] for row in table["rows"]] == [
        "pretrained", "individual", "average", "ta", "tsv", "fda:pretrained", "fda:ta", "fda:tsv",
    ]  # fmt: skip
    for row in table["rows"]:
        assert set(row) == {"method", "settings", "accuracy", "average", "normalized", "seconds", "peak_bytes"}
        assert row["average"] == pytest.approx(sum(row["accuracy"].values()) / 2)
    shown = fda("runs", "show", run_id)
    assert "done" in shown.stdout and "bright block 1" in shown.stdout
    about = json.loads(fda("runs", "show", run_id, "--json").stdout)
    assert about["verdict"] and about["verdict"][0].startswith(("None of 4 units", "All 4 units"))
    assert [line.strip() for line in shown.stdout.splitlines()[1 : 1 + len(about["verdict"])]] == about["verdict"]
    assert fda("runs", "delete", run_id, "--now").returncode == 0
    assert not (fda_home / "runs" / run_id).exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("construct", "--zoo", "ZOO", "--tasks", "rde"), "has no task 'rde': did you mean red"),
        (("construct", "--zoo", "ZOO", "--blocks", "9"), "there is no block 9: this model has blocks 0 to 1"),
        (("construct", "--zoo", "ZOO", "--blocks", "x"), "'x' is not a block number"),
        (("construct", "--zoo", "ZOO", "--preset", "slow"), "there is no preset 'slow'"),
        (("construct", "--zoo", "ZOO", "--init", "zeros"), "--init"),
        (("construct", "--zoo", "gone.yaml"), "gone.yaml is neither a zoo file nor a shipped zoo"),
        (("construct",), "Missing option '--zoo'"),
        (("compare", "--zoo", "ZOO", "--methods", "magic"), "there is no merging method 'magic'"),
        (("compare", "--zoo", "ZOO", "--methods", "fda:ta"), "fda:ta needs anchors"),
        (("compare", "--zoo", "ZOO", "--anchors", "20200101-000000-zzzz"), "There is no run '20200101-000000-zzzz'"),
        (("compare", "--zoo", "ZOO", "--set", "ta=1"), "--set ta=1: write METHOD.NAME=VALUE"),
        (("compare", "--zoo", "ZOO", "--set", "ta.scal=1"), "ta has no hyperparameter 'scal': did you mean scale"),
        (("compare", "--zoo", "ZOO", "--set", "ta.scale=9"), "ta.scale cannot be 9: give a number of at least 0"),
        (("compare", "--zoo", "ZOO", "--set", "wudi.steps=9"), "no method of this run reads it: add wudi"),
        (("compare", "--zoo", "ZOO", "--adapt", "distance=l2"), "--adapt distance: input should be"),
        (("compare", "--zoo", "ZOO", "--methods", "wudi", "--sweep"), "none of wudi has a coefficient to sweep"),
        (("demo", "--set", "ta.scale=x"), "ta.scale: 'x' is not a number"),
        (("construct", "--zoo", "ZOO", "--optimizer", "sgd"), "--optimizer: input should be 'adamw' or 'muon'"),
        (("construct", "--zoo", "ZOO", "--learning-rate", "0"), "--learning-rate: input should be greater than 0"),
        (("construct", "--zoo", "ZOO", "--engine", "dask"), "--engine: input should be 'local' or 'ray'"),
        (("methods", "tsw"), "there is no merging method 'tsw' (did you mean tsv?)"),
        (("runs", "show", "../../etc"), "There is no run '../../etc'"),
        (("runs", "resume", "nope"), "There is no run 'nope'"),
        (("frobnicate",), "No such command"),
    ],
)
def test_wrong_requests_end_with_one_line_and_exit_2(fda_home, fda, tiny_zoo, words, sentence):
    done = fda(*[tiny_zoo if word == "ZOO" else word for word in words])
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""
    assert not list(fda_home.glob("runs/*"))


def test_a_zoo_whose_checkpoint_has_another_shape_is_named(fda, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    path = make_zoo(tmp_path)
    file = tmp_path / "red" / "open_clip_model.safetensors"
    name = "visual.transformer.resblocks.0.mlp.c_fc.bias"
    save_file(load_file(file) | {name: torch.zeros(3)}, file)
    for words in (("zoo", "check", path), ("construct", "--zoo", path, *FAST)):
        done = fda(*words)
        assert done.returncode == 2
        assert f"{name} has shape [3] but [64] in the base" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_column_that_is_not_there_is_named(fda, tmp_path):
    path = make_zoo(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["tasks"][1]["data"]["label"] = "klass"
    path.write_text(yaml.safe_dump(content))
    done = fda("zoo", "check", path)
    assert done.returncode == 2
    assert "has no column 'klass' (`data.label`): it has image, label" in done.stderr


def test_an_interrupted_run_goes_on_where_it_stopped(fda_home, fda, tiny_zoo):
    words = (
        "construct",
        "--zoo",
        tiny_zoo,
        "--steps",
        "4000",
        "--anchors",
        "8",
        "--device",
        "cpu",
        "--preset",
        "paper",
    )
    process = subprocess.Popen(command(*words), env=environment(fda_home), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    from fda.store.store import Store

    store = Store(fda_home)
    while not any(unit.step > 0 for run in store.runs() for unit in store.units(run.run_id)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 1
    run_id = store.runs()[0].run_id
    assert f"runs resume {run_id}" in process.stderr.read()
    assert store.run(run_id).state == "cancelled"
    done = fda("runs", "delete", run_id)
    assert done.returncode == 0


def test_a_json_file_that_cannot_be_written_is_told_before_any_work(fda_home, fda, tiny_zoo, tmp_path):
    done = fda("compare", "--zoo", tiny_zoo, "--methods", "ta", "--json", tmp_path / "no" / "out.json")
    assert done.returncode == 2
    assert "could not be written" in done.stderr
    assert not list(fda_home.glob("runs/*"))


def test_settings_and_sweeps_reach_the_rows_and_a_failed_method_says_why(fda, tiny_zoo, tmp_path):
    out = tmp_path / "out.json"
    words = ("--methods", "ta,ties,fda:ta", "--sweep", "--set", "ta.scale=0.4", "--set", "ties:swept.density=0.5")
    done = fda("compare", "--zoo", tiny_zoo, *words, "--json", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == ["pretrained", "individual", "ta", "ta:swept", "ties", "ties:swept", "fda:ta"]
    assert rows["ta"]["settings"] == {"scale": 0.4, "selection": "set by hand"}
    assert rows["ties"]["settings"]["density"] == rows["ties:swept"]["settings"]["density"] == 0.5
    best = rows["ta:swept"]["settings"]["scale"]
    printed = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert printed["ta:swept"].endswith(f"validation labels: scale {best:g}")
    assert printed["fda:ta"].endswith(
        "failed: fda:ta needs anchors: name a finished construct run with --anchors RUN_ID."
    )
    assert "evaluate fda:ta: failed (7 of 7): fda:ta needs anchors" in done.stderr


def test_construct_takes_every_setting_of_a_unit(fda, tiny_zoo):
    words = ("--distance", "mse", "--optimizer", "adamw", "--learning-rate", "0.02", "--weight-decay", "0.1")
    done = fda("construct", "--zoo", tiny_zoo, *FAST, *words, "--schedule", "constant")
    assert done.returncode == 0, done.stderr
    settings = json.loads(fda("runs", "list", "--json").stdout)[0]["spec"]["construction"]
    assert (settings["distance"], settings["optimizer"], settings["schedule"]) == ("mse", "adamw", "constant")
    assert (settings["learning_rate"], settings["weight_decay"], settings["preset"]) == (0.02, 0.1, "fast")


def test_the_same_request_goes_on_with_the_run_that_was_left_unfinished(fda_home, fda, tiny_zoo):
    from fda.cancel import Cancel, Cancelled
    from fda.requests.runs import make_spec
    from fda.stages.compare import compare_methods
    from fda.stages.work import Work
    from fda.store.store import Store
    from fda.zoos.survey import open_zoo

    store = Store(fda_home)
    spec = make_spec(tiny_zoo, methods=("ta", "tsv"), device="cpu")
    run_id = store.create_run(spec)
    halfway = Cancel(lambda: any(row.method == "individual" for row in store.results(run_id)[0]))
    with pytest.raises(Cancelled):
        compare_methods(Work(store, run_id, spec, open_zoo(spec.zoo), "cpu", halfway))
    store.set_state(run_id, "cancelled")
    stamp = (store.run_dir(run_id) / "merged" / "pretrained.safetensors").stat().st_mtime_ns

    words = ("compare", "--zoo", tiny_zoo, "--methods", "ta,tsv", "--device", "cpu")
    other = fda(*words, "--set", "ta.scale=0.5")
    assert other.returncode == 0 and "going on" not in other.stderr, "another request is another run"
    done = fda(*words)
    assert done.returncode == 0, done.stderr
    assert f"fda: going on with run {run_id}, which was stopped: 2 of 4 units done" in done.stderr.splitlines()[0]
    assert "evaluate tsv: done (4 of 4)" in done.stderr and "evaluate individual" not in done.stderr
    assert store.run(run_id).state == "done"
    assert (store.run_dir(run_id) / "merged" / "pretrained.safetensors").stat().st_mtime_ns == stamp
    assert len(store.runs()) == 2

    again = fda(*words)
    assert again.returncode == 0 and "going on" not in again.stderr, "what is done is not gone on with"
    store.set_state(run_id, "failed", "the disk is full.")
    fresh = fda(*words, "--fresh")
    assert fresh.returncode == 0 and "going on" not in fresh.stderr
    assert len(store.runs()) == 4 and store.run(run_id).state == "failed"


def test_methods_tells_everything_the_registry_knows(fda):
    from fda.merging.registry import METHODS, MODIFIERS

    plain = [name for name, one in METHODS.items() if not one.swept]
    table, _, modifiers = fda("methods").stdout.partition("\n\n")
    assert [line.split()[0] for line in table.splitlines()] == plain
    assert [line.split(":")[0] for line in modifiers.splitlines()[1:]] == list(MODIFIERS)
    data = {one["name"]: one for one in json.loads(fda("methods", "--json").stdout)}
    assert list(data) == plain
    for name, one in data.items():
        assert {hyper["name"]: hyper["default"] for hyper in one["hyperparameters"]} == METHODS[name].defaults
    assert data["regmean"]["split"] == "train" and data["adamerging"]["split"] == "test" and data["ta"]["split"] is None
    told = fda("methods", "ta:swept").stdout
    assert "--set ta.scale=…  float from 0 to 2, default 0.3" in told and "source: 0.3 in Ilharco" in told
    assert "ta:swept chooses it on the validation split among 0.05, 0.1" in told
    assert json.loads(fda("methods", "wudi", "--json").stdout) == data["wudi"]


def test_show_tells_how_methods_treat_every_tensor(fda, tiny_zoo):
    from collections import Counter

    found = json.loads(fda("zoo", "show", tiny_zoo, "--json").stdout.splitlines()[-1])["treatments"]
    own = {one["name"]: (one["treatment"], one["linear"]) for one in found}
    assert own["visual.transformer.resblocks.0.mlp.c_fc.weight"] == ("matrix", True)
    assert own["visual.transformer.resblocks.1.ln_1.bias"] == ("vector", False)
    assert own["token_embedding.weight"] == ("matrix", False) and own["text_projection"] == ("vector", False)
    counts = Counter(own.values())
    told = fda("zoo", "show", tiny_zoo).stdout
    assert f"{counts['matrix', True]} linear weight, {counts['matrix', False]} other matrix" in told


class Asked(Exception):
    """A request was complete; the run would begin."""


def asked(line: str, monkeypatch) -> object:
    """The spec that a command line asks for; nothing runs."""
    from fda.cli import app as cli
    from fda.cli import start

    specs = []

    def keep(spec: object, fresh: bool) -> str:
        specs.append(spec)
        raise Asked

    monkeypatch.setattr(start, "run_request", keep)
    with pytest.raises(Asked):
        cli.app(shlex.split(line)[3:], standalone_mode=False)
    return specs[0]


@pytest.mark.parametrize("family", ["vision", "llama"])
@pytest.mark.parametrize("sweep", [False, True])
def test_the_commands_that_pages_show_ask_for_the_same_run(fda_home, tmp_path, monkeypatch, family, sweep):
    """For every preset, every hyperparameter and every adaptation setting, also where a value is the registry's own."""
    from fda.report.command import run_commands
    from fda.requests.hyperparameters import read_by
    from fda.requests.runs import choose_methods, construct_settings, make_spec, with_swept

    path = make_zoo(tmp_path / "zoo")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"family": family}))
    zoo = make_spec(path, methods=("ta",)).zoo
    methods = choose_methods(zoo, zoo.task_names, ["all"], anchors=True, sweep=sweep)
    for value in ("default", "high"):
        hyperparameters = {
            own: {
                hyper.name: hyper.default if value == "default" or hyper.high is None else hyper.high
                for hyper in hypers
            }
            for own, hypers in read_by(methods).items()
        }
        spec = make_spec(
            path,
            blocks=(1,),
            construct=construct_settings("paper", family=family, seed=3, learning_rate=0.5, schedule="cosine"),
            methods=with_swept(methods) if sweep else methods,
            hyperparameters=hyperparameters,
            adaptation={"distance": "l1", "weights_lr": 1e-6, "coefficients_epochs": 9, "batch": 5},
            seed=3,
        )
        first, second = run_commands(spec, "RUN")
        made = asked(first, monkeypatch)
        assert made == spec.model_copy(update={"methods": (), "hyperparameters": {}, "adaptation": None})
        monkeypatch.setattr("fda.cli.start.open_store", lambda own=spec: one_run(own))
        assert asked(second, monkeypatch) == spec.model_copy(update={"construction": None, "anchors_run": "RUN"})


def one_run(spec: object) -> object:
    """A store that knows one run."""
    return SimpleNamespace(run=lambda run_id: SimpleNamespace(spec=spec))


def test_the_demo_command_asks_for_the_demo(fda_home, monkeypatch):
    from fda.report.command import run_commands
    from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec, with_swept

    spec = make_spec(
        "demo",
        construct=construct_settings("fast", family="vision-small", seed=2),
        methods=with_swept(MAIN_METHODS),
        hyperparameters={"ta": {"scale": 0.5}},
        adaptation={"batch": 16},
        seed=2,
    )
    (line,) = run_commands(spec)
    assert line == "python -m fda demo --seed 2 --sweep --set ta.scale=0.5 --adapt batch=16"
    assert asked(line, monkeypatch) == spec
    again = asked(line.replace("--seed 2", "--seed 3"), monkeypatch)
    other = {"seed": 3, "construction": spec.construction.model_copy(update={"seed": 3})}
    assert again == spec.model_copy(update=other), "the same with another seed"
