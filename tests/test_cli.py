"""The command line as people type it: exit codes, one line for what is wrong, JSON, interrupting and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fda.home import REPO
from tests.conftest import make_zoo

FAST = ("--steps", "3", "--anchors", "2", "--device", "cpu")


def fda(home: Path, *words: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*words), env=environment(home), capture_output=True, text=True, timeout=120, **options
    )


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "fda", *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"FDA_HOME": str(home), "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"}


def test_construct_compare_show_and_delete(fda_home, tiny_zoo, tmp_path):
    made = fda(fda_home, "construct", "--zoo", tiny_zoo, *FAST)
    assert made.returncode == 0, made.stderr
    assert "construct red block 0: done" in made.stderr
    run_id = json.loads(fda(fda_home, "runs", "list", "--json").stdout)[0]["run_id"]
    assert made.stdout.strip() == f"anchors: {fda_home.resolve()}/runs/{run_id}/anchors"
    out = tmp_path / "out.json"
    compared = fda(fda_home, "compare", "--zoo", tiny_zoo, "--anchors", run_id, "--json", out, "--device", "cpu")
    assert compared.returncode == 0, compared.stderr
    table = json.loads(out.read_text())
    assert table["zoo"] == "tiny" and table["tasks"] == ["red", "bright"]
    assert [row["method"] for row in table["rows"]] == [
        "pretrained", "individual", "average", "ta", "tsv", "fda:pretrained", "fda:ta", "fda:tsv",
    ]  # fmt: skip
    for row in table["rows"]:
        assert set(row) == {"method", "settings", "accuracy", "average", "normalized", "seconds", "peak_bytes"}
        assert row["average"] == pytest.approx(sum(row["accuracy"].values()) / 2)
    shown = fda(fda_home, "runs", "show", run_id)
    assert "done" in shown.stdout and "bright block 1" in shown.stdout
    assert fda(fda_home, "runs", "delete", run_id).returncode == 0
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
        (("runs", "show", "../../etc"), "There is no run '../../etc'"),
        (("runs", "resume", "nope"), "There is no run 'nope'"),
        (("frobnicate",), "No such command"),
    ],
)
def test_wrong_requests_end_with_one_line_and_exit_2(fda_home, tiny_zoo, words, sentence):
    done = fda(fda_home, *[tiny_zoo if word == "ZOO" else word for word in words])
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""
    assert not list(fda_home.glob("runs/*"))


def test_a_zoo_whose_checkpoint_has_another_shape_is_named(fda_home, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    path = make_zoo(tmp_path)
    file = tmp_path / "red" / "open_clip_model.safetensors"
    name = "visual.transformer.resblocks.0.mlp.c_fc.bias"
    save_file(load_file(file) | {name: torch.zeros(3)}, file)
    for words in (("zoo", "check", path), ("construct", "--zoo", path, *FAST)):
        done = fda(fda_home, *words)
        assert done.returncode == 2
        assert f"{name} has shape [3] but [64] in the base" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_column_that_is_not_there_is_named(fda_home, tmp_path):
    path = make_zoo(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["tasks"][1]["data"]["label"] = "klass"
    path.write_text(yaml.safe_dump(content))
    done = fda(fda_home, "zoo", "check", path)
    assert done.returncode == 2
    assert "has no column 'klass' (`data.label`): it has image, label" in done.stderr


def test_an_interrupted_run_goes_on_where_it_stopped(fda_home, tiny_zoo):
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
    from fda.runs.store import Store

    store = Store(fda_home)
    while not any(unit.step > 0 for run in store.runs() for unit in store.units(run.run_id)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 1
    run_id = store.runs()[0].run_id
    assert f"runs resume {run_id}" in process.stderr.read()
    assert store.run(run_id).state == "cancelled"
    done = fda(fda_home, "runs", "delete", run_id)
    assert done.returncode == 0


def test_a_json_file_that_cannot_be_written_is_told_before_any_work(fda_home, tiny_zoo, tmp_path):
    done = fda(fda_home, "compare", "--zoo", tiny_zoo, "--methods", "ta", "--json", tmp_path / "no" / "out.json")
    assert done.returncode == 2
    assert "could not be written" in done.stderr
    assert not list(fda_home.glob("runs/*"))
